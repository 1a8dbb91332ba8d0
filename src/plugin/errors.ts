/**
 * Errors of plugins, attributed to them.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { asPermissionError } from "../permissions.ts";

/**
 * A plugin's failure or refusal: names plugin, hook and box; `cause` is what it threw. A
 * {@link HutchError} is a refusal in the plugin's own words, and keeps its code and hint; what Deno
 * refused for want of a permission is `permission_missing`, with the flag; anything else is
 * `plugin_failed`.
 */
export class PluginError extends HutchError {
  /** Tells it from other errors by name. */
  override readonly name: string = "PluginError";
  /** The plugin's name. */
  readonly plugin: string;
  /** Such as `boot.before`, `setup`. */
  readonly hook: string;
  /** The box's name, where it is about one. */
  readonly box: string | undefined;

  /** Makes an error for what `plugin` threw in `hook`, for `box` where there is one. */
  constructor(plugin: string, hook: string, cause: unknown, box?: string) {
    const about = box === undefined ? "" : ` for box "${box}"`;
    const known = asPermissionError(cause, "go on");
    const refusal = known instanceof HutchError ? known : undefined;
    super(
      refusal?.code ?? "plugin_failed",
      refusal
        ? `${refusal.message} (plugin "${plugin}", "${hook}"${about})`
        : `Plugin "${plugin}" failed in "${hook}"${about}: ${errorText(cause)}`,
      { cause, ...(refusal?.hint === undefined ? {} : { hint: refusal.hint }) },
    );
    this.plugin = plugin;
    this.hook = hook;
    this.box = box;
  }
}
