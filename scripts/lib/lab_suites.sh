#!/usr/bin/env bash
# Inside the lab: the tests of the engines that need KVM.
#
#   lab_suites.sh FOLDER SECONDS FILE...   leaves FOLDER/ENGINE.xml, .log, .left and .code
set -euo pipefail
# shellcheck source=scripts/setup
. "${BASH_SOURCE[0]%/*}/../setup"
# shellcheck source=scripts/lib/suite.sh
. "$hutch_root/scripts/lib/suite.sh"
hutch_setup test
results=$1 limit=$2
shift 2
for engine in libkrun qemu-kvm; do
  echo "-- on $engine"
  code=0
  HUTCH_TEST_ENGINE=$engine suite "/run/$engine" "$limit" "$@" || code=$?
  # Written here and copied when whole: the machine may end at any time.
  cp "/run/$engine".{log,left} "$results/"
  if [[ -f /run/$engine.xml ]]; then cp "/run/$engine.xml" "$results/"; fi
  echo "$code" >"$results/$engine.code"
done
