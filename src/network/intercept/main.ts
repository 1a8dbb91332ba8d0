/**
 * The interceptor's process: reads {@link InterceptorInput} as a line of JSON, says `ready`, and ends
 * with its input.
 *
 * @module
 */
import { orderNetwork } from "../control.ts";
import { Issuer } from "./authority.ts";
import { Interceptor } from "./interceptor.ts";
import type { InterceptorInput } from "./input.ts";

if (import.meta.main) await main();

/** Is the interceptor, until its input ends. */
export async function main(): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
  const { input, ended } = await firstOf(lines);
  const { socketPath, controlPath, authority, secrets, caCerts } = input;
  await using _interceptor = new Interceptor({
    socketPath,
    issuer: await Issuer.of(authority),
    secrets,
    caCerts,
    leaked: ({ secret, address, port, name }) => {
      // The box's network tells those who listen to it; when it has gone, so has the box.
      void orderNetwork(controlPath, `leaked ${secret} ${address} ${port} ${name}`).catch(() => {});
    },
    hooked: ({ how, address, port, name }) => {
      void orderNetwork(controlPath, `hooked ${how} ${address} ${port} ${name}`).catch(() => {});
    },
  });
  await Deno.stdout.write(new TextEncoder().encode("ready\n"));
  await ended;
  Deno.exit(0); // connections that go on have nobody any more
}

/** The first line, and the end of what comes after it. */
async function firstOf(
  stream: ReadableStream<string>,
): Promise<{ readonly input: InterceptorInput; readonly ended: Promise<void> }> {
  const reader = stream.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error("its input has no line");
    text += value;
  }
  const ended = (async () => {
    while (!(await reader.read()).done);
  })();
  return { input: JSON.parse(text.slice(0, text.indexOf("\n"))), ended };
}
