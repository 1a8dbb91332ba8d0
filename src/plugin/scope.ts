/**
 * Which start of a box the running code is part of. A hook of a start that asked the same box for a
 * command would wait for itself; through this scope the box notices.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { GuestClient } from "../guest/client.ts";

/** One start of one box, for the code that runs within it. */
export interface StartScope {
  /** The box's id. */
  readonly box: string;
  /** The guest, once it is configured: commands may run from then on. */
  guest: GuestClient | undefined;
  /** Set when the start has ended, either way. */
  over: boolean;
}

const scopes = new AsyncLocalStorage<StartScope>();

/** Runs `body` as a part of a start. */
export function withinStart<T>(scope: StartScope, body: () => T): T {
  return scopes.run(scope, body);
}

/** The start of this box that the caller is part of, if it is part of one. */
export function startOf(box: string): StartScope | undefined {
  const scope = scopes.getStore();
  return scope?.box === box && !scope.over ? scope : undefined;
}

/** Runs `body` as a part of no start: for what outlives it, such as telling listeners. */
export function outsideStarts<T>(body: () => T): T {
  return scopes.exit(body);
}
