/**
 * QEMU's machine protocol (QMP): JSON lines over a unix socket. Without imports, since the box process
 * loads it too.
 *
 * @module
 */

/** How long QEMU may take to answer everything, in `ms`: it serves one asker at a time. */
const TIMEOUT_MS = 5_000;
/** Longest line that is read from it, in bytes. */
const LINE_LIMIT = 1024 * 1024;

/** A command, as QEMU knows it. */
export interface QemuOrder {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

/** QEMU refused a command, and did nothing. */
export class QemuRefused extends Error {}

/** A conversation with a machine. */
export interface QemuTalk {
  /**
   * What QEMU returns for one command.
   *
   * @throws QemuRefused; any other error when the connection is lost or it takes too long.
   */
  ask(order: QemuOrder): Promise<unknown>;
}

/** Talks with the QEMU whose monitor listens at a path; all of it takes 5 s at most. */
export async function talkToQemu<T>(
  controlPath: string,
  body: (talk: QemuTalk) => Promise<T>,
): Promise<T> {
  using connection = await Deno.connect({ transport: "unix", path: controlPath });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    connection.close();
  }, TIMEOUT_MS);
  const messages = readMessages(connection);
  const ask = (order: QemuOrder) => answerTo(connection, messages, order);
  try {
    await messages.next(); // its greeting
    await ask({ execute: "qmp_capabilities" });
    return await body({ ask });
  } catch (error) {
    throw late ? new Error(`it didn't answer in ${TIMEOUT_MS} ms`, { cause: error }) : error;
  } finally {
    clearTimeout(timer);
  }
}

async function answerTo(
  connection: Deno.UnixConn,
  messages: AsyncGenerator<unknown, never>,
  order: QemuOrder,
): Promise<unknown> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(order)}\n`);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  for (;;) {
    const { value } = await messages.next();
    if (!isObject(value)) continue;
    if ("return" in value) return value.return;
    if ("error" in value) throw new QemuRefused(wordsOf(value.error)); // others are events
  }
}

async function* readMessages(connection: Deno.UnixConn): AsyncGenerator<unknown, never> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
    if (text.length > LINE_LIMIT) throw new Error("its answer is too long");
    const length = await connection.read(buffer);
    if (length === null) throw new Error("it closed the connection");
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
}

function wordsOf(error: unknown): string {
  return isObject(error) && typeof error.desc === "string" ? error.desc : JSON.stringify(error);
}

/** Whether a value has keys. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
