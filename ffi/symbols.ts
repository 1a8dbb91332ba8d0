/**
 * The helper library's C interface, as `ffi/helper/helper.h`, `chain.h`, `diff.h`, `pack.h`, `copy.h`
 * `ffi/child/child.h` and `ffi/confine/confine.h` have it.
 *
 * @module
 */
import { CHILD_SYMBOLS } from "./child_symbols.ts";
import type { NativeFunctions } from "./open_library.ts";

/** Every function, with the C type of each parameter. */
export const SYMBOLS = {
  ...CHILD_SYMBOLS,
  hutch_kvm_probe: {
    parameters: ["u32", "buffer"], // uint32_t limit_ms, uint64_t *micros
    result: "i32",
    nonblocking: true,
  },
  hutch_confine_support: {
    parameters: [],
    result: "u32",
  },
  hutch_terminal_raw: {
    parameters: ["i32", "buffer", "usize"], // int fd, uint8_t *saved, size_t size
    result: "i32",
  },
  hutch_terminal_restore: {
    parameters: ["i32", "buffer"], // int fd, const uint8_t *saved
    result: "i32",
  },
  hutch_ext4_create: {
    // const char *path, const struct hutch_ext4_options *options, hutch_ext4 **out
    parameters: ["buffer", "buffer", "buffer"],
    result: "i32",
  },
  hutch_ext4_layer_begin: {
    parameters: ["pointer"], // hutch_ext4 *fs
    result: "i32",
  },
  hutch_ext4_layer_push: {
    parameters: ["pointer", "buffer", "usize"], // hutch_ext4 *fs, const uint8_t *bytes, size_t length
    result: "i32",
    nonblocking: true,
  },
  hutch_ext4_layer_end: {
    parameters: ["pointer"], // hutch_ext4 *fs
    result: "i32",
  },
  hutch_ext4_mkdir: {
    parameters: ["pointer", "buffer", "u32"], // hutch_ext4 *fs, const char *path, uint32_t mode
    result: "i32",
  },
  hutch_ext4_file: {
    // hutch_ext4 *fs, const char *path, uint32_t mode, const uint8_t *bytes, size_t length
    parameters: ["pointer", "buffer", "u32", "buffer", "usize"],
    result: "i32",
  },
  hutch_ext4_symlink: {
    parameters: ["pointer", "buffer", "buffer"], // hutch_ext4 *fs, const char *path, const char *target
    result: "i32",
  },
  hutch_ext4_finish: {
    parameters: ["pointer"], // hutch_ext4 *fs
    result: "i32",
    nonblocking: true,
  },
  hutch_ext4_close: {
    parameters: ["pointer"], // hutch_ext4 *fs
    result: "void",
  },
  hutch_ext4_error: {
    parameters: ["pointer"], // const hutch_ext4 *fs
    result: "pointer", // const char *
  },
  hutch_ext4_grow: {
    // const char *path, uint64_t size, uint64_t *places, uint8_t *clusters
    parameters: ["buffer", "u64", "buffer", "buffer"],
    result: "i32",
  },
  hutch_decoder_open: {
    parameters: ["buffer", "buffer", "buffer"], // const char *path, const char *format, hutch_decoder **out
    result: "i32",
  },
  hutch_decoder_read: {
    parameters: ["pointer", "buffer", "usize"], // hutch_decoder *decoder, uint8_t *buffer, size_t size
    result: "i64",
    nonblocking: true,
  },
  hutch_decoder_position: {
    parameters: ["pointer"], // const hutch_decoder *decoder
    result: "u64",
  },
  hutch_decoder_error: {
    parameters: ["pointer"], // const hutch_decoder *decoder
    result: "pointer", // const char *
  },
  hutch_decoder_close: {
    parameters: ["pointer"], // hutch_decoder *decoder
    result: "void",
  },
  hutch_zstd_open: {
    parameters: ["buffer"], // hutch_zstd **out
    result: "i32",
  },
  hutch_zstd_pack: {
    // hutch_zstd *zstd, const uint8_t *plain, size_t length, uint8_t *frame, size_t size
    parameters: ["pointer", "buffer", "usize", "buffer", "usize"],
    result: "i64",
    nonblocking: true,
  },
  hutch_zstd_unpack: {
    // hutch_zstd *zstd, const uint8_t *frame, size_t length, uint8_t *plain, size_t size
    parameters: ["pointer", "buffer", "usize", "buffer", "usize"],
    result: "i64",
    nonblocking: true,
  },
  hutch_zstd_close: {
    parameters: ["pointer"], // hutch_zstd *zstd
    result: "void",
  },
  hutch_pack_open: {
    // const char *path, const struct hutch_pack_options *options, const hutch_pack *earlier,
    // hutch_pack **out
    parameters: ["buffer", "buffer", "pointer", "buffer"],
    result: "i32",
  },
  hutch_pack_read: {
    parameters: ["pointer", "buffer", "usize"], // hutch_pack *pack, uint8_t *buffer, size_t size
    result: "i64",
    nonblocking: true,
  },
  hutch_pack_left_out: {
    parameters: ["pointer", "u32"], // const hutch_pack *pack, uint32_t what
    result: "u64",
  },
  hutch_pack_error: {
    parameters: ["pointer"], // const hutch_pack *pack
    result: "pointer", // const char *
  },
  hutch_pack_close: {
    parameters: ["pointer"], // hutch_pack *pack
    result: "void",
  },
  hutch_copy_open: {
    // int packs, const char *path, const char *name, const struct hutch_copy_options *options,
    // hutch_copy **out
    parameters: ["i32", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  hutch_copy_read: {
    parameters: ["pointer", "buffer", "usize"], // hutch_copy *copy, uint8_t *buffer, size_t size
    result: "i64",
    nonblocking: true,
  },
  hutch_copy_push: {
    parameters: ["pointer", "buffer", "usize"], // hutch_copy *copy, const uint8_t *bytes, size_t length
    result: "i64",
    nonblocking: true,
  },
  hutch_copy_finish: {
    parameters: ["pointer"], // hutch_copy *copy
    result: "i32",
  },
  hutch_copy_asks: {
    parameters: ["pointer", "buffer", "buffer"], // const hutch_copy *copy, uint8_t path[4096], uint64_t *size
    result: "u32",
  },
  hutch_copy_answer: {
    parameters: ["pointer", "i32"], // hutch_copy *copy, int take
    result: "void",
    nonblocking: true,
  },
  hutch_copy_progress: {
    // const hutch_copy *copy, uint64_t counts[3], uint8_t path[4096]
    parameters: ["pointer", "buffer", "buffer"],
    result: "void",
  },
  hutch_copy_error: {
    parameters: ["pointer", "buffer", "usize"], // const hutch_copy *copy, uint8_t *line, size_t size
    result: "usize",
  },
  hutch_copy_close: {
    parameters: ["pointer"], // hutch_copy *copy
    result: "void",
  },
  hutch_chain_open: {
    parameters: ["buffer", "usize", "buffer"], // const char *files, size_t length, hutch_chain **out
    result: "i32",
  },
  hutch_chain_size: {
    parameters: ["pointer"], // const hutch_chain *chain
    result: "u64",
  },
  hutch_chain_next: {
    // hutch_chain *chain, uint32_t depth, uint64_t offset, uint64_t run[3]
    parameters: ["pointer", "u32", "u64", "buffer"],
    result: "i32",
  },
  hutch_chain_read: {
    // hutch_chain *chain, uint64_t offset, uint8_t *buffer, size_t length
    parameters: ["pointer", "u64", "buffer", "usize"],
    result: "i64",
    nonblocking: true,
  },
  hutch_chain_error: {
    parameters: ["pointer"], // const hutch_chain *chain
    result: "pointer", // const char *
  },
  hutch_chain_close: {
    parameters: ["pointer"], // hutch_chain *chain
    result: "void",
  },
  hutch_diff_open: {
    // const char *files, size_t length, int whole, uint64_t max_entries, const int32_t *cancelled,
    // hutch_diff **out
    parameters: ["buffer", "usize", "i32", "u64", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  hutch_diff_read: {
    parameters: ["pointer", "buffer", "usize"], // hutch_diff *diff, uint8_t *buffer, size_t size
    result: "i64",
    nonblocking: true,
  },
  hutch_diff_count: {
    parameters: ["pointer", "u32"], // const hutch_diff *diff, uint32_t what
    result: "u64",
  },
  hutch_diff_error: {
    parameters: ["pointer"], // const hutch_diff *diff
    result: "pointer", // const char *
  },
  hutch_diff_close: {
    parameters: ["pointer"], // hutch_diff *diff
    result: "void",
  },
  hutch_next_data: {
    parameters: ["buffer", "u64"], // const char *path, uint64_t offset
    result: "i64",
  },
  hutch_pointer_in: {
    parameters: ["buffer"], // void *const *room
    result: "pointer", // void *
  },
  hutch_text_at: {
    parameters: ["pointer", "buffer", "usize"], // const char *text, uint8_t *copy, size_t size
    result: "usize",
  },
  hutch_bytes_at: {
    parameters: ["pointer", "buffer", "usize"], // const uint8_t *bytes, uint8_t *copy, size_t size
    result: "void",
  },
  hutch_kernel_open: {
    // const char *libkrunfw_path, hutch_kernel **out, const uint8_t **bytes, size_t *size,
    // uint64_t *load_address, uint64_t *entry_address
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  hutch_kernel_close: {
    parameters: ["pointer"], // hutch_kernel *kernel
    result: "void",
  },
} as const satisfies NativeFunctions;
