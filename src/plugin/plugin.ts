/**
 * Defining plugins.
 *
 * @module
 */
import type { Plugin } from "./contract.ts";

/**
 * Gives a plugin back as it is, checked by the compiler: a hook that hutch doesn't know, a
 * misspelled one for instance, doesn't compile.
 *
 * @example A plugin that says when a box's machine has started
 * ```ts
 * import { definePlugin } from "./mod.ts";
 * export default definePlugin({
 *   name: "say",
 *   on: { "stage.finished": ({ box, stage }) => console.log(box, stage) },
 * });
 * ```
 */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin;
}
