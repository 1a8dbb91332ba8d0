/**
 * When an image's source is asked.
 *
 * @module
 */

/**
 * When to ask an image's source: when the image isn't here (`missing`), each time (`always`), not at
 * all (`never`), or each time but with the image that is here when nobody answers (`newer`).
 */
export type PullPolicy = "missing" | "always" | "never" | "newer";

/** Every {@link PullPolicy}. */
export const PULL_POLICIES: readonly PullPolicy[] = ["missing", "always", "never", "newer"];
