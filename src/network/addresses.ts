/**
 * The addresses of a box's own little network, alike for all boxes: each has it to itself.
 * `ffi/net/filter.h` has the same.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** The box's addresses, with the sizes of their networks in bits. */
export const GUEST_ADDRESSES = ["10.213.77.2/24", "fd5a:7c1e:68b4::2/64"] as const;

/** Where it sends what isn't for itself; also this machine, where that may be reached. */
export const GATEWAYS = ["10.213.77.1", "fd5a:7c1e:68b4::1"] as const;

/** Its name server. */
export const NAME_SERVER = "10.213.77.3";

/**
 * The hardware address of a box's network device: one that nobody was given, and always the same for
 * the same box.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7042#section-2.1 Locally assigned unicast addresses
 */
export function macAddressOf(id: string): string {
  const own = createHash("sha256").update(id).digest("hex").slice(0, 8);
  return `52:48:${own.match(/../g)?.join(":")}`;
}

/** Longest packet in bytes: the longer, the fewer there are to handle. */
export const MTU = 65_520;

/** The name in the box for the machine that it runs on. */
export const HOST_ALIAS = "host.hutch.internal";
