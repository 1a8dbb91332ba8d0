/**
 * Images from folders of this machine: `dir:PATH`, `dir:PATH?owner=keep`.
 *
 * @module
 */
import {
  definePlugin,
  HutchError,
  type ImageSource,
  type OwnerRange,
  packFolder,
  type PackFolderOptions,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { localImage } from "./local/image.ts";
import {
  formatPathReference,
  invalidReference,
  parsePathReference,
  type PathReference,
} from "./local/reference.ts";

/** Options of {@link dirSource}. */
export interface DirSourceOptions {
  /** Entries of a folder, at most. @default {5,000,000} */
  readonly maxEntries?: number;
}

type Owner = PackFolderOptions["owner"];

const MAX_ID = 2 ** 32 - 2;
const MAX_RANGES = 340;
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar";

/**
 * A plugin with the source `dir`: a folder as the root file system, as a tar of it would be. What is
 * mounted inside of it (`/proc` of a live root, say) is left out as `tar --one-file-system` does, as
 * are sockets; nothing outside of it is read, whatever links it has. A folder that changes while it
 * is read is refused.
 *
 * `owner` says whom its files belong to in the image: `root`, `keep` (as they do here), `UID:GID`, or
 * a map as user namespaces have it, `INSIDE:OUTSIDE:COUNT` and more of those behind commas. Without
 * it, they stay what they are if root runs hutch, and otherwise belong to root. Access lists, which
 * name users, are kept with `keep` alone.
 *
 * @example
 * ```ts
 * import { dirSource } from "./dir.ts";
 * const plugin = dirSource();
 * ```
 */
export function dirSource(options: DirSourceOptions = {}): Plugin {
  let log: (line: string) => void = () => {};
  const source: ImageSource = {
    canonical: (reference) => formatPathReference(parse(reference).reference),
    open: (request) => open(request, options, (line) => log(line)),
  };
  return definePlugin({
    name: "dir",
    sources: { dir: source },
    setup(context) {
      log = (line) => context.log(line);
    },
  });
}

function parse(text: string): { reference: PathReference; owner: Owner } {
  const reference = parsePathReference(text, ["owner"]);
  const owner = reference.options.get("owner");
  if (owner === undefined) {
    return { reference, owner: Deno.uid() === 0 ? "keep" : { uid: 0, gid: 0 } };
  }
  const read = readOwner(owner);
  if (read !== undefined) return { reference, owner: read };
  throw invalidReference(text, "its owner isn't root, keep, UID:GID, or INSIDE:OUTSIDE:COUNT,…");
}

function readOwner(text: string): Owner {
  if (text === "keep") return "keep";
  if (text === "root") return { uid: 0, gid: 0 };
  const ranges = text.split(",").map((range) => range.split(":").map(readId));
  const [uid, gid, more] = ranges[0] ?? [];
  if (ranges.length === 1 && uid !== undefined && gid !== undefined && ranges[0]?.length === 2) {
    return { uid, gid };
  }
  if (more === undefined || ranges.length > MAX_RANGES) return undefined;
  const read: OwnerRange[] = [];
  for (const [inside, outside, count, ...rest] of ranges) {
    const whole = inside !== undefined && outside !== undefined && count !== undefined &&
      rest.length === 0 && count > 0 && Math.max(inside, outside) + count - 1 <= MAX_ID;
    if (!whole) return undefined;
    read.push({ inside, outside, count });
  }
  return read;
}

function readId(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID ? Number(text) : undefined;
}

async function open(
  request: SourceRequest,
  { maxEntries }: DirSourceOptions,
  log: (line: string) => void,
): Promise<SourceImage> {
  const { signal } = request;
  const { reference: { path }, owner } = parse(request.reference);
  if (signal.aborted) {
    throw new HutchError("cancelled", `Cannot read folder ${path}: it was cancelled`, {
      cause: signal.reason,
    });
  }
  const packed = await packFolder(path, {
    signal,
    ...(owner === undefined ? {} : { owner }),
    ...(maxEntries === undefined ? {} : { maxEntries }),
  });
  const { sockets, mounts } = packed.leftOut;
  if (sockets + mounts > 0) {
    log(`${path}: left out ${sockets} sockets, and what is mounted at ${mounts} places`);
  }
  return localImage({ ...packed, mediaType: LAYER_TYPE }, {
    name: `folder ${path}`,
    close: () => packed[Symbol.dispose](),
  });
}
