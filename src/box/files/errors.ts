/**
 * Linux's error numbers as the errors that Deno throws for them.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";

type ErrorClass = new (message: string) => Error;

interface Known {
  readonly code: string;
  readonly text: string;
  /** Where Deno has a class of its own. */
  readonly kind?: ErrorClass;
}

const {
  AlreadyExists,
  BadResource,
  BrokenPipe,
  Busy,
  FilesystemLoop,
  Interrupted,
  IsADirectory,
  NotADirectory,
  NotFound,
  NotSupported,
  PermissionDenied,
  TimedOut,
  WouldBlock,
} = Deno.errors;

/** By number, as Linux has them on x86-64 and arm64. */
const known: Readonly<Record<number, Known>> = {
  1: { code: "EPERM", text: "Operation not permitted", kind: PermissionDenied },
  2: { code: "ENOENT", text: "No such file or directory", kind: NotFound },
  4: { code: "EINTR", text: "Interrupted system call", kind: Interrupted },
  5: { code: "EIO", text: "Input/output error" },
  6: { code: "ENXIO", text: "No such device or address" },
  9: { code: "EBADF", text: "Bad file descriptor", kind: BadResource },
  11: { code: "EAGAIN", text: "Resource temporarily unavailable", kind: WouldBlock },
  12: { code: "ENOMEM", text: "Cannot allocate memory" },
  13: { code: "EACCES", text: "Permission denied", kind: PermissionDenied },
  16: { code: "EBUSY", text: "Device or resource busy", kind: Busy },
  17: { code: "EEXIST", text: "File exists", kind: AlreadyExists },
  18: { code: "EXDEV", text: "Invalid cross-device link" },
  20: { code: "ENOTDIR", text: "Not a directory", kind: NotADirectory },
  21: { code: "EISDIR", text: "Is a directory", kind: IsADirectory },
  22: { code: "EINVAL", text: "Invalid argument" },
  24: { code: "EMFILE", text: "Too many open files" },
  26: { code: "ETXTBSY", text: "Text file busy", kind: Busy },
  27: { code: "EFBIG", text: "File too large" },
  28: { code: "ENOSPC", text: "No space left on device" },
  29: { code: "ESPIPE", text: "Illegal seek" },
  30: { code: "EROFS", text: "Read-only file system" },
  31: { code: "EMLINK", text: "Too many links" },
  32: { code: "EPIPE", text: "Broken pipe", kind: BrokenPipe },
  36: { code: "ENAMETOOLONG", text: "File name too long" },
  38: { code: "ENOSYS", text: "Function not implemented", kind: NotSupported },
  39: { code: "ENOTEMPTY", text: "Directory not empty" },
  40: { code: "ELOOP", text: "Too many levels of symbolic links", kind: FilesystemLoop },
  95: { code: "EOPNOTSUPP", text: "Operation not supported", kind: NotSupported },
  110: { code: "ETIMEDOUT", text: "Connection timed out", kind: TimedOut },
  122: { code: "EDQUOT", text: "Disk quota exceeded" },
};

const FULL = ["ENOSPC", "EDQUOT"];

/**
 * The error for a failed operation. `what` follows "Cannot". Where Deno throws an error of a class
 * of its own it is of that class, with Linux's name in `code`, else a {@link HutchError}.
 */
export function fileError(errno: number, what: string): Error {
  const { code, text, kind } = known[errno] ?? { code: "", text: "the box's kernel refuses it" };
  const message = `Cannot ${what}: ${text} (os error ${errno})`;
  if (kind) return Object.assign(new kind(message), { code });
  if (!FULL.includes(code)) return new HutchError("guest_failed", message);
  return new HutchError("no_space", message, { hint: "remove files, or give the box more disk" });
}

/** The error for an empty path. */
export function noSuchFile(what: string): Error {
  return fileError(2, what);
}
