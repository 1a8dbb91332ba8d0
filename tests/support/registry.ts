/**
 * Debian's docker-registry on a loopback port of its own.
 *
 * @module
 */
import { join } from "node:path";
import { TempFolder } from "./temp.ts";

/** A registry that runs until disposed. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`, as in references. */
  readonly host: string;
}

/** Starts an empty registry; its program is `docker-registry`. */
export async function startRegistry(): Promise<TestRegistry> {
  const folder = new TempFolder();
  try {
    const config = join(folder.path, "config.json"); // JSON is YAML
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        version: "0.1",
        log: { level: "info", accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(folder.path, "data") } },
        http: { addr: "127.0.0.1:0" },
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
