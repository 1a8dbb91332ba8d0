/**
 * Whole trees in a form that can be compared.
 *
 * @module
 */
import assert from "node:assert/strict";

/** A tree as GNU tar sees it: names' bytes, contents, links, owners, modes and times to the nanosecond. */
export async function pictureOf(folder: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("tar", {
    args: [
      ...["-C", folder, "--sort=name", "--format=pax", "--numeric-owner"],
      ...["--pax-option=exthdr.name=x,delete=atime,delete=ctime", "-cf", "-", "."],
    ],
    env: { LC_ALL: "C" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const digest = await crypto.subtle.digest("SHA-256", stdout);
  return `${stdout.length} ${new Uint8Array(digest).toHex()}`;
}
