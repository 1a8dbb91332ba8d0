/**
 * Debian's docker-registry on a loopback port of its own.
 *
 * @module
 */
import { join } from "node:path";
import type { MemoryImage } from "./fake_registry.ts";
import { TempFolder } from "./temp.ts";

/** A registry that runs until disposed. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`, as in references. */
  readonly host: string;
}

/** What a {@link startRegistry} asks for. */
export interface TestRegistryOptions {
  /** Gets what it hasn't from this registry, `http://HOST`. @default {it has what it is given} */
  readonly proxyOf?: string;
  /** Lines `USER:HASH` (bcrypt) of those who may come in. @default {everybody} */
  readonly htpasswd?: string;
  /** Speaks TLS with this certificate; with `clientCa`, only with those whom it vouches for. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
}

/** Starts an empty registry; its program is `docker-registry`. */
export async function startRegistry(
  { proxyOf, htpasswd, tls }: TestRegistryOptions = {},
): Promise<TestRegistry> {
  const folder = new TempFolder();
  try {
    const config = join(folder.path, "config.json"); // JSON is YAML
    const users = join(folder.path, "htpasswd");
    if (htpasswd !== undefined) await Deno.writeTextFile(users, htpasswd);
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        version: "0.1",
        log: { level: "info", accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(folder.path, "data") } },
        http: {
          addr: "127.0.0.1:0",
          ...tls === undefined ? {} : {
            tls: {
              certificate: tls.cert,
              key: tls.key,
              ...tls.clientCa === undefined ? {} : { clientcas: [tls.clientCa] },
            },
          },
        },
        ...proxyOf === undefined ? {} : { proxy: { remoteurl: proxyOf } },
        ...htpasswd === undefined ? {} : { auth: { htpasswd: { realm: "test", path: users } } },
      }),
    );
    const child = new Deno.Command("docker-registry", {
      args: ["serve", config],
      env: { OTEL_TRACES_EXPORTER: "none" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const log = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    const stop = async () => {
      await log.cancel();
      child.kill("SIGKILL");
      await child.status;
      await folder[Symbol.asyncDispose]();
    };
    const said = await readUntil(log, /listening on (127\.0\.0\.1:\d+)/);
    const host = said.match?.[1];
    if (host === undefined) {
      await child.status;
      throw new Error(`docker-registry didn't start: ${said.text}`);
    }
    const drained = drain(log);
    return {
      host,
      async [Symbol.asyncDispose]() {
        await stop();
        await drained;
      },
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

/** How {@link pushImage} gets in. */
export interface PushOptions {
  readonly authorization?: string;
  /** Speaks TLS. @default {plain HTTP} */
  readonly client?: Deno.HttpClient;
}

/** Brings an image to a registry under `name:tag`. */
export async function pushImage(
  registry: TestRegistry,
  path: string,
  image: MemoryImage,
  { authorization, client }: PushOptions = {},
): Promise<void> {
  const [name, tag] = path.split(":");
  const root = `${client ? "https" : "http"}://${registry.host}/v2/${name}/`;
  const send = async (method: string, url: string | URL, body?: BodyInit, type?: string) => {
    const headers = new Headers(authorization === undefined ? {} : { authorization });
    if (type !== undefined) headers.set("content-type", type);
    const answer = await fetch(url, {
      method,
      headers,
      ...body === undefined ? {} : { body },
      ...client === undefined ? {} : { client },
    });
    await answer.body?.cancel();
    if (!answer.ok) throw new Error(`${method} ${url} is answered by ${answer.status}`);
    return answer.headers.get("location") ?? "";
  };
  for (const [digest, bytes] of image.blobs) {
    const place = new URL(await send("POST", `${root}blobs/uploads/`), root);
    place.searchParams.set("digest", digest);
    await send("PUT", place, bytes, "application/octet-stream");
  }
  const { mediaType } = JSON.parse(new TextDecoder().decode(image.manifest));
  await send("PUT", `${root}manifests/${tag}`, image.manifest, mediaType);
}

async function readUntil(
  reader: ReadableStreamDefaultReader<string>,
  pattern: RegExp,
): Promise<{ match: RegExpExecArray | null; text: string }> {
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return { match: null, text };
    text += value;
    const match = pattern.exec(text);
    if (match) return { match, text };
  }
}

async function drain(reader: ReadableStreamDefaultReader<string>): Promise<void> {
  while (!(await reader.read()).done) { /* a full pipe would stop the registry */ }
}
