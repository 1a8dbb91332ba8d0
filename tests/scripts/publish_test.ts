import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

Deno.test("deno publish finds nothing wrong, but that no licence is chosen", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: fileURLToPath(new URL("../../", import.meta.url)),
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stderr);
  const errors = [...text.matchAll(/^error\[([^\]]+)\]/gm)].map(([, name]) => name);
  const known = errors.length === 0 ? [] : ["missing-license"];
  assert.deepEqual(errors, known, text);
  assert.equal(code, known.length, text);
  const warnings = [...text.matchAll(/^warning\[([^\]]+)\]/gm)].map(([, name]) => name);
  // Plugins, configurations and engines' runners are loaded by their names.
  assert.deepEqual([...new Set(warnings)], ["unanalyzable-dynamic-import"], text);
});
