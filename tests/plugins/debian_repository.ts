/**
 * A Debian repository on a loopback port, with one package: the machine's busybox.
 *
 * @module
 */
import { join } from "node:path";
import { digestOf } from "../../src/images/digest.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";

/** What {@link DebianRepository} needs of the machine. */
export const REPOSITORY_TOOLS: readonly string[] = ["mmdebstrap", "dpkg-deb", "dpkg", "busybox"];

/** Serves the suite `tiny` until disposed. */
export class DebianRepository implements AsyncDisposable {
  readonly #folder: TempFolder;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** Asked before each answer; a promise that doesn't settle holds the client. */
  before: (path: string) => Promise<void> = () => Promise.resolve();
  /** The paths asked for so far. */
  readonly paths: string[] = [];

  private constructor(folder: TempFolder, files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) {
    this.#folder = folder;
    const answer = async (request: Request) => {
      const path = new URL(request.url).pathname;
      this.paths.push(path);
      await this.before(path);
      return new Response(files.get(path), { status: files.has(path) ? 200 : 404 });
    };
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  }

  /** Makes the package and serves it. */
  static async start(): Promise<DebianRepository> {
    const folder = new TempFolder();
    const at = (path: string) => join(folder.path, path);
    const architecture = (await runTool("dpkg", "--print-architecture")).trim();
    await Deno.mkdir(at("package/DEBIAN"), { recursive: true });
    await Deno.mkdir(at("package/bin"));
    await Deno.copyFile("/bin/busybox", at("package/bin/busybox"));
    const control =
      "Package: busybox-static\nVersion: 1\nMaintainer: nobody <nobody@hutch.test>\n" +
      `Architecture: ${architecture}\nDescription: the machine's busybox\n`;
    await Deno.writeTextFile(at("package/DEBIAN/control"), control);
    await runTool("dpkg-deb", "--root-owner-group", "--build", at("package"), at("busybox.deb"));
    const deb = await Deno.readFile(at("busybox.deb"));
    const packages = new TextEncoder().encode(
      `${control}Filename: busybox.deb\nSize: ${deb.length}\nSHA256: ${hex(deb)}\n\n`,
    );
    const index = `main/binary-${architecture}/Packages`;
    const release = new TextEncoder().encode(
      `Suite: tiny\nCodename: tiny\nDate: Sat, 01 Jan 2000 00:00:00 UTC\n` +
        `Architectures: ${architecture}\nComponents: main\n` +
        `SHA256:\n ${hex(packages)} ${packages.length} ${index}\n`,
    );
    return new DebianRepository(
      folder,
      new Map([
        ["/dists/tiny/Release", release],
        [`/dists/tiny/${index}`, packages],
        ["/busybox.deb", deb],
      ]),
    );
  }

  /** A line for `mirror`. */
  get line(): string {
    return `deb [trusted=yes] http://127.0.0.1:${this.#server.addr.port} tiny main`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function hex(bytes: Uint8Array<ArrayBuffer>): string {
  return digestOf(bytes).slice("sha256:".length);
}
