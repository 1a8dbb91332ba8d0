/**
 * Talking with a running box's network: it tells what happens, and asks what hooks decide.
 *
 * @module
 */
import {
  type BlockedSecret,
  type ClosedFlow,
  type DeniedFlow,
  type FlowStart,
  linesOf,
} from "./control.ts";
import {
  type HookRuling,
  type NameQuestion,
  type NetworkConnection,
  rulingWords,
  wordText,
} from "./hooks.ts";

/** What a network tells, with its time in `ms` since 1970. */
export type NetworkEvent =
  & { readonly at: number }
  & (
    | { readonly kind: "denied"; readonly flow: DeniedFlow }
    | { readonly kind: "leaked"; readonly secret: BlockedSecret }
    | { readonly kind: "connected"; readonly flow: FlowStart }
    | { readonly kind: "closed"; readonly flow: ClosedFlow }
  );

/** As hutch-net writes them (`ffi/net/events.c`). */
type Told =
  & { readonly at: number }
  & (
    | { readonly event: "denied" } & DeniedFlow
    | { readonly event: "leaked" } & BlockedSecret
    | { readonly event: "connected" } & FlowStart
    | { readonly event: "closed" } & ClosedFlow
  );
type Question =
  | { readonly ask: number; readonly about: "connect" } & Omit<NetworkConnection, "to">
  | { readonly ask: number; readonly about: "dns" } & Omit<NameQuestion, "answer">;
type Line = Told | Question | { readonly ok: boolean };

/** Who answers what a network asks. Neither rejects. */
export interface NetworkJudge {
  connect(connection: NetworkConnection): Promise<HookRuling>;
  name(question: NameQuestion): Promise<HookRuling>;
  /** Where requests are heard of; undefined: nowhere. */
  readonly door: string | undefined;
}

/** What {@link talkWithNetwork} works with. */
export interface TalkOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  readonly told: (event: NetworkEvent) => void;
  /** Undefined: somebody else answers, or nobody has to. */
  readonly judge: NetworkJudge | undefined;
  /** Called when it is known to the network. */
  readonly ready: () => void;
}

/**
 * Talks with the network whose control socket is at `path`, until that ends. Of several programs the
 * first is told and asked; the next ones when it has gone.
 *
 * @throws what `Deno.connect` throws, and Error for what it doesn't understand.
 */
export async function talkWithNetwork(path: string, options: TalkOptions): Promise<void> {
  const { signal, told, judge } = options;
  using connection = await Deno.connect({ transport: "unix", path });
  const abort = () => {
    try {
      connection.close();
    } catch {
      // It is closed.
    }
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    const say = speaker(connection);
    if (judge) await say(["asks", judge.door ?? ""].join(" ").trim());
    await say("events");
    let waiting = judge ? 2 : 1;
    for await (const line of linesOf(connection.readable)) {
      const said: Line = JSON.parse(line);
      if ("event" in said) {
        told(eventOf(said));
      } else if ("ask" in said) {
        if (!judge) continue;
        void answer(said, judge).then((words) => say(`answer ${said.ask} ${words}`)).catch(
          () => {},
        );
      } else if (!said.ok) {
        throw new Error(`it says ${line.slice(0, 200)}`);
      } else if (--waiting === 0) {
        options.ready();
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Writes lines, each whole. */
function speaker(connection: Deno.UnixConn): (line: string) => Promise<void> {
  let last = Promise.resolve();
  return (line) => {
    const bytes = new TextEncoder().encode(`${line}\n`);
    return last = last.then(async () => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    });
  };
}

async function answer(asked: Question, judge: NetworkJudge): Promise<string> {
  const { ask: _, about: __, ...question } = asked;
  const ruling = "names" in question
    ? judge.connect({ ...question, to: null })
    : judge.name({ ...question, answer: null });
  return rulingWords(await ruling);
}

function eventOf(told: Told): NetworkEvent {
  const { at } = told;
  switch (told.event) {
    case "denied": {
      const { event: _, at: __, ...flow } = told;
      const plugin = flow.plugin === null ? null : wordText(flow.plugin);
      return { at, kind: "denied", flow: { ...flow, plugin } };
    }
    case "leaked": {
      const { event: _, at: __, ...secret } = told;
      return { at, kind: "leaked", secret };
    }
    case "connected": {
      const { event: _, at: __, ...flow } = told;
      return { at, kind: "connected", flow };
    }
    case "closed": {
      const { event: _, at: __, ...flow } = told;
      return { at, kind: "closed", flow };
    }
  }
}
