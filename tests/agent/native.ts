/**
 * The agent built to run here, as an ordinary process under the address and undefined behaviour
 * sanitizers.
 *
 * @module
 */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { PARTS, targetOf } from "../../ffi/parts.ts";
import { GuestClient } from "../../src/guest/client.ts";
import { Relay } from "../../src/vmm/relay.ts";
import { TempFolder } from "../support/temp.ts";
import { Peer } from "./peer.ts";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The project's root folder. */
export const projectRoot = root;

/** Flags of every sanitized build. */
export const sanitizers: readonly string[] = [
  ...["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror"],
  ...["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
];

/** Options of {@link NativeAgent.start}. */
export interface NativeOptions {
  /** As guests have it, without sanitizers. @default {false} */
  readonly plain?: boolean;
  /** Goes on with another host once the first one is gone: {@link NativeAgent.next}. @default {false} */
  readonly next?: boolean;
  /** Path of its transfer disk, see `ffi/transfer_disk.h`. @default {it has none} */
  readonly transferPath?: string | undefined;
}

/** Builds the agent if it has changed, and starts it; it connects to the unix socket at `path`. */
async function launch(
  path: string,
  { plain = false, transferPath }: NativeOptions = {},
  next: readonly string[] = [],
): Promise<Deno.ChildProcess> {
  const program = join(root, "build", "test", plain ? "hutch-agent-plain" : "hutch-agent-native");
  const target = plain ? targetOf(PARTS.agent, join(root, "ffi"), { output: program }) : {
    output: program,
    sources: [join(root, "ffi", "agent"), join(root, "ffi", "copy")],
    headers: [join(root, "ffi")],
    flags: sanitizers,
    libraries: [],
  };
  await buildTarget({ ...target, flags: [...target.flags, "-DHUTCH_NATIVE"] });
  return new Deno.Command(program, {
    args: ["--connect", path, ...next],
    env: transferPath === undefined ? {} : { HUTCH_TRANSFER: transferPath },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** An agent that runs, with the relay of a box process and a client before it. */
export class NativeBox implements AsyncDisposable {
  readonly client: GuestClient;
  readonly relay: Relay;
  readonly #child: Deno.ChildProcess;
  readonly #folder: TempFolder;

  private constructor(
    client: GuestClient,
    relay: Relay,
    { child, folder }: { readonly child: Deno.ChildProcess; readonly folder: TempFolder },
  ) {
    this.client = client;
    this.relay = relay;
    this.#child = child;
    this.#folder = folder;
  }

  static async start(): Promise<NativeBox> {
    const folder = new TempFolder();
    const [socketPath, channelPath] = [join(folder.path, "box"), join(folder.path, "agent.sock")];
    const relay = await Relay.open({ library: boxLibraryPath(), socketPath, channelPath });
    const child = await launch(channelPath, { transferPath: relay.transferPath });
    return new NativeBox(await GuestClient.connect(socketPath), relay, { child, folder });
  }

  /** Ends it all; throws if the agent, or a program of its own, ended with a sanitizer's word. */
  async [Symbol.asyncDispose](): Promise<void> {
    const [child, folder] = [this.#child, this.#folder];
    const said = new Response(child.stderr).text();
    await this.client.close();
    this.relay.close();
    const { code, signal } = await child.status;
    const words = await said;
    await folder[Symbol.asyncDispose]();
    if (code !== 0) throw new Error(`the agent ended with ${signal ?? code}: ${words}`);
  }
}

/** An agent that runs and its host's end. */
export class NativeAgent implements AsyncDisposable {
  #peer: Peer;
  readonly #next: Deno.UnixListener | undefined;
  readonly #child: Deno.ChildProcess;
  readonly #said: Promise<string>;
  readonly #folder: TempFolder;
  #status: Promise<Deno.CommandStatus>;
  #expected = 0;

  private constructor({ conn, child, folder, next }: {
    readonly conn: Deno.UnixConn;
    readonly child: Deno.ChildProcess;
    readonly folder: TempFolder;
    readonly next: Deno.UnixListener | undefined;
  }) {
    this.#peer = new Peer(conn);
    this.#next = next;
    this.#child = child;
    this.#folder = folder;
    this.#status = child.status;
    this.#said = new Response(child.stderr).text();
  }

  /** Builds the agent if it has changed, starts it and waits until it has connected. */
  static async start(options: NativeOptions = {}): Promise<NativeAgent> {
    const folder = new TempFolder();
    const [path, nextPath] = [join(folder.path, "agent.sock"), join(folder.path, "next.sock")];
    using listener = Deno.listen({ transport: "unix", path });
    const next = options.next ? Deno.listen({ transport: "unix", path: nextPath }) : undefined;
    const child = await launch(path, options, next ? [nextPath] : []);
    const conn = await listener.accept();
    return new NativeAgent({ conn, child, folder, next });
  }

  /** The host that it has now. */
  get peer(): Peer {
    return this.#peer;
  }

  /** Ends the channel, and is the next host. */
  async next(): Promise<Peer> {
    assert(this.#next);
    this.#peer[Symbol.dispose]();
    using listener = this.#next;
    this.#peer = new Peer(await listener.accept());
    return this.#peer;
  }

  /** The agent's process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The agent is to give up, with code 1. */
  expectLost(): void {
    this.#expected = 1;
  }

  /** Ends the channel; throws if the agent ends otherwise than it should, a sanitizer's word included. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer.finish();
    const status = await this.#status;
    await this.peer.ended;
    this.peer[Symbol.dispose]();
    const said = await this.#said;
    await this.#folder[Symbol.asyncDispose]();
    if (status.code !== this.#expected) {
      throw new Error(`the agent ended with ${status.signal ?? status.code}: ${said}`);
    }
  }
}
