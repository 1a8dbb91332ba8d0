/**
 * The library that box processes load: the relay, what starts programs, what confines the process, and the
 * clock.
 *
 * @module
 */
import { CHILD_SYMBOLS } from "./child_symbols.ts";
import { type NativeFunctions, type NativeLibrary, openLibrary } from "./open_library.ts";

const SYMBOLS = {
  // relay/relay.h
  hutch_relay_open: {
    // const char *clients, const char *channel, int32_t transfer, relay **made
    parameters: ["buffer", "buffer", "i32", "buffer"],
    result: "i32",
  },
  hutch_relay_transfer: {
    parameters: ["usize"], // const relay *relay
    result: "i32",
  },
  hutch_relay_state: {
    parameters: ["usize", "buffer"], // relay *relay, uint64_t *figures
    result: "void",
  },
  hutch_relay_ended: {
    parameters: ["usize", "buffer", "u32"], // relay *relay, char *text, uint32_t size
    result: "i32",
  },
  hutch_relay_part: {
    parameters: ["usize"], // relay *relay
    result: "void",
  },
  hutch_relay_drain: {
    parameters: ["usize", "u32"], // relay *relay, uint32_t limit_ms
    result: "void",
    nonblocking: true,
  },
  hutch_relay_trim: {
    parameters: [],
    result: "void",
  },
  hutch_relay_close: {
    parameters: ["usize"], // relay *relay
    result: "void",
  },
  ...CHILD_SYMBOLS,
  // confine/confine.h
  hutch_confine: {
    parameters: ["buffer", "buffer"], // const char *rules, uint32_t *done
    result: "i32",
  },
  // life/life.h
  hutch_life_begin: {
    parameters: ["buffer", "buffer"], // const char *lock, const char *stale
    result: "i32",
  },
  hutch_life_remove: {
    parameters: ["buffer"], // const char *paths
    result: "i32",
  },
  hutch_life_end: {
    parameters: ["i32", "buffer"], // int32_t fd, const char *lock
    result: "void",
  },
  // clock/clock.h
  hutch_clock_khz: {
    parameters: [],
    result: "u32",
    nonblocking: true,
  },
} as const satisfies NativeFunctions;

/** A library that is opened, and by how many. */
interface Opened {
  readonly library: NativeLibrary<typeof SYMBOLS>;
  users: number;
}

/** By the library's file. */
const opened = new Map<string, Opened>();

/** The library as one of its users has it. Opening it takes some time, so all have the same. */
export class BoxLibrary implements Disposable {
  readonly #path: string;
  readonly #opened: Opened;
  #closed = false;

  /**
   * Opens it.
   *
   * @param path The library's file.
   * @throws what `Deno.dlopen` throws.
   */
  constructor(path: string) {
    const found = opened.get(path) ?? { library: openLibrary(path, SYMBOLS), users: 0 };
    found.users += 1;
    opened.set(path, found);
    this.#path = path;
    this.#opened = found;
  }

  /** Its functions. */
  get symbols(): NativeLibrary<typeof SYMBOLS>["symbols"] {
    return this.#opened.library.symbols;
  }

  /** Closes it once nobody else has it; idempotent. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#opened.users -= 1;
    if (this.#opened.users > 0) return;
    opened.delete(this.#path);
    this.#opened.library.close();
  }
}
