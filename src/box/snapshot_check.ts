/**
 * What a snapshot may be called.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Throws `invalid_option` unless the text can be a snapshot's name. */
export function checkSnapshotName(name: string): void {
  if (NAME.test(name)) return;
  throw new HutchError(
    "invalid_option",
    `Cannot name a snapshot ${
      JSON.stringify(name)
    }: a name has 1 to 63 of A-Z a-z 0-9 . _ - and begins with a letter or digit`,
  );
}

/** Throws `invalid_option` unless these can be its labels. */
export function checkSnapshotLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key !== "" && typeof value === "string" && !key.includes("\0") && !value.includes("\0")) {
      continue;
    }
    throw new HutchError(
      "invalid_option",
      `Cannot set label ${JSON.stringify(key)}: a key isn't empty, and its value is text`,
    );
  }
}
