#!/usr/bin/env bash
# Inside the lab: the tests of the engines that need KVM.
#
#   lab_suites.sh FOLDER SECONDS [ENGINE.FILE...]
#                          leaves FOLDER/list, and of each name in it .xml, .log, .left, .code
#
# libkrun gets the whole run, but for what takes the lab too long: of networks it gets a beginning, all
# of them and secrets by scripts/lab_network. QEMU on KVM differs from its emulation by the accelerator
# alone: what every engine must do, and one run by the command line. SECONDS is the limit of each file.
#
# What is there is left out: a lab that stood still is followed by another one, for the rest.
#
# The processor here is emulated, and not quite: guests, and the lab's own kernel, now and then stand
# still or end for no fault of ours (scripts/lib/lab_hold.c tells of one way). Tests that fail are run
# once more, and so is a file that didn't end; the summary names who passed then, with what failed first.
set -euo pipefail
# shellcheck source=scripts/setup
. "${BASH_SOURCE[0]%/*}/../setup"
# shellcheck source=scripts/lib/suite.sh
. "$hutch_root/scripts/lib/suite.sh"
hutch_setup test
results=$1 limit=$2
shift 2
export HUTCH_TEST_TEMPLATE=/run/template
names=(libkrun.{engine,hello,run,volumes,network_short} qemu-kvm.{engine,hello})
if (($#)); then names=("$@"); fi

# run ENGINE NAME FILE: one file, and what of it is worth a second run.
run() {
  local engine=$1 name=$2 file=$3 code=0
  echo "-- $file on $engine"
  HUTCH_TEST_ENGINE=$engine suite "/run/$name" "$limit" "$file" || code=$?
  if ((code == 124 || code == 137)); then
    dmesg | tail -n 20
    cp "/run/$name.log" "$results/$name.first.log"
    echo "-- $file on $engine, once more: it didn't end"
    code=0
    HUTCH_TEST_ENGINE=$engine suite "/run/$name" "$limit" "$file" || code=$?
  elif ((code == 1)); then
    dmesg | tail -n 20
    HUTCH_TEST_ENGINE=$engine suite_again "/run/$name" "$limit" "$file"
  fi
  # Written here and copied when whole: the machine may end at any time.
  cp "/run/$name".{log,left} "$results/"
  for report in "/run/$name"{,.again}.xml; do
    if [[ -f $report ]]; then cp "$report" "$results/"; fi
  done
  echo "$code" >"$results/$name.code"
}

printf '%s\n' "${names[@]}" >"$results/list"
for name in "${names[@]}"; do
  if [[ ! -f $results/$name.code ]]; then
    run "${name%%.*}" "$name" "tests/e2e/${name#*.}_test.ts"
  fi
done
: >"$results/done"
