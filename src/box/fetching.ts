/**
 * HTTP to a box's own ports: Deno's `fetch`, which reaches them by a private socket.
 *
 * @module
 */
import { join } from "node:path";
import { errorText, HutchError } from "../errors.ts";
import { type BoxConnection, checkPort } from "./connection.ts";

/** What {@link BoxFetcher} needs of its box. */
export interface FetchHost {
  /** Short name for sockets, and where they are. */
  readonly id: string;
  readonly sockets: string;
  readonly connect: (port: number) => Promise<BoxConnection>;
}

interface Door extends Disposable {
  readonly client: Deno.HttpClient;
  /** Why the last connection couldn't be made. */
  failure: unknown;
}

/** Fetches from one box. Each port has a socket from its first request until `close`. */
export class BoxFetcher {
  readonly #host: FetchHost;
  readonly #doors = new Map<number, Door>();

  /** Opens nothing yet. */
  constructor(host: FetchHost) {
    this.#host = host;
  }

  /** As `fetch`, but everything goes to this port of the box, whatever host the URL names. */
  async fetch(port: number, input: Request | URL | string, init?: RequestInit): Promise<Response> {
    checkPort(port);
    const url = typeof input === "string" ? new URL(input, `http://localhost:${port}`) : input;
    const request = new Request(url, init);
    if (new URL(request.url).protocol !== "http:") {
      throw new HutchError(
        "invalid_option",
        `Cannot fetch ${request.url} of a box: it isn't http`,
        {
          hint: "box.connect gives a connection for any protocol",
        },
      );
    }
    let door = this.#doors.get(port);
    if (!door) this.#doors.set(port, door = this.#open(port));
    door.failure = undefined;
    try {
      return await fetch(request, { client: door.client });
    } catch (error) {
      // Deno only knows that the socket was closed.
      throw door.failure instanceof HutchError && !request.signal.aborted ? door.failure : error;
    }
  }

  /** Closes all sockets; responses that aren't read to their end are cut off. */
  close(): void {
    for (const door of this.#doors.values()) door[Symbol.dispose]();
    this.#doors.clear();
  }

  #open(port: number): Door {
    const name = `${this.#host.id}.${crypto.randomUUID().slice(0, 8)}`;
    const path = join(this.#host.sockets, name);
    const listener = Deno.listen({ transport: "unix", path });
    const client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    const open = new Set<Deno.Conn>();
    const door: Door = {
      client,
      failure: undefined,
      [Symbol.dispose]() {
        listener.close();
        client.close();
        for (const connection of open) shut(connection);
        try {
          Deno.removeSync(path);
        } catch {
          // It has gone with its folder.
        }
      },
    };
    void (async () => {
      for await (const connection of listener) {
        open.add(connection);
        void relay(connection, () => this.#host.connect(port))
          .catch((error: unknown) => door.failure = error)
          .finally(() => {
            open.delete(connection);
            shut(connection);
          });
      }
    })().catch((error: unknown) => door.failure ??= new Error(errorText(error)));
    return door;
  }
}

async function relay(local: Deno.Conn, connect: () => Promise<BoxConnection>): Promise<void> {
  await using remote = await connect();
  const up = local.readable.pipeTo(remote.writable);
  const down = remote.readable.pipeTo(local.writable);
  // Whichever way ends for good ends the connection: HTTP has no half-open ones.
  await Promise.race([Promise.all([up, down]), down]).catch(() => {});
  up.catch(() => {});
  down.catch(() => {});
}

function shut(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
