/**
 * A program that checks the volume of the host's folder in its argument, and prints the error: a test
 * runs it with the rights that it needs.
 *
 * @module
 */
import { checkVolumes } from "../../src/volumes/resolve.ts";

const [hostPath = ""] = Deno.args;
const known = { hostPath, guestPath: "/a", readOnly: false };
await checkVolumes(["volume"], () => Promise.resolve(known)).catch((error: unknown) => {
  console.log(String(error));
});
