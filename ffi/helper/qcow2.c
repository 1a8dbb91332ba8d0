/* What a qcow2 file says of the disk in it. See chain.h; the format is in QEMU's
 * docs/interop/qcow2.txt. */
#define _GNU_SOURCE 1
#include "chain.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x514649fbu
#define MIN_CLUSTER_BITS 9u
#define MAX_CLUSTER_BITS 21u
#define MAX_SIZE (UINT64_C(1) << 50)
#define MAX_FIRST_ENTRIES (UINT64_C(1) << 22)
#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define COMPRESSED (UINT64_C(1) << 62)
#define READS_ZERO UINT64_C(1)
/* Refcounts that may be behind: they are nothing that a reader needs. */
#define FEATURE_DIRTY UINT64_C(1)

static uint32_t get32(const uint8_t *bytes)
{
  uint32_t value;
  memcpy(&value, bytes, sizeof value);
  return be32toh(value);
}

static uint64_t get64(const uint8_t *bytes)
{
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
  return be64toh(value);
}

static uint64_t entries_per_table(const struct chain_file *file)
{
  return UINT64_C(1) << (file->cluster_bits - 3);
}

/* Whether a table or cluster can be there. */
static bool can_be(const struct chain_file *file, uint64_t at)
{
  return at % (UINT64_C(1) << file->cluster_bits) == 0 && at != 0 && at < file->length;
}

static int check_header(hutch_chain *chain, struct chain_file *file, const uint8_t *head)
{
  uint32_t version = get32(head + 4);
  if (get32(head) != MAGIC || (version != 2 && version != 3))
    return chain_error(chain, -EBADMSG, "it isn't a qcow2 disk");
  file->cluster_bits = get32(head + 20);
  file->size = get64(head + 24);
  if (file->cluster_bits < MIN_CLUSTER_BITS || file->cluster_bits > MAX_CLUSTER_BITS)
    return chain_error(chain, -EBADMSG, "its clusters have no possible size");
  if (file->size == 0 || file->size > MAX_SIZE || file->size % 512 != 0)
    return chain_error(chain, -EBADMSG, "it has no possible size");
  if (get32(head + 32) != 0) return chain_error(chain, -ENOTSUP, "it is encrypted");
  if (version == 3 && (get64(head + 72) & ~FEATURE_DIRTY) != 0)
    return chain_error(chain, -ENOTSUP, "it has features that a box's disk doesn't have");
  return 0;
}

static int read_first(hutch_chain *chain, struct chain_file *file, const uint8_t *head)
{
  uint64_t span = entries_per_table(file) << file->cluster_bits;
  uint64_t needed = (file->size + span - 1) / span, at = get64(head + 40);
  if (needed > MAX_FIRST_ENTRIES || get32(head + 36) < needed || !can_be(file, at))
    return chain_error(chain, -EBADMSG, "its first table can't be right");
  file->first = malloc(needed * sizeof *file->first);
  if (file->first == NULL) return chain_error(chain, -ENOMEM, "out of memory");
  file->first_count = needed;
  int result = chain_pread(file->fd, file->first, needed * sizeof *file->first, at);
  if (result < 0) return chain_error(chain, result, "%s", strerror(-result));
  for (uint64_t i = 0; i < needed; i++) file->first[i] = be64toh(file->first[i]) & OFFSET_MASK;
  return 0;
}

int qcow2_open(hutch_chain *chain, struct chain_file *file)
{
  uint8_t head[104];
  int result = chain_pread(file->fd, head, sizeof head, 0);
  if (result < 0) return chain_error(chain, result, "%s", strerror(-result));
  result = check_header(chain, file, head);
  return result < 0 ? result : read_first(chain, file, head);
}

static bool is_hole(const struct chain_file *file, uint64_t at, uint64_t length)
{
#ifdef SEEK_DATA
  off_t data = lseek(file->fd, (off_t)at, SEEK_DATA);
  return data < 0 ? errno == ENXIO : (uint64_t)data >= at + length;
#else
  (void)file, (void)at, (void)length;
  return false;
#endif
}

/* A second-level table, kept; *entries is NULL when it says nothing. */
static int load_table(hutch_chain *chain, struct chain_file *file, uint64_t number,
                      const uint64_t **entries)
{
  struct chain_table *place = &file->tables[number % CHAIN_TABLES];
  *entries = place->entries;
  if (place->number == number + 1) return 0;
  uint64_t at = file->first[number], size = UINT64_C(1) << file->cluster_bits;
  *entries = NULL;
  place->number = 0;
  free(place->entries);
  place->entries = NULL;
  if (at != 0 && !can_be(file, at)) return chain_error(chain, -EBADMSG, "a table is where none can be");
  if (at != 0 && !is_hole(file, at, size)) {
    uint64_t *table = malloc(size);
    if (table == NULL) return chain_error(chain, -ENOMEM, "out of memory");
    int result = chain_pread(file->fd, table, size, at);
    if (result < 0) {
      free(table);
      return chain_error(chain, result, "%s", strerror(-result));
    }
    for (uint64_t i = 0; i < entries_per_table(file); i++) table[i] = be64toh(table[i]);
    *entries = place->entries = table;
  }
  place->number = number + 1;
  return 0;
}

static int read_entry(hutch_chain *chain, const struct chain_file *file, uint64_t entry,
                      struct chain_piece *piece)
{
  piece->at = entry & OFFSET_MASK;
  if (entry & COMPRESSED) return chain_error(chain, -ENOTSUP, "it has compressed clusters");
  if (entry & READS_ZERO) piece->kind = HUTCH_CHAIN_ZEROS;
  else piece->kind = piece->at == 0 ? HUTCH_CHAIN_NOTHING : HUTCH_CHAIN_DATA;
  if (piece->kind == HUTCH_CHAIN_DATA && !can_be(file, piece->at))
    return chain_error(chain, -EBADMSG, "a cluster is where none can be");
  return 0;
}

int qcow2_find(hutch_chain *chain, struct chain_file *file, uint64_t offset, uint64_t want,
               struct chain_piece *piece)
{
  uint64_t size = UINT64_C(1) << file->cluster_bits, per_table = entries_per_table(file);
  uint64_t cluster = offset >> file->cluster_bits, within = offset & (size - 1);
  const uint64_t *entries;
  int result = load_table(chain, file, cluster / per_table, &entries);
  if (result < 0) return result;
  uint64_t index = cluster % per_table;
  uint64_t most = ((per_table - index) << file->cluster_bits) - within;
  if (most > want) most = want;
  *piece = (struct chain_piece){HUTCH_CHAIN_NOTHING, 0, most};
  if (entries == NULL) return 0;
  result = read_entry(chain, file, entries[index], piece);
  if (result < 0) return result;
  /* As many of the same kind as follow each other, in the file as well. */
  uint64_t start = piece->at;
  piece->length = size - within;
  while (piece->length < most) {
    struct chain_piece next;
    result = read_entry(chain, file, entries[++index], &next);
    if (result < 0) return result;
    if (next.kind != piece->kind) break;
    if (next.kind == HUTCH_CHAIN_DATA && next.at != start + within + piece->length) break;
    piece->length += size;
  }
  if (piece->length > most) piece->length = most;
  piece->at = start + within;
  return 0;
}

void qcow2_release(struct chain_file *file)
{
  free(file->first);
  for (size_t i = 0; i < CHAIN_TABLES; i++) free(file->tables[i].entries);
}
