/* libhutch: what the host needs from C. Loaded by ffi/library.ts, only by the user's program
 * (never by a box process). The functions of ffi/confine/confine.h are in it, too.
 *
 * Every function that can fail returns 0 or a negative errno; where the operation has a handle,
 * hutch_*_error() gives one line about the last failure ("layer entry \"etc/passwd\": ..."). No
 * globals; handles may be used from one thread at a time unless said otherwise. The library
 * starts no threads and installs no signal handlers. */
#ifndef HUTCH_HELPER_H
#define HUTCH_HELPER_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

/* ---- KVM probe ------------------------------------------------------------------------- */

/* Runs a one-page guest that counts down from 100,000 in real mode and halts, limited to
 * `limit_ms`. *micros gets the time it took. 0: it halted; -ETIMEDOUT: limit reached (a KVM that
 * emulates); -ENOENT, -EACCES, ... : /dev/kvm can't be used. */
int hutch_kvm_probe(uint32_t limit_ms, uint64_t *micros);

/* ---- the user's terminal --------------------------------------------------------------- */

/* Keeps the terminal's settings in `saved` and makes it raw. -EAGAIN: this process is in its
 * background; -EINVAL: `size` is too small; -ENOTTY, -EIO, ...: it is none (any more). */
int hutch_terminal_raw(int fd, uint8_t *saved, size_t size);

/* Sets what was saved. */
int hutch_terminal_restore(int fd, const uint8_t *saved);

/* ---- ext4 images ------------------------------------------------------------------------ */

typedef struct hutch_ext4 hutch_ext4;

struct hutch_ext4_options {
  uint64_t max_bytes;   /* of all layers unpacked, and of files' blocks in all; 0 = 64 GiB */
  uint64_t max_entries; /* entries read in all, 0 = 5,000,000 */
  uint64_t max_memory;  /* for names, attributes and the tree, 0 = 2 GiB */
  uint8_t uuid[16];     /* of the file system, from the image's digest: same image, same bytes */
};

/* Errors of images, beside what the system says (-ENOSPC, -EIO, ...):
 *   -EBADMSG  the layer is no tar, is cut short, or holds what an image must not
 *   -EFBIG    a limit of the options was reached
 *   -EINVAL   the caller's own argument is wrong
 * After an error in a layer or in finish, every further call but close returns it again. */

/* Creates the file (must not exist, mode 0600) that becomes an ext4 file system. File data goes to
 * its final place as it comes; everything else is kept in memory and written by finish. The same
 * calls give the same bytes. On failure *out is NULL and nothing was created. */
int hutch_ext4_create(const char *path, const struct hutch_ext4_options *options, hutch_ext4 **out);

/* Applies one layer by the rules of the OCI image specification. The caller pushes the plain
 * (decompressed) tar in pieces of any size; each is parsed and written before push returns, so the
 * piece isn't kept. Meant to be called "nonblocking" from Deno, one call at a time. */
int hutch_ext4_layer_begin(hutch_ext4 *fs);
int hutch_ext4_layer_push(hutch_ext4 *fs, const uint8_t *bytes, size_t length);
int hutch_ext4_layer_end(hutch_ext4 *fs);

/* Single entries for trees that hutch makes itself (system disk, builtin images), owned by root,
 * dated 1970. Paths are absolute in the image; missing parents are an error (-ENOENT), a name that
 * is taken too (-EEXIST). These errors leave the image usable. */
int hutch_ext4_mkdir(hutch_ext4 *fs, const char *path, uint32_t mode);
int hutch_ext4_file(hutch_ext4 *fs, const char *path, uint32_t mode, const uint8_t *bytes,
                    size_t length);
int hutch_ext4_symlink(hutch_ext4 *fs, const char *path, const char *target);

/* Sizes the file system to its content, writes everything, syncs the file. Once. */
int hutch_ext4_finish(hutch_ext4 *fs);
/* Frees the handle. Without finish the file is left as it is, for the caller to delete. */
void hutch_ext4_close(hutch_ext4 *fs);
/* One line about the last failure; "" if none. Valid until the next call. */
const char *hutch_ext4_error(const hutch_ext4 *fs);

/* What hutch_ext4_grow gives at most: clusters of so many bytes. */
#define HUTCH_GROWTH_CLUSTER 65536u
#define HUTCH_GROWTH_CLUSTERS 16u

/* What changes in a finished image when its file system gets room for a start, a GiB and some, as far as
 * its disk of `size` bytes has it: the place of each cluster that does, in bytes and in no order, and what
 * it holds then. Both have room for HUTCH_GROWTH_CLUSTERS. The image stays as it is; the rest of the disk
 * is for a machine to take. Returns how many they are, 0 when the disk isn't larger, the image has 8 GiB,
 * or the file is no image of hutch_ext4_finish's; or what open(2) says. */
int hutch_ext4_grow(const char *path, uint64_t size, uint64_t *places, uint8_t *clusters);

/* ---- decompression that Deno can't do right ----------------------------------------------- */

typedef struct hutch_decoder hutch_decoder;
/* Opens a compressed file. `format` is "zstd", "gzip", "xz" or "bzip2"; another one: -EINVAL.
 * Several members or frames in a row are one stream, as their tools have it. */
int hutch_decoder_open(const char *path, const char *format, hutch_decoder **out);
/* Plain bytes into `buffer`; returns their count, 0 at the end, or a negative errno
 * (-EBADMSG: the file isn't what `format` says, or is cut short). */
int64_t hutch_decoder_read(hutch_decoder *decoder, uint8_t *buffer, size_t size);
/* Bytes of the compressed file used so far, those read ahead included. */
uint64_t hutch_decoder_position(const hutch_decoder *decoder);
const char *hutch_decoder_error(const hutch_decoder *decoder);
void hutch_decoder_close(hutch_decoder *decoder);

/* ---- zstd, frame by frame ------------------------------------------------------------------ */

/* What one thread at a time works with; several make several frames at once. */
typedef struct hutch_zstd hutch_zstd;
int hutch_zstd_open(hutch_zstd **out);
/* Makes one frame, with its length and a checksum; returns how long it is. `size` must be enough for
 * bytes that can't be compressed: -EINVAL. -ENOMEM. Meant to be called "nonblocking" from Deno. */
int64_t hutch_zstd_pack(hutch_zstd *zstd, const uint8_t *plain, size_t length, uint8_t *frame,
                        size_t size);
/* The plain bytes of one frame; returns how many. -EBADMSG: it isn't one whole frame, is damaged, or
 * has more than `size`. Takes no memory for what a frame says of itself. -ENOMEM. Meant to be called
 * "nonblocking" from Deno. */
int64_t hutch_zstd_unpack(hutch_zstd *zstd, const uint8_t *frame, size_t length, uint8_t *plain,
                          size_t size);
void hutch_zstd_close(hutch_zstd *zstd);

/* ---- memory that these functions give ------------------------------------------------------ */

/* Deno itself follows pointers only for programs that may load every library. */

/* What another function left in `room`. */
void *hutch_pointer_in(void *const *room);
/* Copies a string, as much of it as there is room for and without its end; returns its length. */
size_t hutch_text_at(const char *text, uint8_t *copy, size_t size);
void hutch_bytes_at(const uint8_t *bytes, uint8_t *copy, size_t size);

/* ---- kernel ------------------------------------------------------------------------------- */

/* dlopens libkrunfw and gives the kernel inside: its bytes stay valid until hutch_kernel_close.
 * -ENOENT: no such library; -ENOEXEC: it can't be loaded or holds no kernel. */
typedef struct hutch_kernel hutch_kernel;
int hutch_kernel_open(const char *libkrunfw_path, hutch_kernel **out, const uint8_t **bytes,
                      size_t *size, uint64_t *load_address, uint64_t *entry_address);
void hutch_kernel_close(hutch_kernel *kernel);

#pragma GCC visibility pop

#endif
