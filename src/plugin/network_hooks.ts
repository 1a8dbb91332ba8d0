/**
 * Running the plugins' hooks of boxes' networks: in order, each with a limit of its time. What fails or
 * takes too long is denied.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import { HutchError } from "../errors.ts";
import {
  checkAnswer,
  checkTarget,
  type HookRuling,
  type NameAnswer,
  type NameQuestion,
  type NetworkConnection,
  type NetworkHookConfig,
  type NetworkTarget,
  NO_HOOKS,
  type RequestConnection,
} from "../network/hooks.ts";
import { isWebSocket } from "../network/intercept/messages.ts";
import { hostOf } from "../network/secrets.ts";
import type { Awaitable, NetworkHooks, Plugin, PluginContext, RequestContext } from "./contract.ts";
import { PluginError } from "./errors.ts";

/** How long one hook may take, in `ms`. */
export const HOOK_LIMITS_MS = { connect: 10_000, request: 30_000 } as const;
/** Hosts that plugins name, together: those of secrets come beside them. */
const MAX_HOSTS = 50;
/** How often a failure of the same hook is told at most, in `ms`: a guest can cause any number. */
const TELL_MS = 1_000;

/** What a box's question is about. */
export interface NetworkScope {
  /** The box, if this program holds it. */
  readonly box: Box | undefined;
  readonly signal: AbortSignal;
}

/** What a {@link NetworkHookRunner} is made with. */
export interface NetworkHookRunnerOptions {
  readonly plugins: readonly Plugin[];
  readonly context: (plugin: Plugin, scope: NetworkScope) => PluginContext;
  /** Tells of a plugin's failure. */
  readonly failed: (error: PluginError, box: Box | undefined) => void;
  /** See {@link HOOK_LIMITS_MS}. */
  readonly limitsMs?: Readonly<Record<keyof typeof HOOK_LIMITS_MS, number>>;
}

/** A request that hooks deny. */
export class RequestDenied extends Error {
  readonly ruling: Extract<HookRuling, { kind: "deny" }>;

  constructor(ruling: Extract<HookRuling, { kind: "deny" }>) {
    super(`plugin "${ruling.plugin}" ${WHY[ruling.hook]}`);
    this.ruling = ruling;
  }
}

const WHY = {
  refused: "refuses it",
  failed: "failed at it",
  late: "took too long over it",
} as const;

/** Thrown in place of what a hook that takes too long would say. */
class TooLate extends Error {}

/** The hooks of a runtime's plugins. */
export class NetworkHookRunner {
  readonly #options: NetworkHookRunnerOptions;
  readonly #limitsMs: Readonly<Record<keyof typeof HOOK_LIMITS_MS, number>>;
  readonly #told = new Map<string, number>();
  /** What there are hooks for. */
  readonly config: NetworkHookConfig;

  constructor(options: NetworkHookRunnerOptions) {
    this.#options = options;
    this.#limitsMs = options.limitsMs ?? HOOK_LIMITS_MS;
    const hooks = options.plugins.flatMap(({ network }) => network ? [network] : []);
    const has = (...names: readonly (keyof NetworkHooks)[]) =>
      hooks.some((each) => names.some((name) => each[name] !== undefined));
    const kinds = [
      ...has("onConnect") ? ["connect" as const] : [],
      ...has("onDns") ? ["dns" as const] : [],
      ...has("onRequest", "onResponse") ? ["request" as const] : [],
    ];
    const hosts = new Set(
      options.plugins.flatMap(({ name, network }) =>
        (network?.hosts ?? []).map((host) => hostOf(host, `the hosts of plugin "${name}"`))
      ),
    );
    if (hosts.size > MAX_HOSTS) {
      throw new HutchError(
        "invalid_option",
        `Cannot look into what goes to ${hosts.size} hosts of plugins: ${MAX_HOSTS} is the most`,
        { hint: "name them by *.NAME" },
      );
    }
    this.config = kinds.length === 0 ? NO_HOOKS : { kinds, hosts: [...hosts] };
  }

  /** What all say of a connection; the first denial counts, else the last place that one sends it to. */
  async connect(connection: NetworkConnection, scope: NetworkScope): Promise<HookRuling> {
    let to: NetworkTarget | null = null;
    for (const [plugin, hooks] of this.#with("onConnect")) {
      const seen: NetworkConnection = { ...connection, to };
      const said = await this.#run("onConnect", { plugin, scope, ms: this.#limitsMs.connect }, {
        ask: (context) => hooks.onConnect?.(seen, context),
        check: (answer) => answer === "deny" ? answer : checkTarget(answer, connection),
      });
      if (said === "deny") return { kind: "deny", hook: "refused", plugin: plugin.name };
      if (said && "kind" in said) return said;
      to = said ?? to;
    }
    return to ? { kind: "to", to } : { kind: "allow" };
  }

  /** What all say of a question for a name; the first denial counts, else the last answer. */
  async name(question: NameQuestion, scope: NetworkScope): Promise<HookRuling> {
    let answer: NameAnswer | null = null;
    for (const [plugin, hooks] of this.#with("onDns")) {
      const seen: NameQuestion = { ...question, answer };
      const said = await this.#run("onDns", { plugin, scope, ms: this.#limitsMs.connect }, {
        ask: (context) => hooks.onDns?.(seen, context),
        check: (answer) => answer === "deny" ? answer : checkAnswer(answer),
      });
      if (said === "deny") return { kind: "deny", hook: "refused", plugin: plugin.name };
      if (said && "kind" in said) return said;
      answer = said ?? answer;
    }
    return answer ? { kind: "names", answer } : { kind: "allow" };
  }

  /**
   * A request through all hooks: `onRequest` in order until one answers itself, `next`, and `onResponse`
   * of all in reverse. That a WebSocket begins, as `next` tells, is no answer of a server's.
   *
   * @throws RequestDenied; what `next` throws.
   */
  async request(
    request: Request,
    connection: RequestConnection,
    scope: NetworkScope,
    next: (request: Request) => Promise<Response>,
  ): Promise<Response> {
    let asked = request;
    let response: Response | undefined;
    const ms = this.#limitsMs.request;
    for (const [plugin, hooks] of this.#with("onRequest")) {
      const now = asked;
      const said = await this.#run("onRequest", { plugin, scope, ms }, {
        ask: (context) => hooks.onRequest?.(now, about(context, connection, now)),
        check: (answer) => checkRequest(answer, request),
      });
      if (said && "kind" in said) throw new RequestDenied(said);
      if (said instanceof Response) response = said;
      else asked = said ?? asked;
      if (response) break;
    }
    if (!response && isWebSocket(request)) return await next(asked);
    let made = response ?? await next(asked);
    for (const [plugin, hooks] of this.#with("onResponse").reverse()) {
      const now = made;
      const said = await this.#run("onResponse", { plugin, scope, ms }, {
        ask: (context) => hooks.onResponse?.(now, about(context, connection, asked)),
        check: (answer) => {
          if (answer instanceof Response) return answer;
          throw new Error("it returns something else than a Response");
        },
      });
      if (said && "kind" in said) {
        await made.body?.cancel().catch(() => {});
        throw new RequestDenied(said);
      }
      made = said ?? made;
    }
    return made;
  }

  #with(hook: keyof NetworkHooks): (readonly [Plugin, NetworkHooks])[] {
    return this.#options.plugins.flatMap((plugin) =>
      plugin.network?.[hook] === undefined ? [] : [[plugin, plugin.network] as const]
    );
  }

  /** What one hook says, checked; the ruling that denies when it fails or takes too long. */
  async #run<T, C>(
    hook: keyof NetworkHooks,
    { plugin, scope, ms }: {
      readonly plugin: Plugin;
      readonly scope: NetworkScope;
      readonly ms: number;
    },
    { ask, check }: {
      readonly ask: (context: PluginContext) => Awaitable<T | void> | undefined;
      readonly check: (answer: T) => C;
    },
  ): Promise<C | undefined | Extract<HookRuling, { kind: "deny" }>> {
    const late = new AbortController();
    const over = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const error = new TooLate(`it took longer than ${ms} ms`);
      over.reject(error);
      late.abort(error);
    }, ms);
    try {
      const signal = AbortSignal.any([scope.signal, late.signal]);
      const context = this.#options.context(plugin, { ...scope, signal });
      const answer = await Promise.race([over.promise, Promise.resolve(ask(context))]);
      return answer === undefined ? undefined : check(answer);
    } catch (error) {
      this.#tell(
        new PluginError(plugin.name, `network.${hook}`, error, scope.box?.name),
        scope.box,
      );
      return {
        kind: "deny",
        hook: error instanceof TooLate ? "late" : "failed",
        plugin: plugin.name,
      };
    } finally {
      clearTimeout(timer);
    }
  }

  #tell(error: PluginError, box: Box | undefined): void {
    const key = `${error.hook} ${error.plugin}`;
    const now = performance.now();
    if (now - (this.#told.get(key) ?? -Infinity) < TELL_MS) return;
    this.#told.set(key, now);
    this.#options.failed(error, box);
  }
}

/** The context with a request; what the runtime is counts when somebody asks. */
function about(
  context: PluginContext,
  connection: RequestConnection,
  request: Request,
): RequestContext {
  const { plugin, signal, box } = context;
  return {
    ...{ plugin, signal, box, connection, request },
    log: (line) => context.log(line),
    get runtime() {
      return context.runtime;
    },
  };
}

/** What a hook may make of a request: another one to the same host, or an answer. */
function checkRequest(answer: unknown, from: Request): Request | Response {
  if (answer instanceof Response) return answer;
  if (!(answer instanceof Request)) {
    throw new Error("it returns something else than a Request or a Response");
  }
  const [asked, made] = [new URL(from.url), new URL(answer.url)];
  if (made.origin === asked.origin) return answer;
  throw new HutchError(
    "plugin_failed",
    `It sends a request for ${asked.origin} to ${made.origin}`,
    { hint: "answer with what fetch gives: that goes anywhere" },
  );
}
