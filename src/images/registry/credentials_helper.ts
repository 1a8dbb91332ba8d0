/**
 * Programs `docker-credential-NAME`, which keep logins for Docker and for us.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { asPermissionError } from "../../permissions.ts";
import { isObject } from "../json.ts";

/** What a helper keeps for a server. */
export interface HelperLogin {
  readonly username: string;
  /** The password, or an identity token when the user is {@link TOKEN_USER}. */
  readonly secret: string;
}

/** How a helper is run. */
export interface HelperOptions {
  readonly signal: AbortSignal;
  /** How long it may take, in `ms`; it may have to ask its user. @default {60000} */
  readonly timeoutMs?: number;
}

/** The user's name by which helpers mark an identity token. */
export const TOKEN_USER = "<token>";

const TIMEOUT_MS = 60_000;
/** Longest answer, in bytes. */
const ANSWER_LIMIT = 1024 * 1024;
/** What helpers say, and end with code 1, when they have nothing: most of them, and Docker Desktop's. */
const NOTHING = /credentials not found in native keychain|No stored credential for/;

/**
 * What a helper keeps for a server; undefined when that is nothing.
 *
 * @throws {HutchError} `credentials_unavailable`, `cancelled`
 */
export async function helperGet(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<HelperLogin | undefined> {
  const { success, output } = await run(name, "get", server, options);
  if (!success) {
    if (NOTHING.test(output)) return undefined;
    throw failure(name, "it failed", `to see why: echo ${server} | docker-credential-${name} get`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch { /* the parser's message would quote it */ }
  if (isObject(answer)) {
    const { Username: username, Secret: secret } = answer;
    if (typeof username === "string" && typeof secret === "string") {
      return secret === "" ? undefined : { username, secret };
    }
  }
  throw failure(name, "its answer isn't a user name and a secret");
}

/**
 * Gives a helper something to keep.
 *
 * @throws {HutchError} `credentials_unavailable`, `cancelled`
 */
export async function helperStore(
  name: string,
  server: string,
  { username, secret }: HelperLogin,
  options: HelperOptions,
): Promise<void> {
  const input = JSON.stringify({ ServerURL: server, Username: username, Secret: secret });
  const { success } = await run(name, "store", input, options);
  if (!success) throw failure(name, "it doesn't keep it");
}

/**
 * Lets a helper forget a server; one that it never knew is fine.
 *
 * @throws {HutchError} `credentials_unavailable`, `cancelled`
 */
export async function helperErase(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<void> {
  const { success, output } = await run(name, "erase", server, options);
  if (!success && !NOTHING.test(output)) throw failure(name, "it doesn't forget it");
}

/** Runs it with an input of a few lines. Its errors aren't shown: nobody knows what they repeat. */
async function run(
  name: string,
  action: "get" | "store" | "erase",
  input: string,
  { signal, timeoutMs = TIMEOUT_MS }: HelperOptions,
): Promise<{ success: boolean; output: string }> {
  if (!/^[\w.-]+$/.test(name)) throw failure(name, "its name isn't a word");
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(`docker-credential-${name}`, {
      args: [action],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
  } catch (error) {
    const refused = asPermissionError(error, `ask docker-credential-${name}`);
    if (refused !== error) throw refused;
    const missing = error instanceof Deno.errors.NotFound;
    throw failure(
      name,
      missing ? "it isn't there" : "it can't be started",
      missing ? "install it, or take it out of the configuration that names it" : undefined,
    );
  }
  const { promise: stopped, reject: stop } = Promise.withResolvers<never>();
  const onAbort = () =>
    stop(
      new HutchError("cancelled", "Cannot ask a credential helper: it was cancelled", {
        cause: signal.reason,
      }),
    );
  const timer = setTimeout(
    () => stop(failure(name, `it didn't end within ${timeoutMs} ms`)),
    timeoutMs,
  );
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const reader = child.stdout.getReader();
  try {
    const fed = feed(child.stdin, input);
    const [output, { success }] = await Promise.race([
      Promise.all([readAll(reader, name), child.status, fed]),
      stopped,
    ]);
    return { success, output };
  } catch (error) {
    kill(child);
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    stopped.catch(() => {});
    // A child of its own may hold its output open when it is gone.
    await reader.cancel().catch(() => {});
    await child.status;
  }
}

/** One that doesn't want its input may end without it. */
async function feed(stdin: WritableStream<Uint8Array>, input: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(`${input}\n`));
    await writer.close();
  } catch {
    await writer.abort().catch(() => {});
  }
}

async function readAll(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
  name: string,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.length;
    if (size > ANSWER_LIMIT) throw failure(name, `its answer is longer than ${ANSWER_LIMIT} bytes`);
    text += decoder.decode(value, { stream: true });
  }
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch { /* it has ended */ }
}

function failure(name: string, problem: string, hint?: string): HutchError {
  const shown = /^[\w.-]+$/.test(name) ? `docker-credential-${name}` : JSON.stringify(name);
  return new HutchError(
    "credentials_unavailable",
    `Cannot use credential helper ${shown}: ${problem}`,
    hint === undefined ? {} : { hint },
  );
}
