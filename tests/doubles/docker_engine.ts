/**
 * An engine that answers as Docker's does, as far as the source `docker` asks, and can be made to
 * misbehave.
 *
 * @module
 */
import { join } from "node:path";
import { configOf, type SavedImage } from "../support/docker_archive.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

/** An image of the engine. */
export interface EngineImage extends SavedImage {
  /** What the engine calls it, besides its tags. @default {its configuration's digest} */
  readonly id?: string;
  readonly architecture: string;
  /** Its archive's entries. */
  readonly entries: readonly TarFields[];
}

/** Serves on a socket of its own, or on a loopback port, until disposed. */
export class FakeEngine implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly #images: EngineImage[] = [];
  readonly #server: Deno.HttpServer;
  /** As in DOCKER_HOST. */
  readonly host: string;
  /** Paths asked for so far. */
  readonly requests: string[] = [];
  /** Asked before each answer. */
  misbehave: (path: string) => Response | undefined | Promise<Response | undefined> = () =>
    undefined;

  /** @param where @default {"unix"} */
  constructor(where: "unix" | "tcp" = "unix") {
    const handler = (request: Request) => this.#answer(request);
    if (where === "tcp") {
      const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
      this.#server = server;
      this.host = `tcp://127.0.0.1:${server.addr.port}`;
    } else {
      const path = join(this.#folder.path, "docker.sock");
      this.#server = Deno.serve({ path, onListen() {} }, handler);
      this.host = `unix://${path}`;
    }
  }

  add(image: EngineImage): void {
    this.#images.push(image);
  }

  remove(): void {
    this.#images.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
    await this.#folder[Symbol.asyncDispose]();
  }

  async #answer(request: Request): Promise<Response> {
    const path = decodeURIComponent(new URL(request.url).pathname);
    this.requests.push(path);
    const other = await this.misbehave(path);
    if (other) return other;
    const [, name = "", what] = /^\/images\/(.*)\/(json|get)$/.exec(path) ?? [];
    const found = this.#images.find((image) =>
      [idOf(image), ...image.tags ?? []].some((known) =>
        known === name || `docker.io/library/${known}` === name
      )
    );
    if (!found) {
      return Response.json({ message: `No such image: ${name}` }, { status: 404 });
    }
    if (what === "get") return new Response(writeTar(...found.entries));
    const { architecture, tags } = found;
    return Response.json({
      Id: idOf(found),
      Os: "linux",
      Architecture: architecture,
      RepoTags: tags,
    });
  }
}

function idOf({ id, image }: EngineImage): string {
  return id ?? configOf(image);
}
