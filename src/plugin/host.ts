/**
 * The plugins of a runtime: their order, what they bring, and the running of their hooks.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import type { ImageSource } from "../images/source.ts";
import type { Engine } from "../vmm/engine.ts";
import type { Events, Plugin, PluginContext, Queries, Stages } from "./contract.ts";
import { PluginError } from "./errors.ts";
import { layer, type Step } from "./layer.ts";

/** How long pending listeners may go on when the runtime closes, in `ms`. */
const DRAIN_MS = 1_000;
const ORDER = { pre: 0, normal: 1, post: 2 } as const;

/** The plugins of one runtime, in the order in which they run. */
export class PluginHost implements AsyncDisposable {
  readonly #plugins: readonly Plugin[];
  readonly #log: (line: string) => void;
  readonly #closing = new AbortController();
  readonly #resources = new AsyncDisposableStack();
  readonly #pending = new Set<Promise<void>>();

  private constructor(plugins: readonly Plugin[], log: (line: string) => void) {
    this.#plugins = plugins.toSorted((a, b) =>
      ORDER[a.order ?? "normal"] - ORDER[b.order ?? "normal"]
    );
    this.#log = log;
  }

  /**
   * Checks the plugins and sets them up, in order.
   *
   * @throws HutchError `invalid_option` for names, engines or schemes given twice.
   * @throws PluginError when a plugin's `setup` fails; those set up before are disposed of.
   */
  static async open(
    plugins: readonly Plugin[],
    log: (line: string) => void,
  ): Promise<PluginHost> {
    refuseTwice("plugin", plugins.map(({ name }) => [name, name]));
    refuseTwice(
      "engine",
      plugins.flatMap(({ name, engines = [] }) => engines.map((engine) => [engine.name, name])),
    );
    refuseTwice(
      "image scheme",
      plugins.flatMap(({ name, sources = {} }) => Object.keys(sources).map((key) => [key, name])),
    );
    const host = new PluginHost(plugins, log);
    try {
      for (const plugin of host.#plugins) await host.#setUp(plugin);
      return host;
    } catch (error) {
      await host.#dispose().catch((later) => log(errorText(later)));
      throw error;
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

  /** Runs a stage with every plugin's hook around it, the first plugin outermost. */
  run<S extends keyof Stages>(
    stage: S,
    input: Stages[S]["input"],
    signal: AbortSignal,
    core: Step<Stages[S]["input"], Stages[S]["output"]>,
  ): Promise<Stages[S]["output"]> {
    const whole = this.#plugins.reduceRight<Step<Stages[S]["input"], Stages[S]["output"]>>(
      (next, plugin) => {
        const hook = plugin.stages?.[stage];
        return hook ? layer(hook, stage, this.#context(plugin, signal), next) : next;
      },
      core,
    );
    return whole(input);
  }

  /** Asks the plugins in order; the first answer counts. */
  async ask<Q extends keyof Queries>(
    query: Q,
    question: Queries[Q]["question"],
    signal: AbortSignal,
  ): Promise<Queries[Q]["answer"] | undefined> {
    for (const plugin of this.#plugins) {
      const resolver = plugin.resolve?.[query];
      if (!resolver) continue;
      try {
        const answer = await resolver(question, this.#context(plugin, signal));
        if (answer !== undefined) return answer;
      } catch (error) {
        throw new PluginError(plugin.name, `resolve.${query}`, error);
      }
    }
    return undefined;
  }

  /** Tells the listeners, apart from whoever calls: nothing they do comes back. */
  emit<E extends keyof Events>(event: E, payload: Readonly<Events[E]>): void {
    for (const plugin of this.#plugins) {
      const listener = plugin.on?.[event];
      if (!listener) continue;
      const told = (async () => {
        await Promise.resolve(); // after the caller has gone on
        try {
          await listener(payload, this.#context(plugin, this.#closing.signal));
        } catch (error) {
          this.#log(`plugin "${plugin.name}" failed in on "${event}": ${errorText(error)}`);
        }
      })();
      this.#pending.add(told);
      told.finally(() => this.#pending.delete(told));
    }
  }

  /** Lets pending listeners end (for a second at most), then disposes of the plugins. */
  async [Symbol.asyncDispose](): Promise<void> {
    const drained = Promise.allSettled(this.#pending);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, DRAIN_MS));
    await Promise.race([drained, late]);
    clearTimeout(timer);
    this.#closing.abort(new HutchError("cancelled", "The runtime is closing"));
    await this.#dispose();
  }

  #dispose(): Promise<void> {
    return this.#resources.disposeAsync();
  }

  async #setUp(plugin: Plugin): Promise<void> {
    try {
      const resource = await plugin.setup?.(this.#context(plugin, this.#closing.signal));
      if (resource) this.#resources.use(resource);
    } catch (error) {
      throw new PluginError(plugin.name, "setup", error);
    }
  }

  #context(plugin: Plugin, signal: AbortSignal): PluginContext {
    return { plugin: plugin.name, signal };
  }
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
