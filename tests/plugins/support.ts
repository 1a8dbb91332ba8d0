/**
 * What the tests of the shipped plugins share.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Events, Plugin, PluginContext } from "../../mod.ts";
import { PluginHost } from "../../src/plugin/host.ts";

/** A host of one plugin, set up; what it logs (failures of listeners) fails the test by default. */
export async function hostOf(
  plugin: Plugin,
  { log = (line: string): void => assert.fail(line) } = {},
): Promise<PluginHost> {
  const host = new PluginHost([plugin], {
    log,
    runtime: () => assert.fail("there is no runtime"),
    boxOf: () => undefined,
    record: () => {},
  });
  try {
    await host.setUp();
    return host;
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
}

/** Tells a plugin of events without a host, and so without the bounds that one sets to listeners. */
export class Teller implements AsyncDisposable {
  readonly #plugin: Plugin;
  #told: Promise<void> = Promise.resolve();
  #resource: AsyncDisposable | Disposable | void = undefined;

  private constructor(plugin: Plugin) {
    this.#plugin = plugin;
  }

  /** Sets the plugin up. */
  static async of(plugin: Plugin): Promise<Teller> {
    const teller = new Teller(plugin);
    teller.#resource = await plugin.setup?.(teller.#context);
    return teller;
  }

  /** Tells of an event after those before it. */
  emit<E extends keyof Events>(type: E, payload: Readonly<Events[E]>): void {
    const event = { ...payload, type, at: new Date().toISOString() };
    const listener = this.#plugin.on?.[type];
    this.#told = this.#told.then(() => listener?.(event, this.#context));
  }

  /** Waits for the listeners, and disposes of the plugin. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#told;
    if (!this.#resource) return;
    if (Symbol.asyncDispose in this.#resource) await this.#resource[Symbol.asyncDispose]();
    else this.#resource[Symbol.dispose]();
  }

  get #context(): PluginContext {
    return {
      plugin: this.#plugin.name,
      log: (line) => assert.fail(line),
      signal: new AbortController().signal,
      box: undefined,
      get runtime() {
        return assert.fail("there is no runtime");
      },
    };
  }
}

/** Emits what a box's short life has: one command, with this text as its argument. */
export function emitLife(host: Pick<PluginHost, "emit">, argument = "hello"): void {
  const about = { box: "0123456789ab", name: "web" };
  const exec = { ...about, execution: crypto.randomUUID(), command: ["echo", argument] };
  host.emit("box.created", { ...about, image: "builtin:busybox" });
  host.emit("stage.finished", { ...about, stage: "boot", ms: 900 });
  host.emit("box.started", { ...about, engine: "qemu", ms: 1200 });
  host.emit("exec.started", { ...exec, user: "root" });
  host.emit("exec.exited", { ...exec, code: 3, signal: null, error: null, ms: 40 });
  host.emit("box.stopped", { ...about, reason: null });
  host.emit("box.removed", about);
}
