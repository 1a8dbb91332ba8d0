/**
 * hutch runs boxes: small Linux virtual machines made from OCI images.
 *
 * @module
 */
// One export a line, in the order of names.
export { chooseManifest } from "./src/images/manifest.ts";
export { definePlugin } from "./src/plugin/plugin.ts";
export type { Descriptor } from "./src/images/manifest.ts";
export { digestHex } from "./src/images/digest.ts";
export { digestOf } from "./src/images/digest.ts";
export type { ErrorCode } from "./src/errors.ts";
export { errorText } from "./src/errors.ts";
export { formatPlatform } from "./src/images/platform.ts";
export { formatReference } from "./src/images/reference.ts";
export { hostPlatform } from "./src/images/platform.ts";
export { HutchError } from "./src/errors.ts";
export type { HutchErrorOptions } from "./src/errors.ts";
export type { ImageIndex } from "./src/images/manifest.ts";
export type { ImageManifest } from "./src/images/manifest.ts";
export type { ImageReference } from "./src/images/reference.ts";
export type { ImageSource } from "./src/images/source.ts";
export { INDEX_TYPES } from "./src/images/manifest.ts";
export { isDigest } from "./src/images/digest.ts";
export { MANIFEST_LIMIT } from "./src/images/manifest.ts";
export { MANIFEST_TYPES } from "./src/images/manifest.ts";
export { parseManifest } from "./src/images/manifest.ts";
export { parsePlatform } from "./src/images/platform.ts";
export { parseReference } from "./src/images/reference.ts";
export type { Platform } from "./src/images/platform.ts";
export type { Plugin } from "./src/plugin/contract.ts";
export type { PluginContext } from "./src/plugin/contract.ts";
export type { SourceImage } from "./src/images/source.ts";
export type { SourceRequest } from "./src/images/source.ts";
