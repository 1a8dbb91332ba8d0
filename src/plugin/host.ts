/**
 * The plugins of a runtime: their order, what they bring, and the running of their hooks.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import { errorText, HutchError } from "../errors.ts";
import type { ImageSource } from "../images/source.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Engine } from "../vmm/engine.ts";
import type {
  EventOf,
  Events,
  Operations,
  Plugin,
  PluginContext,
  Queries,
  StageHook,
  Stages,
} from "./contract.ts";
import { PluginError } from "./errors.ts";
import { layer, type Step } from "./layer.ts";
import { ListenerQueue, type Telling } from "./listeners.ts";
import { NetworkHookRunner } from "./network_hooks.ts";
import { outsideStarts } from "./scope.ts";

/** How long pending listeners may go on when the runtime closes, in `ms`. */
const DRAIN_MS = 1_000;
const ORDER = { pre: 0, normal: 1, post: 2 } as const;

/** What hooks can go around. */
type Hookable = Stages & Operations;

/** What a run or a question is about. */
export interface HookScope {
  readonly signal: AbortSignal;
  /** The box, where there is one. */
  readonly box?: Box | undefined;
  /** The name that a box is to get, while there is none; for errors. */
  readonly name?: string | undefined;
  /** The only plugin that is asked. @default {all} */
  readonly plugin?: string | undefined;
}

/** What a {@link PluginHost} is made with. */
export interface PluginHostOptions {
  /** Gets one line for each failure that nobody else sees. */
  readonly log: (line: string) => void;
  /** The runtime that the plugins are in. */
  readonly runtime: () => Runtime;
  /** The box with an id, if this program holds it; for the context of listeners. */
  readonly boxOf: (id: string) => Box | undefined;
  /** Gets every event, before any listener. Mustn't throw. */
  readonly record: <E extends keyof Events>(event: EventOf<E>) => void;
}

/** The plugins of one runtime, in the order in which they run. */
export class PluginHost implements AsyncDisposable {
  readonly #plugins: readonly Plugin[];
  readonly #options: PluginHostOptions;
  readonly #closing = new AbortController();
  readonly #resources = new AsyncDisposableStack();
  readonly #failures = new WeakSet<PluginError>();
  readonly #queues = new Map<Plugin, ListenerQueue>();
  /** What plugins decide of boxes' networks. */
  readonly network: NetworkHookRunner;

  /**
   * Checks the plugins.
   *
   * @throws HutchError `invalid_option` for names, engines or schemes given twice, and for an engine that
   * keeps memory and has no pauser.
   */
  constructor(plugins: readonly Plugin[], options: PluginHostOptions) {
    refuseTwice("plugin", plugins.map(({ name }) => [name, name]));
    refuseTwice(
      "engine",
      plugins.flatMap(({ name, engines = [] }) => engines.map((engine) => [engine.name, name])),
    );
    for (const plugin of plugins) plugin.engines?.forEach((engine) => checkEngine(engine, plugin));
    refuseTwice(
      "image scheme",
      plugins.flatMap(({ name, sources = {} }) => Object.keys(sources).map((key) => [key, name])),
    );
    this.#plugins = plugins.toSorted((a, b) =>
      ORDER[a.order ?? "normal"] - ORDER[b.order ?? "normal"]
    );
    this.#options = options;
    this.network = new NetworkHookRunner({
      plugins: this.#plugins,
      context: (plugin, scope) => this.#context(plugin, scope),
      failed: (error, box) => void this.#told(error, box),
    });
  }

  /**
   * Sets the plugins up, in order.
   *
   * @throws PluginError when a plugin's `setup` fails; those set up before wait for disposal.
   */
  async setUp(): Promise<void> {
    for (const plugin of this.#plugins) {
      try {
        const resource = await plugin.setup?.(this.#context(plugin, {}));
        if (resource) this.#keep(plugin, resource);
      } catch (error) {
        throw this.#told(new PluginError(plugin.name, "setup", error));
      }
    }
  }

  /** All engines, in the order of their plugins. */
  get engines(): Engine[] {
    return this.#plugins.flatMap(({ engines = [] }) => engines);
  }

  /** All image sources by scheme. */
  get sources(): Map<string, ImageSource> {
    return new Map(this.#plugins.flatMap(({ sources = {} }) => Object.entries(sources)));
  }

  /** Whether a plugin has a hook around a stage or an operation. */
  hasHook(name: keyof Hookable): boolean {
    return this.#plugins.some((plugin) => hookOf(plugin, name) !== undefined);
  }

  /** Runs a stage or an operation with every plugin's hook around it, the first plugin outermost. */
  run<S extends keyof Hookable>(
    name: S,
    input: Hookable[S]["input"],
    scope: HookScope,
    core: Step<Hookable[S]["input"], Hookable[S]["output"]>,
  ): Promise<Hookable[S]["output"]> {
    const whole = this.#plugins.reduceRight<Step<Hookable[S]["input"], Hookable[S]["output"]>>(
      (next, plugin) => {
        const hook = hookOf(plugin, name);
        if (!hook) return next;
        const about = scope.box?.name ?? scope.name;
        const step = layer(hook, { stage: name, about }, this.#context(plugin, scope), next);
        return (given) =>
          step(given).catch((error: unknown) => {
            throw error instanceof PluginError ? this.#told(error, scope.box) : error;
          });
      },
      core,
    );
    return whole(input);
  }

  /** Asks the plugins in order; the first answer counts. */
  async ask<Q extends keyof Queries>(
    query: Q,
    question: Queries[Q]["question"],
    scope: HookScope,
  ): Promise<Queries[Q]["answer"] | undefined> {
    for (const plugin of this.#plugins) {
      const resolver = plugin.resolve?.[query];
      if (!resolver || (scope.plugin !== undefined && plugin.name !== scope.plugin)) continue;
      try {
        const answer = await resolver(question, this.#context(plugin, scope));
        if (answer !== undefined) return answer;
      } catch (error) {
        const about = scope.box?.name ?? scope.name;
        const failure = new PluginError(plugin.name, `resolve.${query}`, error, about);
        throw this.#told(failure, scope.box);
      }
    }
    return undefined;
  }

  /** Records an event and tells the listeners, apart from whoever calls: nothing comes back. */
  emit<E extends keyof Events>(type: E, payload: Readonly<Events[E]>, at: Date = new Date()): void {
    const event = { ...payload, type, at: at.toISOString() };
    this.#options.record(event);
    if (this.#closing.signal.aborted) return; // nobody listens any more
    for (const plugin of this.#plugins) {
      const listener = plugin.on?.[type];
      // A plugin isn't told of its own failures: most likely it would fail at that too.
      if (!listener || ("plugin" in payload && payload.plugin === plugin.name)) continue;
      const id = "box" in payload && typeof payload.box === "string" ? payload.box : undefined;
      const box = id === undefined ? undefined : this.#options.boxOf(id);
      outsideStarts(() =>
        this.#queueOf(plugin).add({
          type,
          box: id,
          tell: () => listener(event, this.#context(plugin, { box })),
        })
      );
    }
  }

  /** Lets pending listeners end (for a second at most), then disposes of the plugins. */
  async [Symbol.asyncDispose](): Promise<void> {
    const drained = Promise.all([...this.#queues.values()].map((queue) => queue.drained()));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, DRAIN_MS));
    await Promise.race([drained, late]);
    clearTimeout(timer);
    this.#closing.abort(new HutchError("cancelled", "The runtime is closing"));
    for (const queue of this.#queues.values()) queue.end(); // nobody listens without what is disposed of
    await this.#resources.disposeAsync();
  }

  /** Disposes of a plugin's resource at the end; a failure there is that plugin's. */
  #keep(plugin: Plugin, resource: AsyncDisposable | Disposable): void {
    this.#resources.defer(async () => {
      try {
        if (Symbol.asyncDispose in resource) await resource[Symbol.asyncDispose]();
        else resource[Symbol.dispose]();
      } catch (error) {
        throw this.#told(new PluginError(plugin.name, "dispose", error));
      }
    });
  }

  #queueOf(plugin: Plugin): ListenerQueue {
    const known = this.#queues.get(plugin);
    if (known) return known;
    const queue = new ListenerQueue({
      failed: (telling, message) => this.#listenerFailed(plugin, telling, message),
    });
    this.#queues.set(plugin, queue);
    return queue;
  }

  /** Tells of a plugin's failure, once: it passes by every plugin further out. */
  #told(error: PluginError, box?: Box): PluginError {
    if (this.#failures.has(error)) return error;
    this.#failures.add(error);
    const { plugin, hook, cause } = error;
    const message = errorText(cause);
    this.emit("plugin.failed", { plugin, hook, message, box: box?.id ?? null });
    return error;
  }

  #listenerFailed(plugin: Plugin, { type, box }: Telling, message: string): void {
    this.#options.log(`plugin "${plugin.name}" failed in on "${type}": ${message}`);
    // One that fails at hearing of failures would never end.
    if (type === "plugin.failed") return;
    this.emit("plugin.failed", {
      plugin: plugin.name,
      hook: `on.${type}`,
      message,
      box: box ?? null,
    });
  }

  #context(plugin: Plugin, scope: Partial<HookScope>): PluginContext {
    const { log, runtime } = this.#options;
    const { box, signal = this.#closing.signal } = scope;
    return {
      plugin: plugin.name,
      signal,
      box,
      log: (line) => log(`plugin "${plugin.name}": ${line}`),
      get runtime() {
        return runtime();
      },
    };
  }
}

/** A plugin's hook around a stage or an operation; no name is both. */
function hookOf<S extends keyof Hookable>(
  plugin: Plugin,
  name: S,
): StageHook<Hookable[S]["input"], Hookable[S]["output"]> | undefined {
  const hooks: {
    readonly [N in keyof Hookable]?: StageHook<Hookable[N]["input"], Hookable[N]["output"]>;
  } = { ...plugin.stages, ...plugin.operations };
  return hooks[name];
}

function checkEngine({ name, memory, pauser }: Engine, plugin: Plugin): void {
  if (!memory || pauser) return;
  throw new HutchError(
    "invalid_option",
    `Cannot use engine "${name}" of plugin "${plugin.name}": it keeps memory and has no pauser`,
    { hint: "memory is kept while the machine stands still and its box process goes on" },
  );
}

function refuseTwice(kind: string, entries: readonly (readonly string[])[]): void {
  const seen = new Map<string, string>();
  for (const [key = "", plugin = ""] of entries) {
    const other = seen.get(key);
    if (other !== undefined) {
      throw new HutchError(
        "invalid_option",
        `Cannot use ${kind} "${key}" twice: plugins "${other}" and "${plugin}" both bring it`,
        { hint: "leave one of them out" },
      );
    }
    seen.set(key, plugin);
  }
}
