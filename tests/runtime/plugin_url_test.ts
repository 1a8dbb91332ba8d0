import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;
/** The project's: nothing that it pins is asked of a registry. */
const LOCK = new URL("../../deno.lock", import.meta.url);
const SOURCE = 'export default { name: "from-a-url" };\n';

/** A program that loads the plugin at a URL, with Deno's flags and lock file. */
async function loadWith(url: string, folder: string, options: {
  readonly flags?: readonly string[];
  /** Digest of the module as the lock file has it. */
  readonly digest?: string;
}): Promise<{ readonly said: string; readonly code: number }> {
  const program = join(folder, "program.ts");
  await Deno.writeTextFile(
    program,
    `import { loadConfig } from ${JSON.stringify(MOD)};
const loaded = await loadConfig({ config: false, plugins: [${JSON.stringify(url)}] })
  .catch((error) => ({ plugins: [{ name: error.message }] }));
console.log(loaded.plugins[0].name);
`,
  );
  const lock = join(folder, "lock.json");
  const pinned = JSON.parse(await Deno.readTextFile(LOCK));
  if (options.digest !== undefined) pinned.remote = { [url]: options.digest };
  await Deno.writeTextFile(lock, JSON.stringify(pinned));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--no-check", "--no-config", "--lock", lock],
      ...["--allow-read", "--allow-env", "--allow-sys", ...options.flags ?? []],
      program,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("loadConfig loads plugins from URLs under Deno's permissions and lock file", async () => {
  await using folder = new TempFolder();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(SOURCE, { headers: { "content-type": "text/javascript" } }),
  );
  const host = `127.0.0.1:${server.addr.port}`;
  const url = `http://${host}/${crypto.randomUUID()}/plugin.js`; // in no cache
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(SOURCE));
  const allowed = { flags: [`--allow-import=${host}`] };
  const right = await loadWith(url, folder.path, {
    ...allowed,
    digest: new Uint8Array(hash).toHex(),
  });
  assert.deepEqual(right, { said: "from-a-url\n", code: 0 });
  const changed = await loadWith(url, folder.path, { ...allowed, digest: "0".repeat(64) });
  assert.match(changed.said, /^error: Integrity check failed/);
  assert.doesNotMatch(changed.said, /^from-a-url/m);
  const forbidden = await loadWith(url, folder.path, {});
  assert.match(forbidden.said, /^Cannot load plugin "http:.*import access/is);
});
