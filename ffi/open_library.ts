/**
 * Opens libraries of native functions fast.
 *
 * `Deno.dlopen` compiles machine code for every function that is called synchronously, which takes a
 * third of a millisecond each: much for a process that calls few of them, and each but once. It doesn't
 * where a parameter is a structure. So these have one more: a zero, which no function of C looks at,
 * since its caller is who clears the arguments away (System V ABI for x86-64, section 3.2.3; AAPCS64,
 * section 6.8). A call takes some microseconds then, not a fraction of one.
 *
 * @module
 */

/** The one more parameter, and what is given for it. */
const ZERO_TYPE = { struct: ["u64"] } as const satisfies Deno.NativeStructType;
const ZERO = new Uint8Array(8);

/** A library's functions by their names, as `Deno.dlopen` has them. */
export interface NativeLibrary<Symbols extends Deno.ForeignLibraryInterface> {
  readonly symbols: Deno.DynamicLibrary<Symbols>["symbols"];
  /** Unloads it. None of its functions may be called afterwards. */
  close(): void;
}

/** The functions of a library; variadic ones see the zero. */
export type NativeFunctions = Record<string, Deno.ForeignFunction>;

/**
 * Opens a library.
 *
 * @throws what `Deno.dlopen` throws
 *
 * @example
 * ```ts
 * const { symbols } = openLibrary("libc.so.6", { getpid: { parameters: [], result: "i32" } });
 * symbols.getpid();
 * ```
 */
export function openLibrary<Symbols extends NativeFunctions>(
  path: string,
  symbols: Symbols,
): NativeLibrary<Symbols> {
  const widened: NativeFunctions = {};
  for (const [name, definition] of Object.entries(symbols)) {
    widened[name] = { ...definition, parameters: [...definition.parameters, ZERO_TYPE] };
  }
  const library = Deno.dlopen(path, widened);
  const functions: Record<string, unknown> = {};
  for (const [name, call] of Object.entries(library.symbols)) {
    functions[name] = call === null
      ? null // an optional one that isn't there
      : (...values: unknown[]) => Reflect.apply(call, undefined, [...values, ZERO]);
  }
  return {
    // The definitions are the same but for the parameter that is given above.
    symbols: functions as Deno.DynamicLibrary<Symbols>["symbols"],
    close: () => library.close(),
  };
}
