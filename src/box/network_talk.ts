/**
 * Telling listeners what happens in a box's network, and answering what plugins' hooks decide there.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import { textWord } from "../network/hooks.ts";
import { type NetworkEvent, talkWithNetwork } from "../network/talk.ts";
import { RequestDenied } from "../plugin/network_hooks.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";

/** How much later the end of a box may be noticed than that of its network, in `ms`. */
const MOMENT_MS = 2_000;

/** Options of {@link talkToNetwork}. */
export interface NetworkTalkOptions {
  /** The end of the connection to the box. */
  readonly over: Promise<void>;
  /** Called when the network knows of this program. */
  readonly ready?: () => void;
}

/**
 * Emits what a box's network tells, and has the plugins' hooks answer what it asks, until the connection
 * to the box is over; never rejects. Of several programs, the network talks with the first.
 */
export async function talkToNetwork(
  context: BoxContext,
  { id, name, network }: BoxConfig,
  { over, ready = () => {} }: NetworkTalkOptions,
): Promise<void> {
  if (network.mode === "none") return;
  const { plugins } = context;
  const ending = new AbortController();
  const { signal } = ending;
  void over.then(() => ending.abort());
  const scope = () => ({ box: context.boxOf(id), signal });
  const { kinds } = plugins.network.config;
  using door = kinds.includes("request")
    ? context.door.open((request, connection, next) =>
      plugins.network.request(request, connection, scope(), next)
    )
    : undefined;
  try {
    await talkWithNetwork(boxPaths(context.paths, id).networkControlPath, {
      signal,
      ready,
      told: (event) => tell(context, { box: id, name }, event),
      judge: kinds.length === 0 ? undefined : {
        connect: (connection) => plugins.network.connect(connection, scope()),
        name: (question) => plugins.network.name(question, scope()),
        door: door?.word,
      },
    });
  } catch (error) {
    if (await isOver(over)) return; // a network ends with its box, and may be noticed first
    context.log(`network of box "${name}": ${errorText(error)}`);
  }
}

/** How an error of hooks denies a request, as words for the network; undefined for other errors. */
export function denialWords(error: unknown): string | undefined {
  if (!(error instanceof RequestDenied)) return undefined;
  return `${error.ruling.hook} ${textWord(error.ruling.plugin)}`;
}

function tell(
  { plugins }: BoxContext,
  about: { readonly box: string; readonly name: string },
  event: NetworkEvent,
): void {
  const at = new Date(event.at);
  switch (event.kind) {
    case "denied":
      return plugins.emit("network.denied", { ...about, ...event.flow }, at);
    case "leaked":
      return plugins.emit("secret.blocked", { ...about, ...event.secret }, at);
    case "connected":
      return plugins.emit("network.connected", { ...about, ...event.flow }, at);
    case "closed":
      return plugins.emit("network.closed", { ...about, ...event.flow }, at);
  }
}

/** Whether the connection to the box is over, or is so within a moment. */
async function isOver(over: Promise<void>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), MOMENT_MS);
  void over.then(() => resolve(true));
  const ended = await promise;
  clearTimeout(timer);
  return ended;
}
