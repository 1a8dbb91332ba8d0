/* From a tar to files, piece by piece. See copy.h. */
#define _GNU_SOURCE 1
#include "unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct copy_unpack *copy_unpack_open(const char *destination, const char *name,
                                     const struct copy_unpack_options *options)
{
  struct copy_unpack *unpack = calloc(1, sizeof *unpack);
  if (unpack == NULL) return NULL;
  unpack->flags = options->flags;
  unpack->owner = options->owner;
  unpack->max_bytes = options->max_bytes;
  unpack->max_entries = options->max_entries;
  unpack->file = -1;
  unpack->destination = strdup(destination);
  unpack->name = strdup(name);
  copy_reader_init(&unpack->reader, &unpack->failure);
  if (unpack->destination != NULL && unpack->name != NULL) return unpack;
  copy_unpack_close(unpack);
  return NULL;
}

static int count(struct copy_unpack *unpack, const struct copy_entry *entry)
{
  if (unpack->max_entries > 0 && unpack->entries >= unpack->max_entries)
    return copy_fail(&unpack->failure, EFBIG, "", "it has more than %llu entries", (unsigned long long)unpack->max_entries);
  if (unpack->max_bytes > 0 && entry->size > unpack->max_bytes - unpack->promised)
    return copy_fail(&unpack->failure, EFBIG, "", "its files have more than %llu bytes", (unsigned long long)unpack->max_bytes);
  unpack->entries++;
  unpack->promised += entry->size;
  return 0;
}

static bool is_top(const char *path)
{
  return strcmp(path, ".") == 0 || strcmp(path, "./") == 0;
}

/* The first entry decides where a tree goes. */
static int begin(struct copy_unpack *unpack, const struct copy_entry *entry)
{
  bool folder = entry->type == '5';
  if (!(unpack->flags & COPY_ARCHIVE)) {
    if (!is_top(entry->path) || entry->type == '1') return copy_unpack_error(unpack, EBADMSG, "the stream isn't of one tree");
    unpack->top_only = !folder;
  }
  unpack->begun = true;
  return copy_base_open(unpack, folder);
}

static bool is_refused(const struct copy_unpack *unpack)
{
  size_t length = strlen(unpack->refused);
  return length > 0 && strncmp(unpack->path, unpack->refused, length) == 0 &&
         (unpack->path[length] == '/' || unpack->path[length] == '\0');
}

static int on_entry(struct copy_unpack *unpack)
{
  const struct copy_entry *entry = &unpack->reader.entry;
  int result = count(unpack, entry);
  bool top = !unpack->begun;
  if (result == 0 && top) result = begin(unpack, entry);
  else if (result == 0 && (unpack->top_only || (!(unpack->flags & COPY_ARCHIVE) && is_top(entry->path))))
    result = copy_unpack_error(unpack, EBADMSG, "the stream isn't of one tree");
  if (result == 0) result = copy_path_clean(unpack, entry->path, unpack->path);
  if (result < 0) return result;
  if (is_refused(unpack)) return 0;
  if (unpack->flags & COPY_ASK && (!top || unpack->flags & COPY_ARCHIVE)) {
    unpack->asking = true;
    return 0;
  }
  return copy_place(unpack, entry);
}

static int on_data(struct copy_unpack *unpack)
{
  const uint8_t *bytes = unpack->reader.data;
  size_t length = unpack->reader.data_length;
  while (length > 0 && unpack->file >= 0) {
    ssize_t put = write(unpack->file, bytes, length);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return copy_unpack_error(unpack, errno, "write the file");
    bytes += put;
    length -= (size_t)put;
    unpack->bytes += (uint64_t)put;
  }
  return 0;
}

static bool stops(const struct copy_unpack *unpack)
{
  return unpack->flags & COPY_STOP_LARGE && unpack->file >= 0 && copy_reader_left(&unpack->reader) >= COPY_LARGE;
}

int64_t copy_unpack_push(struct copy_unpack *unpack, const uint8_t *bytes, size_t length)
{
  size_t done = 0;
  if (unpack->failure.code != 0) return -unpack->failure.code;
  while (!unpack->asking) {
    size_t used;
    int event = copy_reader_step(&unpack->reader, bytes + done, length - done, &used);
    done += used;
    int result = event < 0 ? event
                 : event == COPY_ENTRY ? on_entry(unpack)
                 : event == COPY_DATA ? on_data(unpack)
                 : event == COPY_END ? copy_file_end(unpack)
                                     : 0;
    if (result < 0) {
      copy_file_drop(unpack);
      return result;
    }
    if (event == COPY_MORE || (event == COPY_ENTRY && stops(unpack))) break;
  }
  return (int64_t)done;
}

const struct copy_entry *copy_unpack_asks(const struct copy_unpack *unpack)
{
  return unpack->asking ? &unpack->reader.entry : NULL;
}

void copy_unpack_answer(struct copy_unpack *unpack, bool take)
{
  if (!unpack->asking) return;
  unpack->asking = false;
  if (take) copy_place(unpack, &unpack->reader.entry); /* a failure shows with the next push */
  else if (unpack->reader.entry.type == '5') memcpy(unpack->refused, unpack->path, sizeof unpack->path);
}

int copy_unpack_finish(struct copy_unpack *unpack)
{
  if (unpack->failure.code == 0 && !copy_reader_whole(&unpack->reader))
    copy_fail(&unpack->failure, EBADMSG, copy_shown(unpack, unpack->path), "the stream ended in the middle");
  if (unpack->failure.code == 0 && !unpack->begun && !(unpack->flags & COPY_ARCHIVE))
    copy_fail(&unpack->failure, EBADMSG, "", "the stream is empty");
  if (unpack->failure.code == 0) copy_folders_leave(unpack, NULL);
  else copy_file_drop(unpack); /* whoever hears of it may be gone: nothing is left for later */
  return -unpack->failure.code;
}

void copy_unpack_close(struct copy_unpack *unpack)
{
  if (unpack == NULL) return;
  copy_file_drop(unpack);
  copy_folders_leave(unpack, NULL);
  if (unpack->depth > 0) close(unpack->levels[0].fd);
  copy_reader_free(&unpack->reader);
  free(unpack->made.slots);
  free(unpack->destination);
  free(unpack->name);
  free(unpack);
}

const struct copy_failure *copy_unpack_failure(const struct copy_unpack *unpack)
{
  return &unpack->failure;
}

uint64_t copy_unpack_entries(const struct copy_unpack *unpack)
{
  return unpack->entries;
}

uint64_t copy_unpack_bytes(const struct copy_unpack *unpack)
{
  return unpack->bytes;
}

const char *copy_unpack_path(const struct copy_unpack *unpack)
{
  return copy_shown(unpack, unpack->path);
}

int copy_unpack_file(const struct copy_unpack *unpack, uint64_t *left)
{
  *left = copy_reader_left(&unpack->reader);
  return *left > 0 ? unpack->file : -1;
}

void copy_unpack_moved(struct copy_unpack *unpack, uint64_t count)
{
  copy_reader_took(&unpack->reader, count);
  unpack->bytes += count;
}
