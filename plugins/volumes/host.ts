/**
 * Volumes that are folders and files of the host, as Docker users write them: `HOST:GUEST[:ro]`, or
 * `{ host, guest, readOnly }`. HOST begins with `/`, `./`, `../` or `~/`; a relative one counts from
 * the working folder of the program that creates the box. A HOST with a colon needs the object.
 *
 * Both sides see each other's changes. Owners are in the box as they are on the host. Who may
 * write to what is up to the user that hutch runs as: root can do all; for another user, only the
 * box's root can make and change files, and they are that user's on the host. A read-only volume
 * can't be written from the box, whatever its root does.
 *
 * Options: none.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({
 *   image: "builtin:busybox",
 *   volumes: ["./:/work:ro", { host: "/tmp", guest: "/out" }],
 * });
 * console.log((await box.exec("ls", ["/work"])).stdout);
 * ```
 * @module
 */
import { join, resolve } from "node:path";
import {
  definePlugin,
  HutchError,
  type Plugin,
  type VolumeAnswer,
  type VolumeSpec,
} from "../../mod.ts";

/** A volume's parts, as written. */
interface Written {
  readonly host: string;
  readonly guest: string;
  readonly readOnly: boolean;
}

/** Makes the plugin that knows folders and files of the host. */
export function hostVolume(): Plugin {
  return definePlugin({
    name: "host_volume",
    resolve: {
      volume({ spec }) {
        const written = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        return written && answer(written, spec);
      },
    },
  });
}

function answer({ host, guest, readOnly }: Written, spec: VolumeSpec): VolumeAnswer {
  const hostPath = absolute(host, spec);
  return { hostPath, guestPath: guest, readOnly, spec: { host: hostPath, guest, readOnly } };
}

/** Undefined for text that doesn't begin like a path: it is of another kind. */
function fromText(spec: string): Written | undefined {
  if (!isPath(spec.split(":", 1)[0] ?? "")) return undefined;
  const [host = "", guest, options = "rw", ...more] = spec.split(":");
  if (guest === undefined || guest === "") throw refused(spec, "it has no path in the box");
  if (more.length > 0) {
    throw refused(spec, "it has too many colons", 'write { host: "…", guest: "…" }, or --mount');
  }
  if (options !== "ro" && options !== "rw") {
    throw refused(spec, `"${options}" is neither "ro" nor "rw"`);
  }
  return { host, guest, readOnly: options === "ro" };
}

function fromObject(spec: Exclude<VolumeSpec, string>): Written | undefined {
  const { host, guest, readOnly = false, ...more } = spec;
  if (host === undefined) return undefined;
  if (typeof host !== "string" || typeof guest !== "string") {
    throw refused(spec, "host and guest are not both text");
  }
  if (typeof readOnly !== "boolean") throw refused(spec, "readOnly is neither true nor false");
  // One misspelled option could be the one that protects the host's files.
  const [unknown] = Object.keys(more);
  if (unknown !== undefined) throw refused(spec, `"${unknown}" is not an option of host volumes`);
  if (!isPath(host)) {
    throw refused(spec, `its host path, "${host}", doesn't begin with /, ./, ../ or ~/`);
  }
  return { host, guest, readOnly };
}

function isPath(text: string): boolean {
  return /^(\/|\.{1,2}(\/|$)|~(\/|$))/.test(text);
}

function absolute(host: string, spec: VolumeSpec): string {
  if (host.includes("\0")) throw refused(spec, "its host path has a NUL character");
  if (!host.startsWith("~")) return resolve(host);
  const home = Deno.env.get("HOME");
  if (!home) throw refused(spec, "HOME, which ~ stands for, is not set");
  return join(resolve(home), host.slice(1));
}

function refused(spec: VolumeSpec, why: string, hint?: string): HutchError {
  const text = typeof spec === "string" ? spec : spec.guest;
  return new HutchError(
    "invalid_option",
    `Cannot use volume ${JSON.stringify(text)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
