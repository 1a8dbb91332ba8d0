/**
 * The agent's failures as hutch's errors: one table.
 *
 * @module
 */
import { type ErrorCode, HutchError } from "../errors.ts";
import { type HeldAttach, type HeldList, type HeldPause, MAIN } from "./held_messages.ts";
import type { Failure, FailureKind, Request } from "./messages.ts";

/** What is asked of a box: of its guest, or of its box process. */
export type Asked = Request | HeldAttach | HeldList | HeldPause;

interface Mapping {
  readonly code: ErrorCode;
  /** Why it failed, when the request was `request`. */
  readonly why: (request: Asked, failure: Failure) => string;
  readonly hint?: string;
}

const ENOSPC = 28;

const mappings: Readonly<Record<FailureKind, Mapping>> = {
  bad_cwd: {
    code: "bad_cwd",
    why: (request, failure) =>
      request.op === "exec"
        ? `working folder ${JSON.stringify(request.cwd)} isn't a folder in the box`
        : failure.message,
  },
  bad_request: { code: "agent_protocol", why: said },
  busy: { code: "limit_exceeded", why: said, hint: "wait until some commands of the box ended" },
  failed: { code: "guest_failed", why: said },
  limit_refused: {
    code: "limit_refused",
    why: (_request, failure) => `the box refuses a limit or capability (${failure.message})`,
  },
  no_such_execution: {
    code: "execution_not_found",
    why: said,
    hint: "hutch executions BOX lists them; those that ended are forgotten with the box's stop",
  },
  no_such_user: {
    code: "no_such_user",
    why: (request, failure) =>
      request.op === "exec"
        ? `user ${JSON.stringify(request.user)} isn't known in the box`
        : failure.message,
  },
  not_executable: {
    code: "command_not_executable",
    why: (_request, failure) => `it can't be executed in the box (${failure.message})`,
  },
  not_found: {
    code: "command_not_found",
    why: () => "there is no such program in the box",
  },
  window_exceeded: { code: "agent_protocol", why: said },
};

function said(_request: Asked, failure: Failure): string {
  return failure.errno === 0 ? failure.message : `${failure.message} (errno ${failure.errno})`;
}

/** What a request is for, to follow "Cannot". */
export function purpose(request: Asked): string {
  switch (request.op) {
    case "exec":
      return `run ${JSON.stringify(String(request.argv[0] ?? ""))}`;
    case "configure":
      return "configure the box";
    case "adopt":
      return `go on with execution ${JSON.stringify(request.held)}`;
    case "resume":
      return "go on as another box";
    case "shutdown":
      return "shut the box down";
    case "ping":
      return "reach the agent";
    case "attach":
      return request.id === MAIN
        ? "join the main command"
        : `join execution ${JSON.stringify(request.id)}`;
    case "pause":
      return "let the machine stand still";
    case "list":
      return "list what runs detached";
  }
}

/** The error for an ERROR frame that answered `request`. */
export function failureError(request: Asked, failure: Failure): HutchError {
  const mapping = mappings[failure.kind];
  const code = failure.errno === ENOSPC ? "no_space" : mapping.code;
  const message = `Cannot ${purpose(request)}: ${mapping.why(request, failure)}`;
  return new HutchError(code, message, mapping.hint === undefined ? {} : { hint: mapping.hint });
}
