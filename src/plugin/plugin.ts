/**
 * Defining plugins.
 *
 * @module
 */
import type { Plugin } from "./contract.ts";

/**
 * Gives a plugin back as it is, with its type checked: a misspelled hook doesn't compile.
 *
 * @example A plugin that says when a box boots
 * ```ts
 * import { definePlugin } from "@hutch/hutch";
 * export default definePlugin({
 *   name: "say",
 *   on: { "stage.finished": ({ stage, ms }) => console.log(`${stage}: ${ms} ms`) },
 * });
 * ```
 */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin;
}
