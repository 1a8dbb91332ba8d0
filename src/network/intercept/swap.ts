/**
 * Placeholders in what a box sends: found, and replaced by what they stand for.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { SecretPlace } from "../secrets.ts";

/** A secret, as the interceptor has it. */
export interface InterceptedSecret {
  readonly name: string;
  readonly value: string;
  /** What the box has in its place. */
  readonly placeholder: string;
  /** Names, and `*.NAME`, that may get the value. */
  readonly hosts: readonly string[];
  /** Where in requests it is replaced. */
  readonly places: readonly SecretPlace[];
}

/** A placeholder was on its way to a host that mustn't have what it stands for. */
export class Leak extends Error {
  /** The secret's name. */
  readonly secret: string;

  constructor(secret: string) {
    super(`the secret ${secret} isn't for this host`);
    this.secret = secret;
  }
}

/** Whether a name is one of `hosts`. */
export function isHostOf(hosts: readonly string[], name: string): boolean {
  return hosts.some((host) => host.startsWith("*.") ? name.endsWith(host.slice(1)) : host === name);
}

/** A secret, and whether one host may get it. */
interface Meant {
  readonly secret: InterceptedSecret;
  readonly own: boolean;
}

/** Swaps placeholders in what goes to one host. */
export class Swapper {
  readonly #secrets: readonly Meant[];

  /** @param host Undefined: none that may get any. */
  constructor(secrets: readonly InterceptedSecret[], host: string | undefined) {
    this.#secrets = secrets.map((secret) => ({
      secret,
      own: host !== undefined && isHostOf(secret.hosts, host),
    }));
  }

  /**
   * Text of one place of a request, such as a header's value.
   *
   * @throws Leak
   */
  text(text: string, place: SecretPlace): string {
    let made = text;
    for (const { secret, own } of this.#secrets) {
      if (!made.includes(secret.placeholder)) continue;
      if (!own) throw new Leak(secret.name);
      if (!secret.places.includes(place)) continue;
      const value = place === "query" ? encodeURIComponent(secret.value) : secret.value;
      made = made.replaceAll(secret.placeholder, () => value);
    }
    return made;
  }

  /**
   * A header, `Authorization: Basic` within its encoding too.
   *
   * @throws Leak
   */
  header(name: string, value: string): string {
    const basic = name.endsWith("authorization") ? /^basic +([A-Za-z0-9+/=]+)$/i.exec(value) : null;
    if (!basic) return this.text(value, "header");
    const plain = Buffer.from(basic[1] ?? "", "base64").toString("utf8");
    const swapped = this.text(plain, "header");
    return swapped === plain ? value : `Basic ${Buffer.from(swapped).toString("base64")}`;
  }

  /** What a body needs done; undefined where it can go as it is. */
  body(): BodySwapper | undefined {
    const wanted = this.#secrets.filter(({ secret, own }) =>
      !own || secret.places.includes("body")
    );
    return wanted.length === 0 ? undefined : new BodySwapper(wanted);
  }
}

/** Swaps in bytes that come in pieces. Only what may be a placeholder's beginning is held back. */
export class BodySwapper {
  readonly #secrets: readonly Meant[];
  #held = Buffer.alloc(0);

  constructor(secrets: readonly Meant[]) {
    this.#secrets = secrets;
  }

  /**
   * What goes on for a piece that comes.
   *
   * @throws Leak
   */
  piece(bytes: Uint8Array): Uint8Array {
    let all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.#held.length > 0) all = Buffer.concat([this.#held, all]);
    for (const { secret, own } of this.#secrets) {
      if (all.includes(secret.placeholder)) all = replace(all, secret, own);
    }
    const hold = Math.max(0, ...this.#secrets.map(({ secret }) => beginningAt(all, secret)));
    this.#held = Buffer.from(all.subarray(all.length - hold));
    return all.subarray(0, all.length - hold);
  }

  /** What was held back at the end. */
  end(): Uint8Array {
    return this.#held;
  }

  /**
   * The same for a stream. At a {@link Leak} it stands still: `leaked` is to abort what reads it, since
   * the failure of one body would end HTTP/2's connection, with other requests on it.
   */
  stream(leaked: (leak: Leak) => void): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({
      transform: async (bytes, controller) => {
        try {
          const made = this.piece(bytes);
          if (made.length > 0) controller.enqueue(made);
        } catch (error) {
          if (!(error instanceof Leak)) throw error;
          leaked(error);
          await new Promise<never>(() => {});
        }
      },
      flush: (controller) => {
        if (this.#held.length > 0) controller.enqueue(this.#held);
      },
    });
  }
}

function replace(bytes: Buffer, secret: InterceptedSecret, own: boolean): Buffer<ArrayBuffer> {
  if (!own) throw new Leak(secret.name);
  const parts: Uint8Array[] = [];
  let from = 0;
  for (let at; (at = bytes.indexOf(secret.placeholder, from)) >= 0;) {
    parts.push(bytes.subarray(from, at), Buffer.from(secret.value));
    from = at + secret.placeholder.length;
  }
  return Buffer.concat([...parts, bytes.subarray(from)]);
}

/** How many of the last bytes may be the beginning of the placeholder. */
function beginningAt(bytes: Buffer, { placeholder }: InterceptedSecret): number {
  const most = Math.min(bytes.length, placeholder.length - 1);
  const tail = bytes.toString("latin1", bytes.length - most);
  for (let size = most; size > 0; size--) {
    if (placeholder.startsWith(tail.slice(most - size))) return size;
  }
  return 0;
}
