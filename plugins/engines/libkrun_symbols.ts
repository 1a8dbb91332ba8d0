/**
 * The part of libkrun's C interface that hutch uses (`libkrun.h`, version 1.17 and later).
 *
 * @module
 */
import { type NativeFunctions, type NativeLibrary, openLibrary } from "../../ffi/open_library.ts";

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
  krun_add_virtiofs: {
    parameters: ["u32", "buffer", "buffer"], // uint32_t ctx, const char *tag, const char *path
    result: "i32",
  },
  krun_add_net_unixstream: {
    // uint32_t ctx, const char *path, int fd, uint8_t mac[6], uint32_t features, uint32_t flags
    parameters: ["u32", "buffer", "i32", "buffer", "u32", "u32"],
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
  krun_add_virtio_console_multiport: {
    parameters: ["u32"], // uint32_t ctx
    result: "i32", // console id, or -errno
  },
  krun_add_console_port_inout: {
    // uint32_t ctx, uint32_t console, const char *name, int input, int output
    parameters: ["u32", "u32", "buffer", "i32", "i32"],
    result: "i32",
  },
  krun_start_enter: {
    parameters: ["u32"], // uint32_t ctx
    result: "i32", // only on failure: else it ends the process with the guest's exit code
    nonblocking: true,
  },
  // The C library's, which libkrun is linked with: its handle finds them too.
  _exit: {
    parameters: ["i32"], // int status
    result: "void", // never comes
  },
  prctl: {
    parameters: ["i32", "u64"], // int option, unsigned long argument
    result: "i32",
    optional: true, // Linux alone has it
  },
  mmap: {
    // void *address, size_t length, int protection, int flags, int fd, off_t offset
    parameters: ["usize", "usize", "i32", "i32", "i32", "i64"],
    result: "usize", // (size_t)-1 on failure
  },
  munmap: {
    parameters: ["usize", "usize"], // void *address, size_t length
    result: "i32",
  },
  socket: {
    parameters: ["i32", "i32", "i32"], // int domain, int type, int protocol
    result: "i32", // descriptor, or -1
  },
  connect: {
    parameters: ["i32", "buffer", "u32"], // int fd, const struct sockaddr *address, socklen_t length
    result: "i32",
  },
} as const satisfies NativeFunctions;

/** The loaded library. */
export type Libkrun = NativeLibrary<typeof SYMBOLS>;

/** Loads libkrun; throws what `Deno.dlopen` throws. */
export function loadLibkrun(path: string): Libkrun {
  return openLibrary(path, SYMBOLS);
}
