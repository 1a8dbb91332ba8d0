/**
 * The plugins that are on by default.
 *
 * @module
 */
import { libkrun } from "../../plugins/engines/libkrun.ts";
import { qemu } from "../../plugins/engines/qemu.ts";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { dirSource } from "../../plugins/sources/dir.ts";
import { diskSource } from "../../plugins/sources/disk.ts";
import { dockerSource } from "../../plugins/sources/docker.ts";
import { dockerArchiveSource } from "../../plugins/sources/docker_archive.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { envSecrets } from "../../plugins/secrets/env.ts";
import { diskVolume } from "../../plugins/volumes/disk.ts";
import { hostVolume } from "../../plugins/volumes/host.ts";
import { namedVolume } from "../../plugins/volumes/named.ts";
import { tmpfsVolume } from "../../plugins/volumes/tmpfs.ts";
import type { Plugin } from "../plugin/contract.ts";

/** hutch's own engines, image sources and kinds of volumes. */
export function defaultPlugins(): Plugin[] {
  return [
    libkrun(),
    qemu(),
    registrySource(),
    ociSource(),
    dockerArchiveSource(),
    dockerSource(),
    builtinSource(),
    dirSource(),
    diskSource(),
    hostVolume(),
    tmpfsVolume(),
    diskVolume(),
    namedVolume(),
    envSecrets(),
  ];
}
