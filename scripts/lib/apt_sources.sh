# shellcheck shell=bash
# The machine's own apt sources, as they would be for another release of Debian.
#
#   apt_sources_for SUITE FOLDER   writes them as FOLDER/*.list and FOLDER/*.sources
#
# Only entries for the machine's release itself count; those whose suites are named otherwise
# (security, updates, backports, other vendors') are left out. Mirrors, options and keys stay, so
# what comes from there is verified as always.

apt_sources_for() {
  local suite=$1 folder=$2 file name release
  # shellcheck disable=SC1091
  release=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
  mkdir -p "$folder"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [[ -f $file ]] || continue
    name=${file##*/}
    case $name in
      *.list) suite_in_lines "$release" "$suite" <"$file" >"$folder/$name" ;;
      *.sources) suite_in_paragraphs "$release" "$suite" <"$file" >"$folder/$name" ;;
    esac
    [[ ! -f $folder/$name || -s $folder/$name ]] || rm "$folder/$name"
  done
}

# deb [option=value ...] URI suite component...
suite_in_lines() {
  awk -v release="$1" -v suite="$2" '
    $1 == "deb" {
      at = 2
      if ($2 ~ /^\[/) { while (at <= NF && $at !~ /\]$/) at++; at++ }
      named = $(at + 1)
      if (named != release && named !~ /^(old)*stable$/) next
      has_main = 0
      for (i = at + 2; i <= NF; i++) if ($i == "main") has_main = 1
      if (!has_main) next
      line = $1
      for (i = 2; i <= at; i++) line = line " " $i
      print line, suite, "main"
    }'
}

# Paragraphs of "Field: value", where a value may go on in lines that begin with a space.
suite_in_paragraphs() {
  awk -v release="$1" -v suite="$2" '
    function flush(   i, words, n, mine, has_main, deb) {
      n = split(value["suites"], words)
      for (i = 1; i <= n; i++) if (words[i] == release || words[i] ~ /^(old)*stable$/) mine = 1
      n = split(value["components"], words)
      for (i = 1; i <= n; i++) if (words[i] == "main") has_main = 1
      n = split(value["types"], words)
      for (i = 1; i <= n; i++) if (words[i] == "deb") deb = 1
      if (mine && has_main && deb && tolower(value["enabled"]) !~ /^ *(no|false|0) *$/) {
        print "Types: deb\nSuites: " suite "\nComponents: main"
        for (i = 1; i <= fields; i++)
          if (name[i] !~ /^(types|suites|components|enabled)$/) print name[i] ":" value[name[i]]
        print ""
      }
      delete value; delete name; fields = 0
    }
    /^#/ { next }
    /^[ \t]*$/ { flush(); next }
    /^[ \t]/ { if (fields) value[name[fields]] = value[name[fields]] "\n" $0; next }
    {
      at = index($0, ":")
      if (!at) next
      name[++fields] = tolower(substr($0, 1, at - 1))
      value[name[fields]] = substr($0, at + 1)
    }
    END { flush() }'
}
