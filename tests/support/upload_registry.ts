/**
 * A registry in this process that takes uploads, and can be made to break off.
 *
 * @module
 */
import { digestOf } from "../../src/images/digest.ts";
import { FakeRegistry } from "./fake_registry.ts";

/** Takes blobs and manifests; uploads answer at other places each time. */
export class UploadRegistry extends FakeRegistry {
  readonly uploads = new Map<string, Uint8Array<ArrayBuffer>[]>();
  readonly blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly manifests = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Answers instead. */
  first: (request: Request, url: URL) => Response | undefined | Promise<Response | undefined> =
    () => undefined;
  #count = 0;

  constructor() {
    super();
    this.misbehave = async (request, url) =>
      await this.first(request, url) ?? await this.#take(request, url);
  }

  async #take(request: Request, url: URL): Promise<Response | undefined> {
    const { method } = request;
    const digest = url.searchParams.get("digest");
    const id = /\/uploads\/(\d+)$/.exec(url.pathname)?.[1];
    if (method === "HEAD") {
      return new Response(null, { status: this.blobs.has(url.pathname.slice(-71)) ? 200 : 404 });
    }
    if (method === "POST") return this.#goOn(url.pathname, 202);
    if (method === "PATCH" && id !== undefined) {
      const chunks = await Array.fromAsync(request.body ?? []);
      this.uploads.get(id)?.push(...chunks);
      return new Response(null, { status: 202, headers: { location: url.href } });
    }
    if (method === "PUT" && id !== undefined && digest !== null) {
      const bytes = new Uint8Array(await new Blob(this.uploads.get(id) ?? []).arrayBuffer());
      if (digestOf(bytes) !== digest) {
        return Response.json({ errors: [{ code: "DIGEST_INVALID", message: "other bytes" }] }, {
          status: 400,
        });
      }
      this.blobs.set(digest, bytes);
      return new Response(null, { status: 201 });
    }
    if (method === "PUT") {
      this.manifests.set(url.pathname, new Uint8Array(await request.arrayBuffer()));
      return new Response(null, { status: 201 });
    }
    return undefined;
  }

  #goOn(path: string, status: number): Response {
    const id = String(++this.#count);
    this.uploads.set(id, []);
    return new Response(null, { status, headers: { location: `${path}${id}?state=a%2Fb` } });
  }
}
