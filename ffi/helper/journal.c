/* What ext4's journal (jbd2) has of blocks that aren't at their places yet: of a machine that was killed
 * or stands still. Transactions count up to the last one that was finished. */
#define _GNU_SOURCE 1
#include "ext4_read.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAGIC 0xc03b3998u
enum { DESCRIPTOR = 1, COMMIT = 2, REVOKE = 5 };
enum { TAG_ESCAPED = 1, TAG_SAME_UUID = 2, TAG_LAST = 8 };
enum { HAS_REVOKE = 1, HAS_64BIT = 2, HAS_ASYNC = 4, HAS_CSUM_V2 = 8, HAS_CSUM_V3 = 16 };
#define KNOWN (HAS_REVOKE | HAS_64BIT | HAS_ASYNC | HAS_CSUM_V2 | HAS_CSUM_V3)
#define MOST_BLOCKS (UINT64_C(1) << 24)

/* The journal's file while it is read. */
struct log {
  struct ext4_reader *fs;
  struct ext4_extents extents;
  uint8_t *bytes; /* the present block */
  uint32_t features, first, length;
  uint32_t at, sequence;
};

static uint32_t be32_at(const uint8_t *bytes)
{
  uint32_t value;
  memcpy(&value, bytes, sizeof value);
  return be32toh(value);
}

static size_t place_of(uint64_t key, const struct journal_block *table, size_t capacity,
                       uint64_t block)
{
  size_t place = (size_t)(block * key >> 32) & (capacity - 1);
  while (table[place].block != 0 && table[place].block != block + 1)
    place = (place + 1) & (capacity - 1);
  return place;
}

static int grow(struct ext4_reader *fs, struct journal_block **table, size_t count,
                size_t *capacity)
{
  if (count * 2 < *capacity) return 0;
  size_t larger = *capacity == 0 ? 256 : *capacity * 2;
  struct journal_block *next = calloc(larger, sizeof *next);
  if (next == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  for (size_t i = 0; i < *capacity; i++)
    if ((*table)[i].block != 0)
      next[place_of(fs->journal.key, next, larger, (*table)[i].block - 1)] = (*table)[i];
  free(*table);
  *table = next;
  *capacity = larger;
  return 0;
}

const struct journal_block *journal_find(const struct journal *journal, uint64_t block)
{
  if (journal->block_count == 0) return NULL;
  const struct journal_block *found =
      &journal->blocks[place_of(journal->key, journal->blocks, journal->block_capacity, block)];
  return found->block == 0 ? NULL : found;
}

void journal_release(struct journal *journal)
{
  free(journal->blocks);
  free(journal->revoked);
  *journal = (struct journal){0};
}

static int log_block(struct log *log, uint32_t number, uint64_t *block)
{
  const struct ext4_extent *extent = ext4_extent_of(&log->extents, number);
  if (extent == NULL) return ext4_error(log->fs, -EBADMSG, "its journal has a hole");
  *block = extent->start + (number - extent->logical);
  return 0;
}

static int read_log(struct log *log, uint32_t number)
{
  uint64_t block = 0;
  int result = log_block(log, number, &block);
  return result < 0 ? result : ext4_block(log->fs, block, log->bytes);
}

static void step(struct log *log)
{
  if (++log->at >= log->length) log->at = log->first;
}

static int set(struct ext4_reader *fs, struct journal_block **table, size_t *count,
               size_t *capacity, struct journal_block entry)
{
  int result = grow(fs, table, *count, capacity);
  if (result < 0) return result;
  struct journal_block *place = &(*table)[place_of(fs->journal.key, *table, *capacity, entry.block)];
  if (place->block == 0) ++*count;
  entry.block++;
  *place = entry;
  return 0;
}

static size_t tag_size(const struct log *log)
{
  if (log->features & HAS_CSUM_V3) return 16;
  return 8 + (log->features & HAS_CSUM_V2 ? 2 : 0) + (log->features & HAS_64BIT ? 4 : 0);
}

static size_t usable(const struct log *log)
{
  return log->fs->block_size - (log->features & (HAS_CSUM_V2 | HAS_CSUM_V3) ? 4 : 0);
}

/* A block that a descriptor names: the next one of the log is its content. */
static int add_tag(struct log *log, const uint8_t *tag, uint32_t flags, struct journal *into)
{
  struct journal_block entry = {.block = be32_at(tag), .sequence = log->sequence,
                                .escaped = flags & TAG_ESCAPED};
  if (log->features & HAS_CSUM_V3) entry.block |= (uint64_t)be32_at(tag + 8) << 32;
  else if (log->features & HAS_64BIT) entry.block |= (uint64_t)be32_at(tag + 8) << 32;
  int result = log_block(log, log->at, &entry.at);
  if (result < 0) return result;
  if (entry.block >= log->fs->block_count)
    return ext4_error(log->fs, -EBADMSG, "its journal names a block behind the end");
  return set(log->fs, &into->blocks, &into->block_count, &into->block_capacity, entry);
}

static int read_descriptor(struct log *log, struct journal *into, uint64_t *budget)
{
  size_t size = tag_size(log), at = 12;
  for (;;) {
    if (at + size > usable(log)) return 0;
    const uint8_t *tag = log->bytes + at;
    uint32_t flags = log->features & HAS_CSUM_V3 ? be32_at(tag + 4) : be32_at(tag + 4) & 0xffff;
    if ((*budget)-- == 0) return ext4_error(log->fs, -EBADMSG, "its journal never ends");
    int result = add_tag(log, tag, flags, into);
    if (result < 0) return result;
    step(log);
    at += size + (flags & TAG_SAME_UUID ? 0 : 16);
    if (flags & TAG_LAST) return 0;
  }
}

static int read_revoke(struct log *log, struct journal *into)
{
  size_t each = log->features & HAS_64BIT ? 8 : 4, end = be32_at(log->bytes + 12);
  if (end > usable(log)) return ext4_error(log->fs, -EBADMSG, "its journal can't be right");
  for (size_t at = 16; at + each <= end; at += each) {
    struct journal_block entry = {.block = be32_at(log->bytes + at), .sequence = log->sequence};
    if (each == 8) entry.block = entry.block << 32 | be32_at(log->bytes + at + 4);
    if (entry.block >= log->fs->block_count)
      return ext4_error(log->fs, -EBADMSG, "its journal names a block behind the end");
    int result = set(log->fs, &into->revoked, &into->revoked_count, &into->revoked_capacity, entry);
    if (result < 0) return result;
  }
  return 0;
}

/* Reads one transaction; 1 when it was finished, 0 when the log ends before. */
static int read_transaction(struct log *log, struct journal *into, uint64_t *budget)
{
  for (;;) {
    if ((*budget)-- == 0) return 0;
    int result = read_log(log, log->at);
    if (result < 0) return result;
    if (be32_at(log->bytes) != MAGIC || be32_at(log->bytes + 8) != log->sequence) return 0;
    uint32_t kind = be32_at(log->bytes + 4);
    step(log);
    if (kind == COMMIT) return 1;
    if (kind == DESCRIPTOR) result = read_descriptor(log, into, budget);
    else if (kind == REVOKE) result = read_revoke(log, into);
    else return 0;
    if (result < 0) return result;
  }
}

/* Takes over what a finished transaction says. */
static int merge(struct log *log, const struct journal *from)
{
  struct journal *to = &log->fs->journal;
  int result = 0;
  for (size_t i = 0; i < from->block_capacity && result == 0; i++) {
    struct journal_block entry = from->blocks[i];
    if (entry.block-- == 0) continue;
    result = set(log->fs, &to->blocks, &to->block_count, &to->block_capacity, entry);
  }
  for (size_t i = 0; i < from->revoked_capacity && result == 0; i++) {
    struct journal_block entry = from->revoked[i];
    if (entry.block-- == 0) continue;
    result = set(log->fs, &to->revoked, &to->revoked_count, &to->revoked_capacity, entry);
  }
  return result;
}

/* Takes out what was given back since: it may be somebody's data by now. */
static int without_revoked(struct log *log)
{
  struct journal *all = &log->fs->journal, kept = {.key = all->key};
  int result = 0;
  for (size_t i = 0; i < all->block_capacity && result == 0; i++) {
    struct journal_block entry = all->blocks[i];
    if (entry.block-- == 0) continue;
    if (all->revoked_count > 0) {
      const struct journal_block *gone =
          &all->revoked[place_of(all->key, all->revoked, all->revoked_capacity, entry.block)];
      if (gone->block != 0 && (int32_t)(gone->sequence - entry.sequence) >= 0) continue;
    }
    result = set(log->fs, &kept.blocks, &kept.block_count, &kept.block_capacity, entry);
  }
  journal_release(all);
  *all = kept;
  return result;
}

static int read_head(struct log *log)
{
  int result = read_log(log, 0);
  if (result < 0) return result;
  const uint8_t *head = log->bytes;
  uint32_t kind = be32_at(head + 4);
  if (be32_at(head) != MAGIC || (kind != 3 && kind != 4) ||
      be32_at(head + 12) != log->fs->block_size)
    return ext4_error(log->fs, -EBADMSG, "its journal isn't one");
  log->features = kind == 4 ? be32_at(head + 0x28) : 0;
  log->length = be32_at(head + 16);
  log->first = be32_at(head + 20);
  log->sequence = be32_at(head + 24);
  log->at = be32_at(head + 28);
  if (log->features & ~(uint32_t)KNOWN)
    return ext4_error(log->fs, -ENOTSUP, "its journal has features that hutch doesn't read");
  if (log->first == 0 || log->first >= log->length || log->length > MOST_BLOCKS ||
      log->length > log->fs->block_count ||
      (log->at != 0 && (log->at < log->first || log->at >= log->length)))
    return ext4_error(log->fs, -EBADMSG, "its journal's sizes can't be right");
  return 0;
}

static int read_all(struct log *log)
{
  uint64_t budget = log->length;
  int result = read_head(log);
  if (result < 0 || log->at == 0) return result; /* 0: it has nothing */
  budget = log->length;
  for (;;) {
    struct journal one = {0};
    result = read_transaction(log, &one, &budget);
    if (result == 1) result = merge(log, &one) < 0 ? -ENOMEM : 1;
    journal_release(&one);
    if (result != 1) break;
    log->sequence++;
  }
  return result < 0 ? result : without_revoked(log);
}

int journal_read(struct ext4_reader *fs)
{
  struct ext4_inode inode;
  struct log log = {.fs = fs};
  if (fs->journal_inode == 0) return 0;
  if (getrandom(&fs->journal.key, sizeof fs->journal.key, 0) != sizeof fs->journal.key)
    return ext4_error(fs, -errno, "no random number can be drawn");
  fs->journal.key |= 1;
  int result = ext4_inode(fs, fs->journal_inode, &inode);
  if (result == 0) result = ext4_map(fs, &inode, &log.extents);
  log.bytes = malloc(fs->block_size);
  if (result == 0 && log.bytes == NULL) result = ext4_error(fs, -ENOMEM, "out of memory");
  if (result == 0) result = read_all(&log);
  free(log.bytes);
  ext4_extents_release(&log.extents);
  /* What was kept was read without the journal. */
  for (size_t i = 0; i < EXT4_CACHE; i++) fs->cache[i].block = 0;
  return result;
}
