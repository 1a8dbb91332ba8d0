/**
 * Counts and times of this program's boxes, stages, commands and pulls: as Prometheus text over HTTP
 * on loopback (`GET /metrics`), and through Deno's own OpenTelemetry where the program was started
 * with `OTEL_DENO=true` (Deno's `OTEL_…` variables say where it goes). No label has values that
 * grow with the number of boxes.
 * Options and their defaults: {@link MetricsOptions}.
 *
 * @example
 * ```ts
 * import { Runtime } from "../mod.ts";
 * import { metrics } from "./metrics.ts";
 * let url = "";
 * const onListen = (address: string) => url = address;
 * await using runtime = await Runtime.open({ plugins: [metrics({ onListen })] });
 * await using box = await runtime.create({ image: "builtin:busybox", memory: 128 });
 * await box.exec("true");
 * console.log(await (await fetch(url)).text()); // hutch_boxes_total{event="started"} 1, …
 * ```
 * @module
 */
import { definePlugin, type HutchEvent, type Plugin } from "../mod.ts";

/** Options of {@link metrics}. */
export interface MetricsOptions {
  /** Port on 127.0.0.1; 0 lets the system choose, null serves nothing. @default {0} */
  readonly port?: number | null;
  /** Gets the address, such as `http://127.0.0.1:9464/metrics`. The log has it as well. */
  readonly onListen?: (url: string) => void;
}

type Labels = Readonly<Record<string, string>>;
/** What is used of OpenTelemetry. */
type Instrument = Record<"add" | "record", (value: number, labels: Labels) => void>;
type Meter = Record<
  `create${"Counter" | "Histogram"}`,
  (name: string, about: object) => Instrument
>;

/** Upper bounds of the buckets of histograms, in seconds. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, Infinity];

/** A histogram of times where the name ends in `_seconds`, else a counter. */
class Metric {
  readonly #series = new Map<string, { sum: number; counts: readonly number[] }>();
  readonly #timed: boolean;
  #twin: Instrument | undefined;

  constructor(readonly name: string, readonly help: string) {
    this.#timed = name.endsWith("_seconds");
  }

  /** Tells OpenTelemetry too; names there have dots, and no unit or `total` at their end. */
  pair(meter: Meter | undefined): void {
    const name = this.name.replace("_", ".").replace(/_(?:total|seconds)$/, "");
    const advice = { explicitBucketBoundaries: BUCKETS.slice(0, -1) };
    const about = { description: this.help, unit: this.#timed ? "s" : "", advice };
    this.#twin = meter?.[this.#timed ? "createHistogram" : "createCounter"](name, about);
  }

  /** Counts one, which took `ms`. */
  add(labels: Labels, ms = 0): void {
    const seconds = ms / 1000;
    const series = this.#series.get(textOf(labels)) ?? { sum: 0, counts: BUCKETS.map(() => 0) };
    series.sum += seconds;
    series.counts = series.counts.map((n, index) => seconds <= (BUCKETS[index] ?? 0) ? n + 1 : n);
    this.#series.set(textOf(labels), series);
    this.#twin?.[this.#timed ? "record" : "add"](this.#timed ? seconds : 1, labels);
  }

  /** It in Prometheus' text format. */
  get text(): string {
    const [name, type] = [this.name, this.#timed ? "histogram" : "counter"];
    const lines = [`# HELP ${name} ${this.help}`, `# TYPE ${name} ${type}`];
    for (const [labels, { sum, counts }] of this.#series) {
      const within = labels && `{${labels}}`;
      for (const [index, bound] of this.#timed ? BUCKETS.entries() : []) {
        const le = `le="${bound === Infinity ? "+Inf" : bound}"`;
        lines.push(`${name}_bucket{${labels && `${labels},`}${le}} ${counts[index]}`);
      }
      if (this.#timed) lines.push(`${name}_sum${within} ${sum}`);
      lines.push(`${name}${this.#timed ? "_count" : ""}${within} ${counts.at(-1)}`);
    }
    return `${lines.join("\n")}\n`;
  }
}

/** Makes the plugin. */
export function metrics({ port = 0, onListen }: MetricsOptions = {}): Plugin {
  const lives = new Metric("hutch_boxes_total", "Events in the lives of boxes.");
  const starts = new Metric("hutch_box_start_seconds", "Whole starts of boxes.");
  const stages = new Metric("hutch_stage_seconds", "Stages of the starts of boxes.");
  const execs = new Metric("hutch_exec_seconds", "Commands, by how they ended.");
  const pulls = new Metric("hutch_image_pull_seconds", "Pulls of images.");
  const failures = new Metric("hutch_plugin_failures_total", "Failures of plugins.");
  const all = [lives, starts, stages, execs, pulls, failures];
  const live = ({ type }: HutchEvent) => lives.add({ event: type.replace("box.", "") });
  return definePlugin({
    name: "metrics",
    on: {
      "box.created": live,
      "box.started": (event) => (live(event), starts.add({ engine: event.engine }, event.ms)),
      ...{ "box.stopped": live, "box.failed": live, "box.crashed": live, "box.removed": live },
      "stage.finished": ({ stage, ms }) => stages.add({ stage }, ms),
      "exec.exited": ({ code, signal, ms }) => {
        const failed = code === null ? "error" : "failed"; // couldn't be run, or its box was lost
        execs.add({ result: signal !== null ? "signal" : code === 0 ? "ok" : failed }, ms);
      },
      "image.pulled": ({ ms }) => pulls.add({}, ms),
      "plugin.failed": ({ plugin, hook }) => failures.add({ plugin, hook }),
    },
    setup({ log }) {
      const meter = meterOf();
      for (const metric of all) metric.pair(meter);
      if (port === null) return;
      const where = { hostname: "127.0.0.1", port, onListen() {} };
      const server = Deno.serve(where, (request) => answer(request, all));
      const url = `http://127.0.0.1:${server.addr.port}/metrics`;
      log(`metrics at ${url}`);
      onListen?.(url);
      return server;
    },
  });
}

function answer({ url, method }: Request, all: readonly Metric[]): Response {
  const { hostname, pathname } = new URL(url);
  // A page in a browser may get here by a name that it gave this address.
  const known = ["127.0.0.1", "localhost"].includes(hostname) && pathname === "/metrics";
  if (!known || method !== "GET") return new Response(null, { status: known ? 405 : 404 });
  const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
  return new Response(all.map(({ text }) => text).join(""), { headers });
}

/** Deno's, or undefined where it wasn't switched on. */
function meterOf(): Meter | undefined {
  try {
    return Deno.telemetry.meterProvider.getMeter("hutch");
  } catch {
    return undefined;
  }
}

function textOf(labels: Labels): string {
  const escaped = (text: string) => text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n");
  return Object.entries(labels).map(([name, text]) => `${name}="${escaped(text)}"`).join(",");
}
