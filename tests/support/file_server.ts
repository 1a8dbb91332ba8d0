/**
 * A folder's files over HTTP on loopback, as a plain web server gives them.
 *
 * @module
 */
import { join, normalize } from "node:path";

/** Serves the files of a folder until it is disposed. */
export class FileServer implements AsyncDisposable {
  /** Paths that were asked for and found. */
  readonly served: string[] = [];
  /** Paths that were asked for and weren't there. */
  readonly missed: string[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(folder: string) {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      async (request) => {
        const path = normalize(decodeURIComponent(new URL(request.url).pathname));
        const bytes = await Deno.readFile(join(folder, path)).catch(() => undefined);
        (bytes ? this.served : this.missed).push(path);
        if (!bytes) return new Response("There is no such file.\n", { status: 404 });
        const type = path.endsWith(".ts") ? "application/typescript" : "application/octet-stream";
        return new Response(bytes, { headers: { "content-type": type } });
      },
    );
  }

  /** Where the folder is, with a slash at its end. */
  get url(): URL {
    return new URL(`http://127.0.0.1:${this.#server.addr.port}/`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
