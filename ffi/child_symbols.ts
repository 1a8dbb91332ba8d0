/**
 * The C interface of starting programs, as `ffi/child/child.h` has it; both libraries have it.
 *
 * @module
 */
import type { NativeFunctions } from "./open_library.ts";

/** Every function, with the C type of each parameter. */
export const CHILD_SYMBOLS = {
  hutch_child_start: {
    // const char *words, const char *environment, const char *paths, int32_t third, uint32_t how,
    // hutch_child **made
    parameters: ["buffer", "buffer", "buffer", "i32", "u32", "buffer"],
    result: "i32",
  },
  hutch_child_beside: {
    parameters: ["buffer"], // struct hutch_beside *beside
    result: "i32",
  },
  hutch_child_pid: {
    parameters: ["usize"], // const hutch_child *child
    result: "i32",
  },
  hutch_child_has_ended: {
    parameters: ["usize"], // const hutch_child *child
    result: "i32",
  },
  hutch_child_ask: {
    // hutch_child *child, const char *bytes, uint64_t length, char *line, uint64_t size
    parameters: ["usize", "buffer", "u64", "buffer", "u64"],
    result: "i64",
    nonblocking: true,
  },
  hutch_child_tell_last: {
    parameters: ["usize", "buffer", "u64"], // hutch_child *child, const char *bytes, uint64_t length
    result: "i32",
  },
  hutch_child_tell_third: {
    parameters: ["usize", "buffer", "u64"], // hutch_child *child, const char *bytes, uint64_t length
    result: "i32",
  },
  hutch_child_wait: {
    parameters: ["usize", "buffer", "buffer"], // hutch_child *child, char *words, uint32_t *length
    result: "i32",
    nonblocking: true,
  },
  hutch_child_signal: {
    parameters: ["usize", "i32"], // hutch_child *child, int32_t number
    result: "void",
  },
  hutch_child_free: {
    parameters: ["usize"], // hutch_child *child
    result: "void",
  },
} as const satisfies NativeFunctions;
