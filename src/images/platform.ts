/**
 * What a machine is, in the words of image manifests.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** An operating system and processor, named as Go and OCI name them. */
export interface Platform {
  /** `linux`, for every image that hutch can run. */
  readonly os: string;
  /** Such as `amd64`, `arm64`. */
  readonly architecture: string;
  /** Such as `v8`; absent where the architecture has no variants or any will do. */
  readonly variant?: string;
}

const HOST_PLATFORMS: ReadonlyMap<string, Platform> = new Map([
  ["x86_64", { os: "linux", architecture: "amd64" }],
  ["aarch64", { os: "linux", architecture: "arm64", variant: "v8" }],
]);

/**
 * The platform of boxes on this machine: always Linux, with the host's processor.
 *
 * @param arch Name of the processor as `Deno.build.arch` has it.
 */
export function hostPlatform(arch: string = Deno.build.arch): Platform {
  return HOST_PLATFORMS.get(arch) ?? { os: "linux", architecture: arch };
}

/**
 * Reads `os/architecture[/variant]`.
 *
 * @throws {HutchError} `invalid_option`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const [os, architecture, variant] = parts;
  if (
    !os || !architecture || parts.length > 3 ||
    !parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part))
  ) {
    throw new HutchError(
      "invalid_option",
      `Cannot read platform ${JSON.stringify(text)}: it isn't os/architecture[/variant]`,
    );
  }
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

/** `os/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return `${os}/${architecture}${variant === undefined ? "" : `/${variant}`}`;
}

/**
 * How well an image for `offered` runs on `wanted`: 0 is perfect, larger is worse, undefined is not
 * at all. Lower variants of the same processor run on higher ones; where the wanted variant isn't
 * known (amd64's levels), any is taken, the least demanding first.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  if (wanted.os !== offered.os || wanted.architecture !== offered.architecture) return undefined;
  const have = offered.variant ?? baseVariant(offered.architecture);
  const limit = wanted.variant ?? baseVariant(wanted.architecture);
  if (have === limit || have === undefined) return 0;
  const haveLevel = level(have);
  const limitLevel = limit === undefined ? undefined : level(limit);
  if (haveLevel === undefined) return undefined;
  if (limitLevel === undefined || wanted.variant === undefined && wanted.architecture === "amd64") {
    return haveLevel;
  }
  return haveLevel <= limitLevel ? limitLevel - haveLevel : undefined;
}

const BASE_VARIANTS: ReadonlyMap<string, string> = new Map([
  ["amd64", "v1"],
  ["arm64", "v8"],
  ["arm", "v7"],
]);

/** What a missing variant means. */
function baseVariant(architecture: string): string | undefined {
  return BASE_VARIANTS.get(architecture);
}

function level(variant: string): number | undefined {
  const digits = /^v(\d{1,2})$/.exec(variant)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
