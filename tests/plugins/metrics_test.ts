import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { metrics } from "../../plugins/metrics.ts";
import { emitLife, hostOf } from "./support.ts";

const PROGRAM = fileURLToPath(import.meta.resolve("./metrics_program.ts"));

/** One line of Prometheus' text format. */
interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads the format as its grammar has it; anything else fails. */
function parse(text: string): { samples: Sample[]; types: Map<string, string> } {
  assert.ok(text.endsWith("\n"));
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  for (const line of text.split("\n").slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment?.[1] === "TYPE") {
      assert.ok(!types.has(comment[2] ?? ""), `two types: ${line}`);
      types.set(comment[2] ?? "", comment[3] ?? "");
    }
    if (comment) continue;
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    assert.ok(sample, `not a sample: ${line}`);
    const labels: Record<string, string> = {};
    let rest = sample[2] ?? "";
    while (rest !== "") {
      const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/.exec(rest);
      assert.ok(label, `not labels: ${rest}`);
      labels[label[1] ?? ""] = (label[2] ?? "")
        .replace(/\\(.)/g, (_, one: string) => one === "n" ? "\n" : one);
      rest = rest.slice(label[0].length);
    }
    const value = Number(sample[3]);
    assert.ok(!Number.isNaN(value), line);
    samples.push({ name: sample[1] ?? "", labels, value });
  }
  return { samples, types };
}

/** What is served after these events were emitted. */
async function scrape(
  emit: (host: Awaited<ReturnType<typeof hostOf>>) => void,
): Promise<ReturnType<typeof parse>> {
  let url = "";
  await using host = await hostOf(metrics({ onListen: (address) => url = address }), {
    log: (line) => assert.match(line, /metrics at http:\/\/127\.0\.0\.1:\d+\/metrics$|failed in/),
  });
  emit(host);
  await new Promise((resolve) => setTimeout(resolve)); // listeners come after the emitter
  const response = await fetch(url);
  assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  return parse(await response.text());
}

function valueOf({ samples }: { samples: readonly Sample[] }, name: string, labels = {}): number {
  const found = samples.filter((sample) =>
    sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels)
  );
  assert.equal(found.length, 1, `${name} ${JSON.stringify(labels)}`);
  return found[0]?.value ?? NaN;
}

Deno.test("metrics counts and times what happens, as Prometheus reads it", async () => {
  const scraped = await scrape((host) => {
    emitLife(host);
    emitLife(host);
    host.emit("box.failed", { box: "b", name: "n", stage: "boot", reason: "no" });
    const exec = { box: "b", name: "n", execution: "e", command: ["x"] };
    host.emit("exec.exited", { ...exec, code: 0, signal: null, error: null, ms: 400_000 });
    host.emit("exec.exited", { ...exec, code: 137, signal: "SIGKILL", error: null, ms: 10 });
    host.emit("exec.exited", { ...exec, code: null, signal: null, error: "no such", ms: 11 });
    host.emit("image.pulled", { reference: "r", digest: "d", ms: 2_500 });
  });
  assert.equal(valueOf(scraped, "hutch_boxes_total", { event: "created" }), 2);
  assert.equal(valueOf(scraped, "hutch_boxes_total", { event: "started" }), 2);
  assert.equal(valueOf(scraped, "hutch_boxes_total", { event: "failed" }), 1);
  assert.equal(valueOf(scraped, "hutch_box_start_seconds_sum", { engine: "qemu" }), 2.4);
  assert.equal(valueOf(scraped, "hutch_stage_seconds_count", { stage: "boot" }), 2);
  const execs = ["failed", "ok", "signal", "error"].map((result) =>
    valueOf(scraped, "hutch_exec_seconds_count", { result })
  );
  assert.deepEqual(execs, [2, 1, 1, 1]);
  const bucket = (le: string, result: string) =>
    valueOf(scraped, "hutch_exec_seconds_bucket", { result, le });
  assert.deepEqual([bucket("0.025", "failed"), bucket("0.05", "failed")], [0, 2]); // 40 ms
  assert.deepEqual([bucket("300", "ok"), bucket("+Inf", "ok")], [0, 1]);
  assert.deepEqual([bucket("0.01", "signal"), bucket("0.01", "error")], [1, 0]);
  assert.equal(valueOf(scraped, "hutch_image_pull_seconds_bucket", { le: "2.5" }), 1);
  assert.equal(valueOf(scraped, "hutch_image_pull_seconds_sum"), 2.5);
  for (const { name } of scraped.samples) {
    const family = name.replace(/_(?:bucket|sum|count)$/, "");
    assert.equal(scraped.types.get(family), family === name ? "counter" : "histogram", name);
  }
});

Deno.test("metrics escapes what labels may not have", async () => {
  const plugin = 'a "quoted" \\ name\nof two lines';
  const scraped = await scrape((host) =>
    host.emit("plugin.failed", { plugin, hook: "\\n", message: "x", box: null })
  );
  assert.equal(valueOf(scraped, "hutch_plugin_failures_total", { plugin, hook: "\\n" }), 1);
});

Deno.test("metrics answers nothing but its page, and no page of a browser", async () => {
  let url = "";
  await using _host = await hostOf(metrics({ onListen: (address) => url = address }), {
    log: () => {},
  });
  const status = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(new URL(path, url), init);
    await response.body?.cancel();
    return response.status;
  };
  assert.deepEqual([await status("/metrics"), await status("/"), await status("/metrics/x")], [
    ...[200, 404, 404],
  ]);
  assert.equal(await status("/metrics", { method: "POST" }), 405);
  const { hostname, port } = new URL(url);
  assert.equal(hostname, "127.0.0.1");
  using conn = await Deno.connect({ hostname, port: Number(port) });
  const request = "GET /metrics HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
  await conn.write(new TextEncoder().encode(request));
  assert.match(await new Response(conn.readable).text(), /^HTTP\/1\.1 404 /);
});

Deno.test("metrics takes the port that it is given, or says that it can't", async () => {
  let url = "";
  const onListen = (address: string) => url = address;
  await using _host = await hostOf(metrics({ onListen }), { log: () => {} });
  const port = Number(new URL(url).port);
  await assert.rejects(hostOf(metrics({ port }), { log: () => {} }), /"metrics" failed in "setup"/);
  await using _silent = await hostOf(metrics({ port: null }), { log: assert.fail });
});

Deno.test("metrics reaches OpenTelemetry through Deno", async () => {
  const bodies: string[] = [];
  await using collector = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      if (new URL(request.url).pathname === "/v1/metrics") bodies.push(await request.text());
      return Response.json({});
    },
  );
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", PROGRAM],
    env: {
      OTEL_DENO: "true",
      OTEL_DENO_CONSOLE: "ignore",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
    },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const [own] = JSON.parse(bodies.at(-1) ?? "{}").resourceMetrics
    .flatMap(({ scopeMetrics }: { scopeMetrics: unknown[] }) => scopeMetrics)
    .filter(({ scope }: { scope: { name: string } }) => scope.name === "hutch");
  const point = (name: string) =>
    own.metrics.find((metric: { name: string }) => metric.name === name);
  const created = point("hutch.boxes").sum.dataPoints.find((
    { attributes }: { attributes: { key: string; value: { stringValue: string } }[] },
  ) => attributes.some(({ key, value }) => key === "event" && value.stringValue === "created"));
  assert.equal(Number(created.asDouble ?? created.asInt), 1);
  const exec = point("hutch.exec");
  assert.equal(exec.unit, "s");
  const [data] = exec.histogram.dataPoints;
  assert.deepEqual([Number(data.count), data.sum], [1, 0.04]);
  assert.equal(data.explicitBounds.length, data.bucketCounts.length - 1);
});
