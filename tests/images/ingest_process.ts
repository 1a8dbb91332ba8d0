/**
 * A program that gets one blob: `ingest_process.ts FOLDER DIGEST SIZE URL`. Prints `true` when it
 * fetched the blob itself, else `false`.
 */
import { join } from "node:path";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";

const [folder = "", digest = "", size = "", url = ""] = Deno.args;
const store = new BlobStore({ blobs: join(folder, "blobs"), partial: join(folder, "partial") });
const fetched = await store.ingest(digest, Number(size), async ({ offset }) => {
  const response = await fetch(url, { headers: { range: `bytes=${offset}-` } });
  if (response.body === null) throw new Error("no body");
  return { start: Number(response.headers.get("x-start")), body: response.body };
}, { signal: new AbortController().signal });
console.log(fetched);
