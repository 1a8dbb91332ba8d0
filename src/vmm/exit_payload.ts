/**
 * How a command ended, out of the guest's EXIT payload: the box process loads no decoder.
 *
 * @module
 */

/** How the main command ended; both null when the guest didn't say. */
export interface MainExit {
  readonly code: number | null;
  /** Such as `SIGKILL`. */
  readonly signal: string | null;
}

/** Reads an EXIT payload; what isn't as the protocol says is as if nothing was said. */
export function mainExitOf(payload: Uint8Array): MainExit {
  const unknown: MainExit = { code: null, signal: null };
  const [head = 0] = payload;
  if (head < 0xa0 || head > 0xb7) return unknown;
  const found = new Map<string, string | number | boolean | null>();
  let at = 1;
  for (let pair = head - 0xa0; pair > 0; pair--) {
    const key = item(payload, at);
    const value = key && item(payload, key.end);
    if (!value || typeof key.value !== "string") return unknown;
    found.set(key.value, value.value);
    at = value.end;
  }
  const code = found.get("code");
  const signal = found.get("signal");
  return {
    code: typeof code === "number" ? code : null,
    signal: typeof signal === "string" && /^SIG[A-Z0-9+-]{1,16}$/.test(signal) ? signal : null,
  };
}

/** A number up to 255, a text of up to 23 bytes, true, false or null; undefined for anything else. */
function item(
  bytes: Uint8Array,
  at: number,
): { readonly value: string | number | boolean | null; readonly end: number } | undefined {
  const head = bytes[at];
  if (head === undefined) return undefined;
  if (head < 0x18) return { value: head, end: at + 1 };
  if (head === 0x18) {
    const value = bytes[at + 1];
    return value === undefined ? undefined : { value, end: at + 2 };
  }
  if (head >= 0x60 && head < 0x78) {
    const end = at + 1 + head - 0x60;
    return end > bytes.length
      ? undefined
      : { value: new TextDecoder().decode(bytes.subarray(at + 1, end)), end };
  }
  if (head === 0xf6) return { value: null, end: at + 1 };
  if (head === 0xf4 || head === 0xf5) return { value: head === 0xf5, end: at + 1 };
  return undefined;
}
