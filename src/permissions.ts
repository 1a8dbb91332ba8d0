/**
 * Deno's permissions: asked for before they are used, so that what is missing is told at once, with
 * the flags that give it.
 *
 * @module
 */
import { HutchError } from "./errors.ts";

/** What Deno says of a permission in its own errors. */
const REQUIRES = /^Requires (\w+) access(?: to "?(.*?)"?)?, run again with the --allow-/;

/**
 * Asks for permissions: where Deno prompts, it does so now.
 *
 * @param what What they are for, after "Cannot": "open a runtime".
 * @throws HutchError `permission_missing` with all that are missing, and the flags that give them.
 */
export function requirePermissions(
  what: string,
  needs: readonly Deno.PermissionDescriptor[],
): void {
  const missing = needs.filter((need) => {
    const { state } = Deno.permissions.querySync(need);
    if (state === "prompt") return Deno.permissions.requestSync(need).state !== "granted";
    return state !== "granted";
  });
  if (missing.length === 0) return;
  throw missingPermissions(what, missing.map((need) => [need.name, valueOf(need)]));
}

/** What isn't granted of these, as `--allow-read=PATH`; asks nobody. */
export function unreadable(paths: readonly string[]): readonly string[] {
  const denied = paths.filter((path) =>
    Deno.permissions.querySync({ name: "read", path }).state !== "granted"
  );
  return denied.length === 0 ? [] : [flagOf("read", denied)];
}

/** Deno's refusal in hutch's words; anything else as it is. */
export function asPermissionError(error: unknown, what: string): unknown {
  if (!(error instanceof Deno.errors.NotCapable)) return error;
  const [, name, value = ""] = REQUIRES.exec(error.message) ?? [];
  if (name === undefined) return error;
  return missingPermissions(what, [[name, value]], error);
}

function missingPermissions(
  what: string,
  missing: readonly (readonly [name: string, value: string])[],
  cause?: Error,
): HutchError {
  const names = [...new Set(missing.map(([name]) => name))];
  const flags = names.map((name) =>
    flagOf(name, missing.filter(([each]) => each === name).map(([, value]) => value))
  );
  return new HutchError(
    "permission_missing",
    `Cannot ${what}: this program isn't given ${flags.join(" ")}`,
    { hint: "add that to the flags of deno", ...cause ? { cause } : {} },
  );
}

function flagOf(name: string, values: readonly string[]): string {
  // Signals take the whole.
  if (values.includes("")) return `--allow-${name}`;
  // Of sockets Deno takes whole paths alone, and a box's has the box's id in it.
  if (name === "net" && values.some((value) => value.startsWith("unix:"))) return "--allow-net";
  return `--allow-${name}=${[...new Set(values)].join(",")}`;
}

function valueOf(need: Deno.PermissionDescriptor): string {
  switch (need.name) {
    case "read":
    case "write":
    case "ffi":
      return String(need.path ?? "");
    case "net":
      return need.host ?? "";
    case "env":
      return need.variable ?? "";
    case "run":
      return String(need.command ?? "");
    case "sys":
      return need.kind ?? "";
    case "import":
      return need.host ?? "";
  }
}
