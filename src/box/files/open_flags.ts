/**
 * How a file is opened, as the guest takes it.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { FileOpenOptions } from "./options.ts";
import { type BoxPath, pathText } from "./paths.ts";
import { Flag } from "./wire.ts";

/** Bits of {@link Flag}. Throws `invalid_option` for options that don't go together. */
export function openFlags(path: BoxPath, options: FileOpenOptions): number {
  const { write = false, append = false, truncate = false, create = false, createNew = false } =
    options;
  const read = options.read ?? !(write || append);
  const refuse = (why: string): never => {
    throw new HutchError("invalid_option", `Cannot open ${pathText(path)}: ${why}`);
  };
  if (!read && !write && !append) refuse("neither read, write nor append is set");
  if ((create || createNew) && !write && !append) refuse("create needs write or append");
  if (truncate && (!write || append)) refuse("truncate needs write, without append");
  return (read ? Flag.READ : 0) | (write ? Flag.WRITE : 0) |
    (append ? Flag.APPEND : 0) | (truncate ? Flag.TRUNCATE : 0) |
    (create ? Flag.CREATE : 0) | (createNew ? Flag.CREATE_NEW : 0);
}
