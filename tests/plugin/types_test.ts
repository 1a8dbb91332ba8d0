/**
 * What must not compile: each line below `@ts-expect-error` is an error, or the file is one.
 *
 * @module
 */
import assert from "node:assert/strict";
import { definePlugin, type Plugin } from "../../mod.ts";

/** Never called: compiling it is the test. */
export function misspelled(): Plugin[] {
  return [
    // @ts-expect-error a plugin has a name
    definePlugin({}),
    // @ts-expect-error no such slot
    definePlugin({ name: "x", stage: {} }),
    // @ts-expect-error no such order
    definePlugin({ name: "x", order: "first" }),
    // @ts-expect-error no such stage
    definePlugin({ name: "x", stages: { boots: { before: () => {} } } }),
    // @ts-expect-error no such hook
    definePlugin({ name: "x", stages: { boot: { befor: () => {} } } }),
    // @ts-expect-error no such operation
    definePlugin({ name: "x", operations: { start: { before: () => {} } } }),
    // @ts-expect-error an operation is no stage
    definePlugin({ name: "x", stages: { exec: { before: () => {} } } }),
    // @ts-expect-error no such query
    definePlugin({ name: "x", resolve: { credential: () => undefined } }),
    // @ts-expect-error no such event
    definePlugin({ name: "x", on: { "box.start": () => {} } }),
    // @ts-expect-error no such hook of networks
    definePlugin({ name: "x", network: { onRequests: () => {} } }),
    // @ts-expect-error a connection is denied, or sent elsewhere
    definePlugin({ name: "x", network: { onConnect: () => "allow" as const } }),
    // @ts-expect-error what a connection's hook gets has no request
    definePlugin({ name: "x", network: { onDns: (_question, { request }) => void request } }),
  ];
}

/** Never called: compiling it is the test. */
export function wrong(): Plugin[] {
  return [
    definePlugin({
      name: "input",
      // @ts-expect-error `boot` doesn't get this
      stages: { boot: { before: ({ memory }) => void memory } },
    }),
    definePlugin({
      name: "changed input",
      // @ts-expect-error an engine's name is text
      stages: { boot: { before: (input) => ({ ...input, engine: 1 }) } },
    }),
    definePlugin({
      name: "output",
      // @ts-expect-error `connect` gives a hello
      stages: { connect: { wrap: () => ({ hello: true }) } },
    }),
    definePlugin({
      name: "changed output",
      // @ts-expect-error it gives volumes, not their tags
      stages: { volumes: { after: (volumes) => volumes.map(({ tag }) => tag) } },
    }),
    definePlugin({
      name: "next",
      // @ts-expect-error what goes further in is an input too
      operations: { stop: { wrap: (_input, next) => next({ timeout: 1 }) } },
    }),
    definePlugin({
      name: "question",
      // @ts-expect-error `verify` isn't told of boxes
      resolve: { verify: ({ box }) => void box },
    }),
    definePlugin({
      name: "answer",
      // @ts-expect-error a refusal has a reason
      resolve: { verify: () => ({ ok: false }) },
    }),
    definePlugin({
      name: "credentials",
      // @ts-expect-error a name comes with a password
      resolve: { credentials: () => ({ username: "me" }) },
    }),
    definePlugin({
      name: "payload",
      // @ts-expect-error `box.created` has no engine
      on: { "box.created": ({ engine }) => void engine },
    }),
    definePlugin({
      name: "read-only",
      on: {
        "box.started": (event) => {
          // @ts-expect-error other listeners get the same event
          event.ms = 0;
        },
      },
    }),
    definePlugin({
      name: "context",
      // @ts-expect-error a context has no such thing
      setup: ({ box, boxes }) => void [box, boxes],
    }),
    definePlugin({
      name: "resource",
      // @ts-expect-error nobody could dispose of it
      setup: () => ({ close: () => {} }),
    }),
  ];
}

Deno.test("definePlugin refuses, when compiled, what it takes here as it is", () => {
  const plugin: Plugin = { name: "same" };
  assert.equal(definePlugin(plugin), plugin);
});
