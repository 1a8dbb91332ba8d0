/**
 * Completion scripts. They are small: each asks `hutch __complete`, which knows the definitions and
 * the home's names, so a script doesn't age with hutch.
 *
 * @module
 */

// Bash splits words at the `=` and `:` of COMP_WORDBREAKS and replaces only the last piece: the words
// are joined again before hutch sees them, and what stands before that piece is cut from the answers.
// Written for bash 3.2, which macOS still has.
const BASH = String.raw`# bash completion for hutch
_hutch() {
  local words=() word previous= count=0 i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${"$"}{COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == [=:]* || $previous == *[=:] ]] && [[ $previous != "" ]]; then
      words[count - 1]+=$word
    else
      words[count]=$word
      count=$((count + 1))
    fi
    previous=${"$"}{words[count - 1]}
  done
  local current=${"$"}{words[count - 1]} cut= line directive=
  if [[ $current == *[=:]* ]]; then
    cut=${"$"}{current%"${"$"}{current##*[=:]}"}
  fi
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :*) directive=$line ;;
      *)
        line=${"$"}{line%%$'\t'*}
        COMPREPLY+=("${"$"}{line#"$cut"}")
        ;;
    esac
  done < <("${"$"}{words[0]/#\~/$HOME}" __complete -- "${"$"}{words[@]:1}" 2>/dev/null)
  case $directive in
    :files | :folders)
      local kind=-f
      [[ $directive == :folders ]] && kind=-d
      while IFS= read -r line; do
        COMPREPLY+=("$line")
      done < <(compgen "$kind" -- "${"$"}{current#"$cut"}")
      compopt -o filenames 2>/dev/null
      ;;
  esac
  return 0
}
complete -F _hutch hutch
`;

const ZSH = String.raw`#compdef hutch
_hutch() {
  local line value directive=
  local -a values displays
  for line in "${"$"}{(@f)$("${"$"}{words[1]/#\~/$HOME}" __complete -- "${"$"}{(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      '') ;;
      :*) directive=$line ;;
      *)
        value=${"$"}{line%%$'\t'*}
        values+=("$value")
        if [[ $line == *$'\t'* ]]; then
          displays+=("$value  -- ${"$"}{line#*$'\t'}")
        else
          displays+=("$value")
        fi
        ;;
    esac
  done
  case $directive in
    :files) compset -P '*='; _files ;;
    :folders) compset -P '*='; _files -/ ;;
    *) (( ${"$"}{#values} )) && compadd -l -d displays -a values ;;
  esac
}
if [[ $funcstack[1] == _hutch ]]; then
  _hutch "$@"
else
  compdef _hutch hutch
fi
`;

const FISH = String.raw`# fish completion for hutch
function __hutch_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    for line in ($program __complete -- $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':files'
                __hutch_paths "$current" file
            case ':folders'
                __hutch_paths "$current" folder
            case '*'
                printf '%s\n' $line
        end
    end
end

function __hutch_paths -a current kind
    set -l prefix (string match -r -- '^--[^=]+=' $current)
    set -l path (string replace -r -- '^--[^=]+=' '' $current)
    for found in $path*
        if test -d $found
            printf '%s%s/\n' "$prefix" $found
        else if test $kind = file
            printf '%s%s\n' "$prefix" $found
        end
    end
end

complete -c hutch -f -a '(__hutch_complete)'
`;

/** Script by shell. */
export const SCRIPTS: ReadonlyMap<string, string> = new Map([
  ["bash", BASH],
  ["zsh", ZSH],
  ["fish", FISH],
]);
