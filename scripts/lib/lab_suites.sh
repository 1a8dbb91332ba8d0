#!/usr/bin/env bash
# Inside the lab: the tests of the engines that need KVM.
#
#   lab_suites.sh FOLDER SECONDS   leaves FOLDER/ENGINE.xml, .log, .left and .code
#
# libkrun gets the whole run, but for what doesn't hold there yet or takes the lab too long: detached
# and main commands, networks (the boxes of other tests have one all the same). QEMU on KVM differs
# from its emulation by the accelerator alone: what every engine must do, and one run by the command
# line. Tests whose guest ended before it said a word are run once more: the processor here is
# emulated, and scripts/lib/lab_hold.c tells what it may lose.
set -euo pipefail
# shellcheck source=scripts/setup
. "${BASH_SOURCE[0]%/*}/../setup"
# shellcheck source=scripts/lib/suite.sh
. "$hutch_root/scripts/lib/suite.sh"
hutch_setup test
results=$1 limit=$2
declare -A files=(
  [libkrun]="tests/e2e/engine_test.ts tests/e2e/hello_test.ts tests/e2e/run_test.ts tests/e2e/life_test.ts tests/e2e/volumes_test.ts tests/e2e/disk_test.ts"
  [qemu-kvm]="tests/e2e/engine_test.ts tests/e2e/hello_test.ts"
)
for engine in libkrun qemu-kvm; do
  echo "-- on $engine"
  code=0
  read -ra chosen <<<"${files[$engine]}"
  HUTCH_TEST_ENGINE=$engine suite "/run/$engine" "$limit" "${chosen[@]}" || code=$?
  again=()
  if ((code == 1)); then
    dmesg | tail -n 20
    mapfile -t again < <("$hutch_deno" run -R scripts/test_summary.ts --silent-ends "/run/$engine.xml")
  fi
  if ((${#again[@]})); then
    echo "-- on $engine, once more"
    HUTCH_TEST_ENGINE=$engine suite "/run/$engine.again" "$limit" --filter "${again[-1]}" \
      "${again[@]:0:${#again[@]}-1}" || true
    cat "/run/$engine.again.left" >>"/run/$engine.left"
  fi
  # Written here and copied when whole: the machine may end at any time.
  cp "/run/$engine".{log,left} "$results/"
  for report in "/run/$engine"{,.again}.xml; do
    if [[ -f $report ]]; then cp "$report" "$results/"; fi
  done
  echo "$code" >"$results/$engine.code"
done
