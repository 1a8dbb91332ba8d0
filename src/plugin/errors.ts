/**
 * Errors of plugins, attributed to them.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";

/** A plugin's own failure: names the plugin and the hook it failed in; `cause` is what it threw. */
export class PluginError extends HutchError {
  override readonly name: string = "PluginError";
  /** The plugin's name. */
  readonly plugin: string;
  /** Such as `boot.before`, `setup`. */
  readonly hook: string;

  /** Makes an error for what `plugin` threw in `hook`. */
  constructor(plugin: string, hook: string, cause: unknown) {
    super("plugin_failed", `Plugin "${plugin}" failed in "${hook}": ${errorText(cause)}`, {
      cause,
      ...(cause instanceof HutchError && cause.hint !== undefined ? { hint: cause.hint } : {}),
    });
    this.plugin = plugin;
    this.hook = hook;
  }
}
