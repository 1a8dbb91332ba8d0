# shellcheck shell=bash
# Words for the person in front: progress and failures, all on standard error.
#
#   step TEXT            what is being done: one updated line on a terminal, one line each elsewhere
#   attempt COMMAND...   runs it quietly, keeping what it prints; its exit code
#   must WHAT HINT COMMAND...   the same, but ends with an explanation when the command fails
#   give_up TEXT [HINT]  ends with code 1

say_log=""     # file with the last command's output; set by whoever sources this
say_ticker=""  # process that updates the line

wipe_line() { if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi; }

step() {
  stop_ticker
  if [[ ! -t 2 ]]; then
    printf 'hutch: %s\n' "$1" >&2
    return
  fi
  (
    trap '' INT
    started=$SECONDS
    while kill -0 "$$" 2>/dev/null; do
      printf '\r\033[Khutch: %s … %d s' "$1" "$((SECONDS - started))" >&2
      sleep 1
    done
  ) 9>&- &
  say_ticker=$!
}

stop_ticker() {
  [[ -n $say_ticker ]] || return 0
  kill "$say_ticker" 2>/dev/null || true
  wait "$say_ticker" 2>/dev/null || true
  say_ticker=""
  wipe_line
}

# Descriptor 9 is the set-up's lock, which nothing that lives on may hold.
attempt() { "$@" >"$say_log" 2>&1 </dev/null 9>&-; }

must() {
  local what=$1 hint=$2 code=0
  shift 2
  attempt "$@" || code=$?
  ((code)) || return 0
  stop_ticker
  {
    printf 'hutch: Cannot %s: this command ended with code %d:\n  %s\nIts last lines:\n' \
      "$what" "$code" "$*"
    tail -n 12 "$say_log" | sed 's/^/  | /'
    printf '%s\n' "$hint"
  } >&2
  exit 1
}

give_up() {
  stop_ticker
  printf 'hutch: %s\n' "$1" >&2
  [[ -z ${2:-} ]] || printf '%s\n' "$2" >&2
  exit 1
}
