/**
 * The process that takes the place of servers for a box with secrets, as the box process starts it: it
 * lives as long as that.
 *
 * @module
 */
import { ownCommand, processFlags } from "../own_process.ts";
import type { MachineInterceptor } from "./machine_file.ts";

const OUTPUT_LIMIT = 4_000;
/** Longest line of input for it, in bytes. */
const LINE_LIMIT = 8 * 1024 * 1024;

/** An interceptor that runs. */
export interface InterceptorProcess {
  /** Says how it ended, with its last words. */
  readonly ended: Promise<string>;
  /** Ends it at once; idempotent. */
  kill(): void;
}

/** What the program that started the box process says first on its input: a line, with its end. */
export async function readSecretLine(): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  const buffer = new Uint8Array(64 * 1024);
  for (let n; length < LINE_LIMIT && (n = await Deno.stdin.read(buffer)) !== null;) {
    parts.push(buffer.slice(0, n));
    length += n;
    if (buffer[n - 1] === 10) break; // nothing is said after it before the machine is ready
  }
  return await new Blob(parts).bytes();
}

/**
 * Starts it; when this returns, it takes connections.
 *
 * @param folder The box's own.
 * @throws Error with its words when it doesn't come so far.
 */
export async function startInterceptor(
  { module, lock, socketPath, controlPath }: MachineInterceptor,
  { line, folder }: { readonly line: Uint8Array; readonly folder: string },
): Promise<InterceptorProcess> {
  const { command: [program, ...args], env } = ownCommand({
    role: "interceptor",
    module,
    args: [],
    flags: [
      ...processFlags([module], lock),
      `--allow-read=${socketPath},${controlPath}`,
      `--allow-write=${socketPath},${controlPath}`,
      "--allow-net",
    ],
    folder,
  });
  await Deno.remove(socketPath).catch(() => {}); // of a box process that died
  const child = new Deno.Command(program, {
    args,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const words = tail(child.stderr);
  const ended = (async () => {
    const { code, signal } = await child.status;
    const said = await words;
    return `the interceptor of its secrets ended with ${signal ?? `code ${code}`}${
      said === "" ? "" : `: ${said}`
    }`;
  })();
  // Kept open: its end ends the program, even when this process is killed.
  const writer = child.stdin.getWriter();
  await writer.write(line).catch(() => {}); // it has ended then, and says why
  writer.releaseLock();
  const reader = child.stdout.getReader();
  const { done } = await reader.read();
  if (done) throw new Error(await ended);
  void (async () => {
    while (!(await reader.read()).done);
  })();
  return {
    ended,
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    },
  };
}

async function tail(stream: ReadableStream<Uint8Array>): Promise<string> {
  let kept = "";
  const text = new TextDecoder();
  for await (const chunk of stream) {
    kept = (kept + text.decode(chunk, { stream: true })).slice(-OUTPUT_LIMIT);
  }
  return kept.trim();
}
