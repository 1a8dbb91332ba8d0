import assert from "node:assert/strict";
import { join } from "node:path";
import { hutch, RUN, TEST_ENGINE, withHome } from "./support.ts";

Deno.test(`hutch doctor --repair finds a box that runs again, after its database was damaged, on ${TEST_ENGINE}`, () =>
  withHome(async (home) => {
    const started = await hutch(home, ["run", "-d", ...RUN, "--name", "one", "builtin:busybox"]);
    assert.equal(started.code, 0, started.stderr);
    const id = started.stdout.trim();
    await hutch(home, ["exec", "one", "sh", "-c", "echo kept > /root/file"]);
    await hutch(home, ["create", ...RUN, "--name", "two", "builtin:busybox"]);
    await Deno.writeTextFile(join(home, "state.db"), "not a database at all");
    const refused = await hutch(home, ["ls"]);
    assert.equal(refused.code, 125);
    assert.match(
      refused.stderr,
      /^hutch: Cannot read .*state\.db: it is damaged .*doctor --repair.*\n$/,
    );
    const repaired = await hutch(home, ["doctor", "--repair"]);
    assert.equal(repaired.code, 0, repaired.stderr);
    assert.match(repaired.stdout, /^copy {6}.*state\.db\.damaged-/m);
    assert.match(repaired.stdout, /^boxes {5}0 kept, 2 restored, 0 lost$/m);
    assert.match(repaired.stdout, new RegExp(`^  restored  ${id}  one  running$`, "m"));
    const listed = await hutch(home, ["ls", "-a", "--filter", "name=one", "--json"]);
    const [box] = JSON.parse(listed.stdout);
    assert.deepEqual([box.id, box.status, box.engine], [id, "running", RUN[1]]);
    // It is the same machine, and can be told to end.
    const read = await hutch(home, ["exec", "one", "cat", "/root/file"]);
    assert.deepEqual([read.stdout, read.code], ["kept\n", 0], read.stderr);
    assert.equal((await hutch(home, ["stop", "one"])).code, 0);
    const again = await hutch(home, ["exec", "one", "cat", "/root/file"]);
    assert.deepEqual([again.stdout, again.code], ["kept\n", 0], again.stderr);
    // The other one's image is known without a pull.
    const other = await hutch(home, ["exec", "two", "true"]);
    assert.equal(other.code, 0, other.stderr);
    assert.equal((await hutch(home, ["rm", "-f", "one", "two"])).code, 0);
    assert.match((await hutch(home, ["doctor", "--repair"])).stdout, /^Nothing is wrong with /);
  }));
