/**
 * Runs programs one after the other, as if each were this one, and says in a file how each ended:
 * `examples_program.ts RESULTS PROGRAM...`.
 *
 * @module
 */
import { pathToFileURL } from "node:url";

/** How a program ended; `error` is what it threw. */
export interface ExampleResult {
  readonly path: string;
  readonly ms: number;
  readonly error?: string;
}

/** How long one may take, in `ms`. */
const LIMIT_MS = 60_000;

async function run(path: string): Promise<ExampleResult> {
  const from = performance.now();
  const ended = (error?: string): ExampleResult => ({
    path,
    ms: Math.round(performance.now() - from),
    ...error === undefined ? {} : { error },
  });
  const late = Promise.withResolvers<ExampleResult>();
  const timer = setTimeout(() => late.resolve(ended("it doesn't end")), LIMIT_MS);
  const running = import(pathToFileURL(path).href).then(
    () => ended(),
    (error: unknown) => ended(error instanceof Error ? error.stack : String(error)),
  );
  try {
    return await Promise.race([running, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

if (import.meta.main) {
  const [results = "", ...paths] = Deno.args;
  for (const path of paths) {
    const line = `${JSON.stringify(await run(path))}\n`;
    Deno.writeTextFileSync(results, line, { append: true });
  }
  Deno.exit();
}
