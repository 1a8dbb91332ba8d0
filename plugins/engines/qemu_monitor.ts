/**
 * Orders to a running QEMU: its machine protocol (QMP), JSON lines over a unix socket.
 *
 * @module
 */
import { HutchError, type MachineHandle, type MachinePauser } from "../../mod.ts";

/** How long QEMU may take to answer everything, in `ms`: it serves one asker at a time. */
const TIMEOUT_MS = 5_000;
/** Longest line that is read from it, in bytes. */
const LINE_LIMIT = 64 * 1024;

/** Pauses machines by QEMU's own `stop` and `cont`: the box process goes on. */
export const qemuPauser: MachinePauser = {
  async pause(machine) {
    await ask(machine, "stop");
  },
  async resume(machine) {
    await ask(machine, "cont");
  },
  async isPaused(machine) {
    const answer = await ask(machine, "query-status");
    return isObject(answer) && answer.running === false;
  },
};

/** What QEMU returns for one command. */
async function ask({ controlPath }: MachineHandle, command: string): Promise<unknown> {
  try {
    using connection = await Deno.connect({ transport: "unix", path: controlPath });
    const late = setTimeout(() => connection.close(), TIMEOUT_MS);
    try {
      const messages = readMessages(connection);
      await messages.next(); // its greeting
      await answerTo(connection, messages, "qmp_capabilities");
      return await answerTo(connection, messages, command);
    } finally {
      clearTimeout(late);
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HutchError("box_state", `Cannot tell QEMU to ${command}: ${why}`, { cause });
  }
}

async function answerTo(
  connection: Deno.UnixConn,
  messages: AsyncGenerator<unknown, never>,
  command: string,
): Promise<unknown> {
  const order = new TextEncoder().encode(`${JSON.stringify({ execute: command })}\n`);
  for (let at = 0; at < order.length;) at += await connection.write(order.subarray(at));
  for (;;) {
    const { value } = await messages.next();
    if (!isObject(value)) continue;
    if ("return" in value) return value.return;
    if ("error" in value) throw new Error(JSON.stringify(value.error)); // others are events
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

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
