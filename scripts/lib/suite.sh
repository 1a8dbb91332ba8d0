# shellcheck shell=bash disable=SC2154 # scripts/setup sets hutch_root and hutch_deno
# Running `deno test` with everything that a test must not touch moved to a folder of its own.
#
#   suite BASE SECONDS FILE...   output to the terminal and BASE.log, report to BASE.xml; its exit code
#
# FILE... are files or folders. HUTCH_TEST_TEMPLATE is where the tests keep the home that each of theirs
# is copied from; the suite has its own unless it is set. Nothing here is inherited by the user's home: HUTCH_HOME and the
# sockets' folder are new for each suite, and removed after it; nobody's Docker logins are used. What
# it leaves running is said in BASE.left and ended.

suite() {
  local base=$1 limit=$2 code=0 folder
  shift 2
  folder=$(mktemp -d /tmp/hutch-test.XXXXXX) || return # a short name, for sockets
  suite_folder=$folder
  mkdir -m 700 "$folder/run" "$folder/home" || return
  local run=(env HUTCH_HOME="$folder/home" XDG_RUNTIME_DIR="$folder/run" HUTCH_TEST_RUN="$folder"
    HUTCH_TEST_TEMPLATE="${HUTCH_TEST_TEMPLATE:-$folder/template}" DOCKER_CONFIG="$folder/home"
    timeout -k 10 "$limit" "$hutch_deno" test --quiet --no-prompt --no-check -A
    --config "$hutch_root/deno.json" --junit-path="$base.xml" "$@")
  logged "$base.log" "${run[@]}" || code=$?
  if ((code == 124 || code == 137)); then
    echo "It didn't end within $limit s and was stopped." | tee -a "$base.log"
  fi
  end_left_overs "$folder" "$base.left"
  rm -rf "$folder"
  suite_folder=""
  return "$code"
}
suite_folder="" # of the suite that is running

# suite_again BASE SECONDS FILE...: runs those tests once more that failed in the suite of the same
# arguments, if they are at most ten. Report in BASE.again.xml, from which scripts/test_summary.ts names what passed
# then, with what failed first: a test that needs it is to be mended, not to be lived with.
suite_again() {
  local base=$1 names
  names=$("$hutch_deno" run -R "$hutch_root/scripts/test_summary.ts" --failed "$base.xml") || return 0
  [[ -n $names ]] || return 0
  echo "-- once more: $names"
  suite "$base.again" "$2" --filter "$names" "${@:3}" || true
  cat "$base.again.left" >>"$base.left"
}

# Ends the running suite, for a script that must end itself.
stop_suite() {
  if [[ -n $logged_child ]]; then
    kill "$logged_child" 2>/dev/null || true
    wait "$logged_child" 2>/dev/null || true
  fi
  if [[ -n $suite_folder ]]; then
    end_left_overs "$suite_folder" /dev/null
    rm -rf "$suite_folder"
  fi
}

# logged LOG COMMAND...: like COMMAND 2>&1 | tee LOG, but a signal ends the command at once, and what
# the command leaves running with its output open is not waited for.
logged() {
  local log=$1 pipe=$1.pipe copy code=0 tries
  shift
  rm -f "$pipe"
  mkfifo "$pipe"
  tee "$log" <"$pipe" &
  copy=$!
  "$@" >"$pipe" 2>&1 </dev/null &
  logged_child=$!
  wait "$logged_child" || code=$?
  logged_child=""
  for ((tries = 0; tries < 50; tries++)); do
    kill -0 "$copy" 2>/dev/null || break
    sleep 0.1
  done
  kill "$copy" 2>/dev/null || true
  wait "$copy" 2>/dev/null || true
  rm -f "$pipe"
  return "$code"
}
logged_child=""

# Ends the processes that still have HUTCH_TEST_RUN=FOLDER in their environment, and names them in a
# file. Those that are about to end by themselves get a moment for it.
end_left_overs() {
  local folder=$1 list=$2 tries process
  : >"$list"
  for ((tries = 0; tries < 30; tries++)); do
    [[ -n $(left_overs "$folder") ]] || return 0
    sleep 0.1
  done
  for process in $(left_overs "$folder"); do
    printf '%s\n' "$process $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null)" >>"$list"
    kill -KILL "$process" 2>/dev/null || true
  done
}

left_overs() {
  local file
  grep -lzsx "HUTCH_TEST_RUN=$1" /proc/[0-9]*/environ 2>/dev/null | while read -r file; do
    file=${file#/proc/}
    printf '%s\n' "${file%/environ}"
  done || true
}

# copy_deno_cache FOLDER: makes it a copy of Deno's cache, for the lab: what others write to the cache
# meanwhile would change below the lab's view of it.
copy_deno_cache() {
  local of='console.log(JSON.parse(await new Response(Deno.stdin.readable).text()).denoDir)'
  cp -a "$("$hutch_deno" info --json | "$hutch_deno" eval "$of")" "$1"
}
