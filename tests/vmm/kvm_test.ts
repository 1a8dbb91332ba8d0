import assert from "node:assert/strict";
import { join } from "node:path";
import { probeKvm, rememberedKvm } from "../../src/vmm/kvm.ts";
import { TempFolder } from "../support/temp.ts";

for (
  const [error, usable, problem] of [
    [undefined, true, undefined],
    ["ETIMEDOUT", false, /emulates every instruction/],
    ["ENOENT", false, /no \/dev\/kvm/],
    ["EACCES", false, /may not be opened/],
    ["EIO", false, /EIO/],
  ] as const
) {
  Deno.test(`probeKvm explains ${error ?? "a countdown that ended"}`, async () => {
    const report = await probeKvm(() => Promise.resolve({ error, ms: 1 }));
    assert.equal(report.usable, usable);
    if (problem) assert.match(report.problem ?? "", problem);
    else assert.equal(report.problem, undefined);
  });
}

Deno.test("rememberedKvm probes once per boot of the host", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "kvm.json");
  let probes = 0;
  const probe = () => Promise.resolve({ usable: ++probes > 1 });
  assert.deepEqual(await rememberedKvm(path, "boot-1", probe), { usable: false });
  assert.deepEqual(await rememberedKvm(path, "boot-1", probe), { usable: false });
  assert.equal(probes, 1);
  assert.deepEqual(await rememberedKvm(path, "boot-2", probe), { usable: true });
  await Deno.writeTextFile(path, "{broken");
  await rememberedKvm(path, "boot-2", probe);
  assert.equal(probes, 3);
});
