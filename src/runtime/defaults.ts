/**
 * The plugins that are on by default.
 *
 * @module
 */
import { libkrun } from "../../plugins/engines/libkrun.ts";
import { qemu } from "../../plugins/engines/qemu.ts";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import type { Plugin } from "../plugin/contract.ts";

/** hutch's own engines and image sources. */
export function defaultPlugins(): Plugin[] {
  return [libkrun(), qemu(), registrySource(), ociSource(), builtinSource()];
}
