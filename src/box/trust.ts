/**
 * Making a box trust an authority for certificates, in the places where its programs look: those of
 * Debian, Alpine, Fedora and SUSE, and Java's. What an earlier start put there is replaced.
 *
 * @module
 */
import type { GuestClient } from "../guest/client.ts";
import { AUTHORITY_HASH } from "../network/intercept/authority.ts";
import { addToKeyStore } from "../network/intercept/key_store.ts";
import { AUTHORITY_PATH, BUNDLE_PATH } from "../network/secrets.ts";
import { readWhole, writeWhole } from "./files/content.ts";
import { FilesPort } from "./files/port.ts";

/** Files with all authorities: OpenSSL, GnuTLS, Go and others read them. */
const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem", // SUSE
  "/etc/ssl/cert.pem", // Alpine
];
/** Folders from which a distribution's own program makes those files. */
const SOURCES = [
  "/usr/local/share/ca-certificates/hutch.crt",
  "/etc/pki/ca-trust/source/anchors/hutch.pem",
  "/etc/pki/trust/anchors/hutch.pem",
];
const KEY_STORES = [
  "/etc/ssl/certs/java/cacerts",
  "/etc/pki/ca-trust/extracted/java/cacerts",
  "/opt/java/openjdk/lib/security/cacerts",
  "/usr/lib/jvm/default-jvm/lib/security/cacerts",
];
const BEGIN = "# hutch: for the secrets of this box";
const END = "# hutch: end";
const MAX_BYTES = 16 * 2 ** 20;

/** Writes it wherever there is such a place; the box is configured by now. */
export async function trustAuthority(
  guest: GuestClient,
  box: string,
  certificate: string,
): Promise<void> {
  const port = new FilesPort({
    name: () => box,
    cwd: () => "/",
    guest: () => Promise.resolve(guest),
  }, "0:0");
  const pem = `${certificate.trim()}\n`;
  await write(port, AUTHORITY_PATH, pem, true);
  let whole = pem;
  for (const path of BUNDLES) {
    const bundle = await read(port, path);
    if (!bundle) continue;
    const text = new TextDecoder().decode(bundle);
    const made = withAuthority(text, pem);
    if (made !== text) await write(port, path, made);
    if (whole === pem) whole = made;
  }
  await write(port, BUNDLE_PATH, whole, true);
  for (const path of SOURCES) await write(port, path, pem);
  await write(port, `/etc/ssl/certs/${AUTHORITY_HASH}.0`, pem);
  for (const path of KEY_STORES) {
    const store = await read(port, path);
    const made = store && addToKeyStore(store, pem);
    if (made) await write(port, path, made);
  }
}

/** A bundle with the authority at its end, and none of before. */
export function withAuthority(bundle: string, pem: string): string {
  const from = bundle.indexOf(BEGIN);
  const to = bundle.indexOf(END, from);
  const rest = from < 0 || to < 0
    ? bundle
    : bundle.slice(0, from) + bundle.slice(to + END.length).trimStart();
  const gap = rest === "" || rest.endsWith("\n") ? "" : "\n";
  return `${rest}${gap}${BEGIN}\n${pem}${END}\n`;
}

/** Undefined where there is none, or nothing that can be read so. */
async function read(port: FilesPort, path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await readWhole(port, path, { maxBytes: MAX_BYTES });
  } catch {
    return undefined;
  }
}

/** Where there is no such folder, no program looks there; `needed` makes it. */
async function write(
  port: FilesPort,
  path: string,
  data: string | Uint8Array,
  needed = false,
): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const options = { mode: 0o644 };
  try {
    await writeWhole(port, path, { data: bytes, options });
  } catch (error) {
    if (!needed) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    await makeFolder(port);
    await writeWhole(port, path, { data: bytes, options });
  }
}

async function makeFolder(port: FilesPort): Promise<void> {
  for (const path of ["/etc", "/etc/ssl"]) {
    const head = { op: "mkdir", path: port.path(path), mode: 0o755, flags: 0 };
    await port.ask({ what: port.what("make", path), head }).catch(() => {}); // it is there
  }
}
