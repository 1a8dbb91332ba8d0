/**
 * Finding an image that is here by what people call it.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { nearest } from "../../suggest.ts";
import type { ImageEntry, ImageLedger } from "../records.ts";

/** An image that was found. */
export interface FoundImage extends ImageEntry {
  /** The reference that it was called by; undefined when it was called by its digest. */
  readonly named: string | undefined;
}

const WHOLE = /^(?:sha256:)?([0-9a-f]{64})$/;
const BEGINNING = /^(?:sha256:)?([0-9a-f]{4,63})$/;

/**
 * The digest that a text is, with or without `sha256:`; undefined when it is a name. No image has such
 * a name: registries refuse it.
 */
export function digestCalled(text: string): string | undefined {
  const hex = WHOLE.exec(text)?.[1];
  return hex === undefined ? undefined : `sha256:${hex}`;
}

/**
 * Finds an image by a reference, its digest, or four or more digits from the digest's beginning, in
 * this order.
 *
 * @param canonical The whole spelling of a reference.
 * @throws {HutchError} `image_not_found`, `invalid_reference`
 */
export function findImage(
  ledger: ImageLedger,
  text: string,
  { canonical }: { readonly canonical: (text: string) => string },
): FoundImage {
  const whole = digestCalled(text);
  const named = whole === undefined ? canonical(text) : undefined;
  const digest = named === undefined ? whole : ledger.get(named)?.digest;
  const [entry] = digest === undefined ? [] : ledger.entries(digest);
  if (entry) return { ...entry, named };
  const beginning = BEGINNING.exec(text)?.[1];
  const found = beginning === undefined ? [] : ledger.entries()
    .filter(({ record }) => record.digest.startsWith(`sha256:${beginning}`));
  const [only, another] = found;
  if (only && !another) return { ...only, named: undefined };
  if (another) {
    const list = found.slice(0, 10)
      .map(({ record, references }) => `${record.digest} (${references[0] ?? "no name"})`);
    throw new HutchError(
      "image_not_found",
      `Cannot choose an image: ${JSON.stringify(text)} fits ${list.join(", ")}`,
      { hint: "give more of the digest, or a name" },
    );
  }
  const near = named === undefined ? undefined : nearName(ledger, named);
  throw new HutchError("image_not_found", `Cannot find image ${named ?? whole}: it isn't here`, {
    hint: near === undefined ? "hutch images lists those that are" : `did you mean ${near}?`,
  });
}

/** The image's name that a canonical reference is most likely a slip of. */
function nearName(ledger: ImageLedger, named: string): string | undefined {
  const names = ledger.entries().flatMap(({ references }) => references).map(asTyped);
  return nearest(asTyped(named), names);
}

/** What everybody's names begin with would make all of them near. */
function asTyped(reference: string): string {
  return reference.replace(/^registry:(docker\.io\/(library\/)?)?/, "");
}
