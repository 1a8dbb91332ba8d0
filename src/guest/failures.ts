/**
 * The agent's failures as hutch's errors: one table.
 *
 * @module
 */
import { type ErrorCode, HutchError } from "../errors.ts";
import type { Failure, FailureKind, Request } from "./messages.ts";

interface Mapping {
  readonly code: ErrorCode;
  /** Why it failed, when the request was `request`. */
  readonly why: (request: Request, failure: Failure) => string;
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

function said(_request: Request, failure: Failure): string {
  return failure.errno === 0 ? failure.message : `${failure.message} (errno ${failure.errno})`;
}

/** What a request is for, to follow "Cannot". */
export function purpose(request: Request): string {
  switch (request.op) {
    case "exec":
      return `run ${JSON.stringify(String(request.argv[0] ?? ""))}`;
    case "configure":
      return "configure the box";
    case "shutdown":
      return "shut the box down";
    case "ping":
      return "reach the agent";
  }
}

/** The error for an ERROR frame that answered `request`. */
export function failureError(request: Request, failure: Failure): HutchError {
  const mapping = mappings[failure.kind];
  const code = failure.errno === ENOSPC ? "no_space" : mapping.code;
  const message = `Cannot ${purpose(request)}: ${mapping.why(request, failure)}`;
  return new HutchError(code, message, mapping.hint === undefined ? {} : { hint: mapping.hint });
}
