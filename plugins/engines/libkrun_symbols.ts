/**
 * The part of libkrun's C interface that hutch uses (`libkrun.h`, version 1.9 and later).
 *
 * @module
 */

const SYMBOLS = {
  krun_set_log_level: {
    parameters: ["u32"], // uint32_t level
    result: "i32",
  },
  krun_create_ctx: {
    parameters: [],
    result: "i32", // context id, or -errno
  },
  krun_set_vm_config: {
    parameters: ["u32", "u8", "u32"], // uint32_t ctx, uint8_t vcpus, uint32_t ram_mib
    result: "i32",
  },
  krun_set_kernel: {
    // uint32_t ctx, const char *path, uint32_t format, const char *initramfs, const char *cmdline
    parameters: ["u32", "buffer", "u32", "buffer", "buffer"],
    result: "i32",
  },
  krun_add_disk2: {
    // uint32_t ctx, const char *id, const char *path, uint32_t format, bool read_only
    parameters: ["u32", "buffer", "buffer", "u32", "bool"],
    result: "i32",
  },
  krun_set_console_output: {
    parameters: ["u32", "buffer"], // uint32_t ctx, const char *path
    result: "i32",
  },
  krun_disable_implicit_vsock: {
    parameters: ["u32"], // uint32_t ctx
    result: "i32",
  },
  krun_add_vsock: {
    parameters: ["u32", "u32"], // uint32_t ctx, uint32_t tsi_features
    result: "i32",
  },
  krun_add_vsock_port2: {
    parameters: ["u32", "u32", "buffer", "bool"], // uint32_t ctx, uint32_t port, const char *path, bool listen
    result: "i32",
  },
  krun_start_enter: {
    parameters: ["u32"], // uint32_t ctx
    result: "i32", // only on failure: else it ends the process with the guest's exit code
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The loaded library. */
export type Libkrun = Deno.DynamicLibrary<typeof SYMBOLS>;

/** Loads libkrun; throws what `Deno.dlopen` throws. */
export function loadLibkrun(path: string): Libkrun {
  return Deno.dlopen(path, SYMBOLS);
}
