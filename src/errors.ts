/**
 * The one error type that hutch throws on purpose, and its codes.
 *
 * @module
 */

/** What went wrong, for programs. Messages may change; codes don't. */
export type ErrorCode =
  | "agent_protocol" // the guest agent broke the protocol, or speaks another version
  | "ambiguous_box" // an id prefix fits several boxes
  | "archive_too_new" // a newer hutch wrote the archive
  | "bad_cwd" // the command's working folder doesn't exist in the box
  | "boot_failed" // the machine ended before its agent answered
  | "boot_timeout" // the agent never answered
  | "box_not_found"
  | "box_state" // the box's state doesn't allow the operation
  | "broken_pipe" // the command doesn't read its standard input any more, or has ended
  | "cancelled"
  | "command_failed" // a shell command ended with another code than 0, or after its time
  | "command_not_executable"
  | "command_not_found"
  | "connection_lost" // the box went away under an operation
  | "copy_failed" // something couldn't be read, written or understood; the message says what
  | "credentials_unavailable" // a login can't be read or kept: its file or helper is broken
  | "digest_mismatch"
  | "engine_unavailable" // no engine, or the asked-for one, can run here
  | "execution_not_found" // the box holds no command of this id (any more)
  | "freeze_failed" // file systems of the box can't be made to stand still, and that was required
  | "guest_failed" // the guest couldn't do what was asked; the message has its reason
  | "home_unusable" // home can't be made or written
  | "image_in_use" // boxes, or other names, need the image
  | "image_not_found"
  | "image_refused" // a plugin doesn't let the image be used
  | "invalid_archive" // it isn't a box's archive, or is damaged
  | "invalid_image" // a manifest, configuration or layer breaks its specification
  | "invalid_option"
  | "invalid_reference"
  | "limit_exceeded" // an output, size or count limit
  | "limit_refused" // the box's kernel refuses a resource limit or capability of a command
  | "name_taken"
  | "no_space"
  | "no_such_user"
  | "part_missing" // a native part (helper, agent, kernel) isn't there
  | "permission_missing" // Deno doesn't let this program do it; the hint has the flags
  | "platform_unsupported" // the image has nothing for this machine
  | "plugin_failed"
  | "port_unavailable" // a port can't be published: it is in use, or not allowed
  | "port_refused" // nothing in the box listens on the port
  | "registry_denied"
  | "registry_failed" // the registry answered something that isn't an image
  | "registry_unreachable"
  | "snapshot_not_found"
  | "snapshot_unusable" // its memory is damaged, or of another engine, kernel or agent
  | "state_corrupt"
  | "state_too_new"
  | "volume_in_use" // boxes have the volume
  | "volume_not_found";

/** Options of {@link HutchError}. */
export interface HutchErrorOptions extends ErrorOptions {
  /** What the reader can do about it: one sentence without a full stop at its end. */
  readonly hint?: string;
}

/**
 * An error that says what failed and why, with a `code` for programs and, where there is
 * one, a `hint` for people.
 *
 * @example Telling errors apart
 * ```ts
 * import { HutchError } from "@hutch/hutch";
 * try {
 *   throw new HutchError("box_not_found", 'Cannot find box "web": there is none');
 * } catch (error) {
 *   if (error instanceof HutchError && error.code === "box_not_found") console.log("no such box");
 * }
 * ```
 */
export class HutchError extends Error {
  /** Tells it from other errors by name. */
  override readonly name: string = "HutchError";
  /** What went wrong, for programs. */
  readonly code: ErrorCode;
  /** What the reader can do about it, if something. */
  readonly hint: string | undefined;

  /** Makes an error; `message` reads "Cannot X: Y is Z". */
  constructor(code: ErrorCode, message: string, options: HutchErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** A message as the end of another one: `Cannot pull x: cannot read y: …`. */
export function asReason(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

/** The text of anything thrown. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
