import assert from "node:assert/strict";
import type { BoxInfo, BoxStatus } from "../../src/box/options.ts";
import { shortReference } from "../../src/cli/format.ts";
import { formatBoxes, formatStatus, parseFilters } from "../../src/cli/ls.ts";
import { boxInfo } from "./helpers.ts";

const NOW = Date.parse("2026-01-02T00:00:00.000Z");

Deno.test("formatBoxes prints only the header when there is none", () => {
  assert.equal(formatBoxes([], NOW), "ID   NAME   IMAGE   STATUS   CPUS   MEMORY   ENGINE\n");
});

Deno.test("formatBoxes prints a row per box", () => {
  const info = boxInfo({
    status: "running",
    startedAt: "2026-01-01T23:00:00.000Z",
    engine: "qemu",
  });
  const [header, row, end] = formatBoxes([info], NOW).split("\n");
  assert.equal(
    header,
    "ID             NAME   IMAGE       STATUS           CPUS   MEMORY    ENGINE",
  );
  assert.equal(row, "0123456789ab   web    debian:12   running 1 hour   2      512 MiB   qemu");
  assert.equal(end, "");
});

Deno.test("formatBoxes shows the engine asked for until one was chosen", () => {
  assert.match(formatBoxes([boxInfo({})], NOW), /auto\n$/);
});

Deno.test("formatStatus says for how long, or how long ago", () => {
  const created = "2026-01-01T00:00:00.000Z";
  const started = "2026-01-01T22:00:00.000Z";
  const stopped = "2026-01-01T23:59:00.000Z";
  const table: [BoxStatus, Partial<BoxInfo>, string][] = [
    ["configured", {}, "configured 1 day ago"],
    ["starting", { startedAt: started }, "starting 2 hours"],
    ["running", { startedAt: started }, "running 2 hours"],
    ["stopping", { startedAt: started }, "stopping 2 hours"],
    ["stopped", { startedAt: started, stoppedAt: stopped }, "stopped 1 minute ago"],
    ["crashed", { startedAt: started, stoppedAt: stopped }, "crashed 1 minute ago"],
    ["failed", { startedAt: started }, "failed 2 hours ago"],
    ["running", {}, "running"],
    ["running", { startedAt: "nonsense" }, "running"],
    ["running", { startedAt: "2026-01-03T00:00:00.000Z" }, "running under a second"],
  ];
  for (const [status, times, expected] of table) {
    assert.equal(formatStatus(boxInfo({ status, ...times }, created), NOW), expected);
  }
});

Deno.test("formatStatus says how well a box with checks is", () => {
  const startedAt = "2026-01-01T22:00:00.000Z";
  const box = boxInfo({ status: "running", startedAt, health: "unhealthy" });
  assert.equal(formatStatus(box, NOW), "running 2 hours (unhealthy)");
});

Deno.test("shortReference leaves out what is understood", () => {
  const table: [string, string][] = [
    ["registry:docker.io/library/debian:12", "debian:12"],
    ["registry:docker.io/user/app:1", "user/app:1"],
    ["registry:docker.io/library/a/b:1", "library/a/b:1"],
    ["registry:localhost:5000/x:y", "localhost:5000/x:y"],
    ["builtin:busybox", "builtin:busybox"],
    ["oci:/path:tag", "oci:/path:tag"],
  ];
  for (const [reference, text] of table) assert.equal(shortReference(reference), text);
});

Deno.test("parseFilters reads labels with and without values, states and a name", () => {
  assert.deepEqual(parseFilters(["label=a", "label=b=1", "label=c=x=y", "label=d="]), {
    labels: { a: true, b: "1", c: "x=y", d: "" },
  });
  assert.deepEqual(parseFilters(["status=stopped", "status=failed", "name=w=*", "label=x"]), {
    labels: { x: true },
    status: ["stopped", "failed"],
    name: "w=*",
  });
  assert.deepEqual(parseFilters([]), {});
  for (const filter of ["", "label", "label=", "label==x", "name=", "status", "a", "x=y"]) {
    assert.throws(() => parseFilters([filter]), {
      code: "invalid_option",
      message: `Cannot read --filter: ${JSON.stringify(filter)} is not a filter`,
    });
  }
  assert.throws(() => parseFilters(["name=a", "name=b"]), {
    message: 'Cannot read --filter: "name=b" is a second name',
  });
  assert.throws(() => parseFilters(["status=runing"]), {
    message: /^Cannot read --filter status: "runing" is not one of configured, /,
    hint: "did you mean running?",
  });
});
