/**
 * Finds the native parts of the host, and opens the helper library at its first use.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { errorText, HutchError } from "../src/errors.ts";
import { SYMBOLS } from "./symbols.ts";

/** The opened library. */
export type Helper = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

const NAME = "libhutch.so";
const SHARE_NAME = "hutch-share";
const NET_NAME = "hutch-net";

let opened: Helper | undefined;

/** Where the helper library is, whether or not it is there: `HUTCH_HELPER`, else in `build/`. */
export function helperPath(): string {
  return Deno.env.get("HUTCH_HELPER") || built(NAME);
}

/** Where the program that shares folders with guests is, whether or not it is there: `HUTCH_SHARE`, else in `build/`. */
export function sharePath(): string {
  return Deno.env.get("HUTCH_SHARE") || built(SHARE_NAME);
}

/** Where the program that is a box's network is, whether or not it is there: `HUTCH_NET`, else in `build/`. */
export function netPath(): string {
  return Deno.env.get("HUTCH_NET") || built(NET_NAME);
}

function built(name: string): string {
  const beside = new URL(`../build/${name}`, import.meta.url);
  // Loaded from the network there is no folder beside: the system's search path is left.
  return beside.protocol === "file:" ? fileURLToPath(beside) : name;
}

/**
 * The library's functions. It stays open until the program ends.
 *
 * @throws HutchError `part_missing` when it isn't there or can't be loaded.
 */
export function helper(): Helper {
  if (opened) return opened;
  const path = helperPath();
  try {
    opened = Deno.dlopen(path, SYMBOLS).symbols;
    return opened;
  } catch (error) {
    throw new HutchError("part_missing", `Cannot load the helper ${path}: ${errorText(error)}`, {
      hint: "build it (deno task build), or name it with HUTCH_HELPER",
      cause: error,
    });
  }
}
