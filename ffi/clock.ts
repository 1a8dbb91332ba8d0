/**
 * How fast this machine's processor counts, see `ffi/clock/clock.h`. A module without imports: every
 * box process loads it.
 *
 * @module
 */

const SYMBOLS = {
  hutch_clock_khz: {
    parameters: [],
    result: "u32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/**
 * Measures the processor's time stamp counter, which takes 10 ms; in `kHz`, or undefined where it has
 * none that counts evenly.
 *
 * @param library The library's file.
 */
export async function counterKhz(library: string): Promise<number | undefined> {
  const opened = Deno.dlopen(library, SYMBOLS);
  try {
    return await opened.symbols.hutch_clock_khz() || undefined;
  } finally {
    opened.close();
  }
}
