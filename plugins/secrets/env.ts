/**
 * Values of secrets from the environment of whoever starts the box: a secret with `from: "env"` has the
 * value of the variable of its own name. No options.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open(); // it is on by default
 * const secrets = { API_TOKEN: { from: "env", hosts: ["api.example.org"] } };
 * await using box = await runtime.create({ image: "builtin:busybox", secrets });
 * console.log(await box.sh`echo $API_TOKEN`.text()); // a placeholder
 * ```
 * @module
 */
import { definePlugin, type Plugin } from "../../mod.ts";

/** Makes the plugin. */
export function envSecrets(): Plugin {
  return definePlugin({
    name: "env",
    resolve: { secret: ({ name }) => Deno.env.get(name) },
  });
}
