/**
 * What the interceptor's process is told; never written to a file.
 *
 * @module
 */
import type { KeyPair } from "./authority.ts";
import type { InterceptedSecret } from "./swap.ts";

/** See {@link Interceptor}. */
export interface InterceptorInput {
  readonly socketPath: string;
  /** Of the box's network. */
  readonly controlPath: string;
  readonly authority: KeyPair;
  readonly secrets: readonly InterceptedSecret[];
  /** Authorities of servers beside Deno's own, as PEM. */
  readonly caCerts: readonly string[];
}

/** The module that {@link InterceptorInput} is for. */
export const INTERCEPTOR_MODULE: string = import.meta.resolve("./main.ts");
