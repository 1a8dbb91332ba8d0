/**
 * What can be awaited, and more.
 *
 * @module
 */

/**
 * A promise by its methods, for objects that give more than their result: commands, copies, pulls.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const said = await box.exec("hostname").then(({ stdout }) => stdout).catch(() => "nobody");
 * console.log(said);
 * ```
 */
export abstract class Thenable<T> implements Promise<T> {
  /** What it is called. */
  get [Symbol.toStringTag](): string {
    return this.constructor.name;
  }

  /** Waits for the result. */
  abstract then<A = T, B = never>(
    fulfilled?: ((result: T) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;

  /** Waits for the result, and for what `rejected` makes of a failure. */
  catch<B = never>(
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<T | B> {
    return this.then(undefined, rejected);
  }

  /** Waits for the result, and calls `ended` whether there is one or a failure. */
  finally(ended?: (() => void) | null): Promise<T> {
    return this.then().finally(ended);
  }
}
