# shellcheck shell=bash disable=SC2154 # scripts/setup sets hutch_root and hutch_deno
# The native parts and the modules of box processes, built when something they are made from is newer than
# the last build.
#
#   hutch_built   whether they are up to date (a cheap look, no Deno)
#   hutch_build   builds them unless they are; what the compiler says goes to standard error

hutch_built() {
  local build=$hutch_root/build
  [[ -f $build/libhutch.so && -f $build/libhutch-box.so && -f $build/hutch-agent && -f $build/hutch-share && -f $build/hutch-net ]] || return 1
  [[ -f $build/.stamp ]] || return 1
  # A folder is newer too when a file in it went away.
  [[ -z $(find "$hutch_root/ffi" "$hutch_root/src" "$hutch_root/plugins/engines" \
    "$hutch_root/scripts/build.ts" "$hutch_root/scripts/build_modules.ts" \
    -newer "$build/.stamp" -print -quit) ]]
}

hutch_build() {
  if hutch_built; then return; fi
  local build=$hutch_root/build
  mkdir -p "$build"
  # The stamp is as old as the build's beginning: what changes meanwhile is built the next time.
  : >"$build/.stamp.$$"
  echo "hutch: Building what has changed" >&2
  if ! "$hutch_deno" run --quiet --no-prompt -A --config "$hutch_root/deno.json" \
    "$hutch_root/scripts/build.ts" >&2 </dev/null; then
    rm -f "$build/.stamp.$$"
    echo "hutch: Cannot build the native parts: see above" >&2
    return 1
  fi
  mv "$build/.stamp.$$" "$build/.stamp"
}
