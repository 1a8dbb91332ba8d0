#!/usr/bin/env bash
# The slow half of scripts/setup, which runs it: puts there what is missing ("run" or "test").
#
# Everything is made aside and renamed into place, so an interrupted run leaves nothing half done
# that the next one would take for whole.

set -euo pipefail
# shellcheck source=scripts/setup
. "${BASH_SOURCE[0]%/*}/../setup"
# shellcheck source=scripts/lib/say.sh
. "$hutch_root/scripts/lib/say.sh"
# shellcheck source=scripts/lib/apt_sources.sh
. "$hutch_root/scripts/lib/apt_sources.sh"

network_hint="Is the network reachable? Once it is, run the same command again: it goes on from here."

install_all() {
  local what=$1 work old
  [[ $hutch_platform != unknown ]] || give_up "This kind of machine ($OSTYPE, $HOSTTYPE) is unknown."
  mkdir -p "$hutch_tools" "$hutch_bin" 2>/dev/null ||
    give_up "Cannot make the folder $hutch_tools." "Set XDG_CACHE_HOME to a folder that you can write."
  for old in "${TMPDIR:-/tmp}"/hutch-setup.*.*; do # of those that were killed
    if [[ -O $old && $old =~ \.([0-9]+)\.[^.]+$ ]] && ! kill -0 "${BASH_REMATCH[1]}" 2>/dev/null; then
      rm -rf "$old"
    fi
  done
  work=$(mktemp -d "${TMPDIR:-/tmp}/hutch-setup.$$.XXXXXX")
  chmod 755 "$work" # apt fetches as a user of its own
  say_log=$work/log
  # shellcheck disable=SC2064 # the folder's name as it is now
  trap "stop_ticker; rm -rf '$work'" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  take_lock
  # Whoever held the lock may have done it all.
  if hutch_ready "$what"; then return; fi
  install_packages "$what"
  install_npm_tools "$work"
  install_krunfw "$work"
  link_krun
  if [[ $what == test ]]; then
    unpack_packages "$work"
    make_debian "$work"
  fi
  check_tools "$what"
  cp "$hutch_root/scripts/lib/parts.sh" "$hutch_cache/stamp.new"
  if [[ $what == test ]]; then cp "$hutch_cache/stamp.new" "$hutch_cache/stamp.run"; fi
  mv "$hutch_cache/stamp.new" "$hutch_cache/stamp.$what"
  stop_ticker
}

take_lock() {
  exec 9>"$hutch_cache/lock"
  if ! type -P flock >/dev/null; then return; fi # macOS; a race then costs time, not correctness
  if flock -n 9; then return; fi
  step "Waiting for another set-up to end"
  flock 9
  stop_ticker
}

# ---- Packages ------------------------------------------------------------------------------------

install_packages() {
  local parts part missing=()
  parts_of "$1"
  for part in "${parts[@]}"; do
    if ! part_there "$part" || half_installed "${part%%:*}" ||
      { [[ $part == busybox-static* ]] && ! busybox_is_static; }; then
      missing+=("${part%%:*}")
    fi
  done
  ((${#missing[@]})) || return 0
  if ! type -P apt-get >/dev/null; then explain_packages "${missing[@]}"; fi
  local names=() name ours=yes
  if [[ ${HUTCH_SETUP:-} == print || $EUID != 0 ]]; then ours=""; fi
  # Without lists one can't tell which names exist.
  if [[ -n $ours ]] && ! apt-cache show "${missing[0]%% *}" >/dev/null 2>&1; then refresh_lists; fi
  for name in "${missing[@]}"; do names+=("$(first_package "$name")"); done
  if [[ -z $ours ]]; then
    give_up "These Debian packages are missing. As root, run:" \
      "  apt-get update && apt-get install --no-install-recommends ${names[*]}"
  fi
  stop_ticker
  printf 'hutch: Installing these Debian packages: %s\n' "${names[*]}" >&2
  apt_install "${names[@]}"
}

# Whether one of these packages has some of its files, but isn't whole: its installation was killed.
half_installed() {
  type -P dpkg-query >/dev/null || return 1
  # shellcheck disable=SC2086 # several names
  dpkg-query -W -f '${db:Status-Abbrev}\n' $1 2>/dev/null | grep -vE '^(ii|hi|un|rc|pn) *$' >/dev/null
}

# A dynamic one would not run in a box.
busybox_is_static() {
  [[ $(LC_ALL=C ldd /bin/busybox 2>&1 || true) =~ 'not a dynamic'|'statically linked' ]]
}

# The first of these names that apt can install; the last one if apt knows none (yet).
first_package() {
  local name
  # shellcheck disable=SC2086 # several names
  for name in $1; do
    # No pipe: grep would end first, and apt-cache's own end be taken for a no.
    if [[ $(LC_ALL=C apt-cache policy "$name" 2>/dev/null) == *"Candidate: "[!\(]* ]]; then break; fi
  done
  printf %s "$name"
}

apt_install() {
  local install=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y
    -o DPkg::Lock::Timeout=600 -o Acquire::Retries=2 -o Acquire::http::Timeout=30
    -o Dpkg::Options::=--force-confold install --no-install-recommends "$@")
  # A package manager that was killed must finish what it began before it takes anything new.
  if [[ -n $(ls -A /var/lib/dpkg/updates 2>/dev/null) || -n $(dpkg --audit 2>/dev/null) ]]; then
    step "Finishing an interrupted installation"
    attempt env DEBIAN_FRONTEND=noninteractive dpkg --configure -a --force-confold || true
  fi
  step "Installing ${#} Debian packages"
  # The lists may be missing or old, so a first failure isn't one yet.
  if attempt "${install[@]}"; then return; fi
  refresh_lists
  step "Installing ${#} Debian packages"
  must "install the Debian packages" "$network_hint" "${install[@]}"
}

refresh_lists() {
  step "Reading the lists of Debian packages"
  must "read the lists of Debian packages" "$network_hint" env LC_ALL=C apt-get -q \
    -o Acquire::Retries=2 -o Acquire::http::Timeout=30 update
}

# Other systems: what we believe their packages to be called. None of these has been tried.
explain_packages() {
  local advice list=$*
  if type -P dnf >/dev/null; then
    advice="dnf install qemu-system-x86-core virtiofsd libslirp-devel libkrun libkrunfw gcc glibc-static \
e2fsprogs-devel libarchive-devel libzstd-devel libcbor-devel busybox util-linux nodejs-npm"
  elif type -P pacman >/dev/null; then
    advice="pacman -S --needed qemu-system-x86 virtiofsd libslirp libkrun libkrunfw gcc e2fsprogs \
libarchive zstd libcbor busybox util-linux npm"
  elif type -P brew >/dev/null; then
    advice="brew tap slp/krun && brew install libkrun libkrunfw qemu libslirp e2fsprogs libarchive zstd libcbor node"
  else
    give_up "These parts are missing (named as Debian's packages): $list" \
      "Install them with this system's package manager, then run the same command again."
  fi
  give_up "These parts are missing (named as Debian's packages): $list" \
    "Run this (as root if need be; not tried by us), then the same command again:
  $advice"
}

# ---- Deno, libkrun -------------------------------------------------------------------------------

install_npm_tools() {
  local work=$1 wanted=("$deno_package") stamp=$hutch_tools/npm.parts new=$hutch_tools/npm.new
  if [[ $hutch_platform == linux-x64-glibc && -z $(system_library libkrun.so.1) ]]; then
    wanted+=("$krun_package")
  fi
  if [[ -f $stamp && $(<"$stamp") == "${wanted[*]}" && -x $hutch_deno && -e $(krun_there) ]]; then
    return
  fi
  step "Fetching ${wanted[*]} from npm"
  rm -rf "$new" "$stamp"
  mkdir "$new"
  # Without install scripts: the packages' binaries are all there is to them.
  must "fetch ${wanted[*]} from npm" "$network_hint" npm install --prefix "$new" --global=false \
    --ignore-scripts --include=optional --no-audit --no-fund --no-update-notifier --loglevel=error \
    --fetch-retries=2 --fetch-retry-mintimeout=1000 --fetch-timeout=120000 "${wanted[@]}"
  [[ -f $new/node_modules/@deno/$hutch_platform/deno ]] ||
    give_up "npm fetched $deno_package, but not its binary for $hutch_platform." \
      "Is \"omit\" or \"optional\" set in npm's configuration (npm config list)?"
  chmod 755 "$new/node_modules/@deno/$hutch_platform/deno"
  rm -rf "$hutch_tools/node_modules"
  mv "$new/node_modules" "$hutch_tools/node_modules"
  rm -rf "$new"
  printf '%s' "${wanted[*]}" >"$stamp"
}

# Where the dynamic linker finds a library; nothing if it doesn't.
system_library() {
  local path
  path=$(ldconfig -p 2>/dev/null | awk -v name="$1" '$1 == name && /x86-64|AArch64/ { print $NF; exit }')
  [[ ! -e $path ]] || printf %s "$path"
}

# The libkrun to use: the system's, else npm's.
krun_there() {
  local path
  path=$(system_library libkrun.so.1)
  printf %s "${path:-$hutch_tools/node_modules/${krun_package%@*}/lib/libkrun.so.1}"
}

link_krun() {
  local path
  path=$(krun_there)
  rm -rf "$hutch_tools/libkrun"
  if [[ ! -e $path ]]; then
    stop_ticker
    printf 'hutch: libkrun.so.1 is not here and not on npm for %s: QEMU will be used.\n' \
      "$hutch_platform" >&2
    return
  fi
  mkdir "$hutch_tools/libkrun"
  ln -s "$path" "$hutch_tools/libkrun/libkrun.so.1"
}

# ---- libkrunfw -----------------------------------------------------------------------------------

install_krunfw() {
  local work=$1 folder=$hutch_tools/libkrunfw path
  if [[ -n ${HUTCH_LIBKRUNFW:-} || -e $folder/libkrunfw.so.5 ]]; then return; fi
  rm -rf "$folder" "$folder.new"
  mkdir "$folder.new"
  path=$(system_library libkrunfw.so.5)
  if [[ -n $path ]]; then
    ln -s "$path" "$folder.new/libkrunfw.so.5"
  else
    type -P apt-get >/dev/null ||
      give_up "libkrunfw.so.5 is missing." "Install it, or set HUTCH_LIBKRUNFW to its path."
    step "Fetching $krunfw_package from Debian's release \"$krunfw_suite\""
    fetch_from_suite "$work/krunfw" "$krunfw_suite" "$krunfw_package"
    path=$(find "$work/krunfw/root" -name 'libkrunfw.so.5*' -type f -print -quit)
    [[ -n $path ]] || give_up "Debian's $krunfw_package has no libkrunfw.so.5."
    cp "$path" "$folder.new/libkrunfw.so.5"
  fi
  mv "$folder.new" "$folder"
}

# Gets a package of another release, verified as always, and unpacks it in FOLDER/root. The machine's
# own lists, sources and packages stay as they are.
fetch_from_suite() {
  local folder=$1 suite=$2 package=$3 deb
  mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$folder/deb"
  chmod 755 "$folder" "$folder/deb"
  apt_sources_for "$suite" "$folder/sources"
  local hint="$network_hint
If this system has a package of libkrunfw 5, install that; else set HUTCH_LIBKRUNFW to its path."
  [[ -n $(ls -A "$folder/sources") ]] ||
    give_up "apt's sources have no entry for this release that could serve $package." "$hint"
  local apt=(env -C "$folder/deb" LC_ALL=C apt-get -q -o "Dir::State::lists=$folder/lists"
    -o "Dir::Etc::sourceparts=$folder/sources" -o Dir::Etc::sourcelist=/dev/null
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o "Dir::Cache::archives=$folder/archives"
    -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::Languages=none
    -o APT::Get::AllowUnauthenticated=false -o APT::Update::Error-Mode=any)
  must "read the list of Debian's release \"$suite\"" "$hint" "${apt[@]}" update
  if [[ $EUID == 0 ]] && id -u _apt >/dev/null 2>&1; then chown _apt "$folder/deb"; fi
  must "fetch $package" "$hint" "${apt[@]}" download "$package"
  deb=$(find "$folder/deb" -name '*.deb' -print -quit)
  mkdir "$folder/root"
  must "unpack $package" "$network_hint" dpkg-deb -x "$deb" "$folder/root"
}

# ---- The rest ------------------------------------------------------------------------------------

unpack_packages() {
  local part package program folder download parts=("${test_unpacked[@]}")
  for part in "${parts[@]}"; do
    if part_there "$part"; then continue; fi
    read -r package _ program <<<"$part"
    type -P apt-get >/dev/null || give_up "$program is missing." "Install it, then run this again."
    folder=$1/$package
    mkdir -p "$folder/root"
    step "Fetching the Debian package $package"
    if [[ $EUID == 0 ]] && id -u _apt >/dev/null 2>&1; then chown _apt "$folder"; fi
    download=(env -C "$folder" LC_ALL=C apt-get -q download "$package")
    if ! attempt "${download[@]}"; then
      if [[ $EUID == 0 ]]; then refresh_lists; fi
      must "fetch $package" "$network_hint" "${download[@]}"
    fi
    must "unpack $package" "$network_hint" dpkg-deb -x "$folder"/*.deb "$folder/root"
    cp "$folder/root/usr/bin/$program" "$hutch_bin/$program.new"
    mv "$hutch_bin/$program.new" "$hutch_bin/$program"
  done
}

# What the tests' Debian image is made of; its layer is as mmdebstrap wrote it.
make_debian() {
  local folder=$1/debian stamp=$hutch_tools/debian.parts packages="${test_image_packages[*]}" suite
  if [[ -e $hutch_debian && -f $stamp && $(<"$stamp") == "$packages" ]]; then return; fi
  type -P apt-get >/dev/null || return 0 # the tests that need it say so
  # shellcheck disable=SC1091
  suite=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
  mkdir "$folder"
  apt_sources_for "$suite" "$folder/sources"
  [[ -n $(ls -A "$folder/sources") ]] ||
    give_up "apt's sources have no entry for this release, \"$suite\"."
  # How this machine reaches its mirrors.
  apt-config dump | grep -E '^Acquire::(https?::.*[Pp]roxy|https::Ca|Check-)' >"$folder/apt.conf" || true
  step "Making a small Debian for the tests"
  rm -f "$stamp"
  local make=(env TMPDIR="$folder" mmdebstrap --variant=extract --format=tar
    "${test_image_packages[@]/#/--include=}" --aptopt="$folder/apt.conf" "$suite"
    "$folder/debian.tar" "$folder"/sources/*)
  if ((EUID == 0)); then
    must "make a small Debian" "$network_hint" "${make[@]}"
  elif ! attempt "${make[@]}"; then # not every user has namespaces
    stop_ticker
    printf 'hutch: mmdebstrap makes no Debian for this user: tests that need one are left out.\n' >&2
    return
  fi
  cp "$folder/debian.tar" "$hutch_debian.new"
  mv "$hutch_debian.new" "$hutch_debian"
  printf '%s' "$packages" >"$stamp"
}

check_tools() {
  step "Checking what was set up"
  must "run Deno" "Remove $hutch_tools and run the same command again." "$hutch_deno" --version
  local krun=$hutch_tools/libkrun/libkrun.so.1 lost
  if [[ -e $krun ]] && type -P ldd >/dev/null; then
    lost=$(ldd "$krun" 2>&1 | awk '/not found/ { print $1 }')
    [[ -z $lost ]] || give_up "libkrun needs libraries that are not here: $lost"
  fi
  local part parts
  parts_of "$1" unpacked
  for part in "${parts[@]}"; do
    part_there "$part" || give_up "Installed ${part%%:*}, but none of these is there:${part#*:}" \
      "Is PATH ($PATH) as usual?"
  done
}

install_all "$1"
