/** Certificates where programs look for them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { withAuthority } from "../../src/box/trust.ts";
import { AUTHORITY_HASH, makeAuthority } from "../../src/network/intercept/authority.ts";
import { addToKeyStore } from "../../src/network/intercept/key_store.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const openssl = needs("openssl");

Deno.test("withAuthority puts an authority at the end, in the place of an earlier one", () => {
  const once = withAuthority("one\ntwo", "first\n");
  assert.match(once, /^one\ntwo\n# hutch: for .*\nfirst\n# hutch: end\n$/);
  assert.equal(withAuthority(once, "second\n"), once.replace("first", "second"));
  assert.equal(
    withAuthority(`${once}three\n`, "first\n"),
    withAuthority("one\ntwo\nthree\n", "first\n"),
  );
});

Deno.test(`An authority has the hash by which OpenSSL looks for it${openssl.note}`, {
  ignore: openssl.ignore,
}, async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "ca.pem");
  await Deno.writeTextFile(path, (await makeAuthority()).certificate);
  assert.equal(
    (await runTool("openssl", "x509", "-in", path, "-noout", "-subject_hash")).trim(),
    AUTHORITY_HASH,
  );
});

Deno.test(
  `addToKeyStore reads stores of both formats, and writes one that Java checks${openssl.note}`,
  {
    ignore: openssl.ignore,
  },
  async () => {
    await using folder = new TempFolder();
    const [own, first, second] = await Promise.all([1, 2, 3].map(makeAuthority));
    const [pem, p12] = [join(folder.path, "all.pem"), join(folder.path, "all.p12")];
    await Deno.writeTextFile(pem, `${first?.certificate}\n${second?.certificate}\n`);
    const args = ["-export", "-nokeys", "-certpbe", "NONE", "-nomac", "-passout", "pass:"];
    await runTool("openssl", "pkcs12", ...args, "-in", pem, "-out", p12);
    const store = addToKeyStore(await Deno.readFile(p12), own?.certificate ?? "");
    assert(store);
    const again = addToKeyStore(store, first?.certificate ?? "");
    assert(again);
    const count = (bytes: Uint8Array) => Buffer.from(bytes).readUInt32BE(8);
    assert.deepEqual([count(store), count(again)], [3, 3], "one of ours is replaced");
    const holds = (bytes: Uint8Array, text = "") =>
      Buffer.from(bytes).includes(Buffer.from(text.replace(/-----[^-]+-----|\s/g, ""), "base64"));
    assert(holds(store, own?.certificate) && holds(store, second?.certificate));
    assert(!holds(again, own?.certificate) && holds(again, first?.certificate));
    store[20] = (store[20] ?? 0) ^ 1;
    assert.equal(
      addToKeyStore(store, own?.certificate ?? ""),
      undefined,
      "a store that was damaged",
    );
    assert.equal(addToKeyStore(Uint8Array.of(1, 2, 3), own?.certificate ?? ""), undefined);
    assert.equal(addToKeyStore(Uint8Array.of(0x30, 3, 1, 2, 3), own?.certificate ?? ""), undefined);
  },
);
