/**
 * How fast this machine's processor counts, see `ffi/clock/clock.h`.
 *
 * @module
 */
import { BoxLibrary } from "./box_library.ts";

/**
 * Measures the processor's time stamp counter, which takes 10 ms; in `kHz`, or undefined where it has
 * none that counts evenly.
 *
 * @param library The library's file.
 */
export async function counterKhz(library: string): Promise<number | undefined> {
  using opened = new BoxLibrary(library);
  return await opened.symbols.hutch_clock_khz() || undefined;
}
