/* libhutch: what the host needs from C. Loaded by ffi/library.ts, only by the user's program
 * (never by a box process that runs QEMU).
 *
 * Every function that can fail returns 0 or a negative errno; where the operation has a handle,
 * hutch_*_error() gives one line about the last failure ("layer entry etc/passwd: ..."). No
 * globals; handles may be used from one thread at a time unless said otherwise. */
#ifndef HUTCH_HELPER_H
#define HUTCH_HELPER_H

#include <stddef.h>
#include <stdint.h>

/* ---- KVM probe ------------------------------------------------------------------------- */

/* Runs a one-page guest that counts down from 100,000 in real mode and halts, limited to
 * `limit_ms`. *micros gets the time it took. 0: it halted; -ETIMEDOUT: limit reached (a KVM that
 * emulates); -ENOENT, -EACCES, ... : /dev/kvm can't be used. */
int hutch_kvm_probe(uint32_t limit_ms, uint64_t *micros);

/* ---- ext4 images ------------------------------------------------------------------------ */

typedef struct hutch_ext4 hutch_ext4;

struct hutch_ext4_options {
  uint64_t max_bytes;      /* unpacked file bytes allowed in all, 0 = 64 GiB */
  uint64_t max_entries;    /* entries allowed in all, 0 = 5,000,000 */
  uint8_t uuid[16];        /* of the file system, from the image's digest: same image, same bytes */
};

/* Creates the file (must not exist) and an empty ext4 in it, written so that the same calls give
 * the same bytes. */
int hutch_ext4_create(const char *path, const struct hutch_ext4_options *options, hutch_ext4 **out);

/* Applies one layer. The caller pushes the plain (decompressed) tar in pieces and ends it; a thread
 * of the helper parses and writes meanwhile. push waits until the piece was taken over; it is meant
 * to be called "nonblocking" from Deno. end waits for the layer and gives its result. An error
 * inside the layer is returned by the next push and by end. */
int hutch_ext4_layer_begin(hutch_ext4 *fs);
int hutch_ext4_layer_push(hutch_ext4 *fs, const uint8_t *bytes, size_t length);
int hutch_ext4_layer_end(hutch_ext4 *fs);

/* Single entries for trees that hutch makes itself (system disk, builtin images). Paths are absolute in the image;
 * missing parents are an error. */
int hutch_ext4_mkdir(hutch_ext4 *fs, const char *path, uint32_t mode);
int hutch_ext4_file(hutch_ext4 *fs, const char *path, uint32_t mode, const uint8_t *bytes, size_t length);
int hutch_ext4_symlink(hutch_ext4 *fs, const char *path, const char *target);

/* Shrinks to the content, writes everything, syncs the file. The handle is gone after close. */
int hutch_ext4_finish(hutch_ext4 *fs);
void hutch_ext4_close(hutch_ext4 *fs); /* without finish: the file is left as it is, for the caller to delete */
/* One line about the last failure; "" if none. Valid until the next call. */
const char *hutch_ext4_error(const hutch_ext4 *fs);

/* ---- decompression that Deno can't do right ----------------------------------------------- */

typedef struct hutch_decoder hutch_decoder;
/* Opens a compressed file; `format` is "zstd", "xz", "bzip2", ... as libarchive names its filters. */
int hutch_decoder_open(const char *path, const char *format, hutch_decoder **out);
/* Plain bytes into `buffer`; returns their count, 0 at the end, or a negative errno. */
int64_t hutch_decoder_read(hutch_decoder *decoder, uint8_t *buffer, size_t size);
const char *hutch_decoder_error(const hutch_decoder *decoder);
void hutch_decoder_close(hutch_decoder *decoder);

/* ---- kernel ------------------------------------------------------------------------------- */

/* dlopens libkrunfw and gives the kernel inside: its bytes stay valid until hutch_kernel_close. */
typedef struct hutch_kernel hutch_kernel;
int hutch_kernel_open(const char *libkrunfw_path, hutch_kernel **out, const uint8_t **bytes,
                      size_t *size, uint64_t *load_address, uint64_t *entry_address);
void hutch_kernel_close(hutch_kernel *kernel);

#endif
