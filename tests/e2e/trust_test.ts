/** That a box's programs trust its interceptor, in the layouts of distributions. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { makeAuthority } from "../../src/network/intercept/authority.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, TEST_ENGINE, withHome } from "./support.ts";

const keytool = needs("keytool", "busybox");
/** One that a later program knows, too. */
const KEPT = { HUTCHED: { from: "env", hosts: ["api.test"] } };
/** Where each distribution's programs look, and what there is a link to another place. */
const FILES = {
  Debian: "/etc/ssl/certs/ca-certificates.crt",
  Fedora: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  SUSE: "/var/lib/ca-certificates/ca-bundle.pem",
} as const;
const LINKS = {
  "/etc/ssl/cert.pem": "certs/ca-certificates.crt", // Alpine
  "/etc/pki/tls/certs/ca-bundle.crt": FILES.Fedora,
  "/etc/pki/tls/cert.pem": FILES.Fedora,
  "/etc/ssl/ca-bundle.pem": FILES.SUSE,
  "/etc/pki/java/cacerts": "/etc/pki/ca-trust/extracted/java/cacerts",
} as const;
const ANCHORS = [
  "/usr/local/share/ca-certificates",
  "/etc/pki/ca-trust/source/anchors",
  "/etc/pki/trust/anchors",
];
/** Java's, by the formats of its stores: older ones, and those without a password of newer ones. */
const STORES = {
  "/etc/ssl/certs/java/cacerts": ["-storetype", "JKS"],
  "/etc/pki/ca-trust/extracted/java/cacerts": ["-storetype", "JKS"],
  "/opt/java/openjdk/lib/security/cacerts": [
    ...["-storetype", "PKCS12", "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE"],
    "-J-Dkeystore.pkcs12.macAlgorithm=NONE",
  ],
} as const;

const fingerprintOf = async (path: string) =>
  /SHA256: *([0-9A-F:]+)/.exec(await runTool("keytool", "-printcert", "-file", path))?.[1];

/** A root with all layouts at once, each with one authority. */
async function makeRoot(root: string, folder: string): Promise<string> {
  const theirs = (await makeAuthority()).certificate;
  const pem = join(folder, "theirs.pem");
  await Deno.writeTextFile(pem, theirs);
  const paths = [...Object.values(FILES), ...Object.keys(LINKS), ...Object.keys(STORES), "/bin/x"];
  for (const path of [...paths.map((path) => path.slice(0, path.lastIndexOf("/"))), ...ANCHORS]) {
    await Deno.mkdir(join(root, path), { recursive: true });
  }
  for (const path of Object.values(FILES)) {
    await Deno.writeTextFile(join(root, path), `# theirs\n${theirs}\n`, { mode: 0o444 });
  }
  for (const [path, to] of Object.entries(LINKS)) await Deno.symlink(to, join(root, path));
  for (const [path, options] of Object.entries(STORES)) {
    await runTool(
      ...["keytool", "-importcert", "-noprompt", "-trustcacerts", "-alias", "theirs"] as const,
      ...["-file", pem, "-keystore", join(root, path), "-storepass", "changeit", ...options],
    );
  }
  const busybox = (await runTool("sh", "-c", "command -v busybox")).trim();
  await Deno.copyFile(busybox, join(root, "bin/busybox"));
  await Deno.symlink("busybox", join(root, "bin/sh"));
  return theirs;
}

const body = (pem: string) => pem.replace(/-----[^-]+-----|\s/g, "");
const count = (text: string, pem: string) => body(text).split(body(pem)).length - 1;

Deno.test(
  `A box trusts its interceptor in the layouts of distributions and Java, on ${TEST_ENGINE}${keytool.note}`,
  {
    ignore: keytool.ignore,
  },
  () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const root = join(folder.path, "root");
      const theirs = await makeRoot(root, folder.path);
      Deno.env.set("HUTCHED", "a value");
      using _unset = { [Symbol.dispose]: () => Deno.env.delete("HUTCHED") };
      for (const start of [1, 2]) { // the second has another authority
        await using runtime = await Runtime.open({ home });
        const box = start === 1
          ? await runtime.create({
            ...{ ...BOX, name: "trusting", image: `dir:${root}`, secrets: KEPT },
            autoRemove: false,
          })
          : await runtime.get("trusting");
        await box.start();
        const own = await box.fs.readTextFile("/etc/ssl/hutch.pem");
        for (const [name, path] of [...Object.entries(FILES), ...Object.entries(LINKS)]) {
          if (name.endsWith("cacerts")) continue;
          const text = await box.fs.readTextFile(name.startsWith("/") ? name : path);
          assert.deepEqual([count(text, own), count(text, theirs)], [1, 1], name);
        }
        for (const path of Object.keys(LINKS)) {
          assert((await box.fs.lstat(path)).isSymlink, `${path} is a link no more`);
        }
        for (const path of ANCHORS) {
          const [name = ""] = (await Array.fromAsync(box.fs.readDir(path))).map(({ name }) => name);
          assert.equal(count(await box.fs.readTextFile(`${path}/${name}`), own), 1, path);
        }
        const [ownPem, theirPem] = [join(folder.path, "own.pem"), join(folder.path, "theirs.pem")];
        await Deno.writeTextFile(ownPem, own);
        for (const path of Object.keys(STORES)) {
          const store = join(folder.path, "store");
          await Deno.writeFile(store, await box.fs.readFile(path));
          const args = ["-list", "-v", "-keystore", store, "-storepass", "changeit"];
          const listed = await runTool("keytool", ...args);
          for (const pem of [ownPem, theirPem]) {
            assert(listed.includes(await fingerprintOf(pem) ?? "none"), `${path}: ${listed}`);
          }
          assert.match(listed, /contains 2 entries/, path);
        }
        await box.stop();
        if (start === 2) await box.remove();
      }
    }),
);
