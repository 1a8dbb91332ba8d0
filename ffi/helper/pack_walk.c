/* The folders on the way, the files with several names, and what was met. See pack.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare_names(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct hutch_pack *pack, struct pack_folder *folder, const char *name,
                    size_t *capacity)
{
  if (folder->count == pack->options.max_entries)
    return pack_entry_error(pack, -EFBIG, "it has too many names");
  if (folder->count == *capacity) {
    size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
    char **grown = realloc(folder->names, wanted * sizeof *grown);
    if (grown == NULL) return pack_error(pack, -ENOMEM, "out of memory");
    folder->names = grown;
    *capacity = wanted;
  }
  folder->names[folder->count] = strdup(name);
  if (folder->names[folder->count] == NULL) return pack_error(pack, -ENOMEM, "out of memory");
  folder->count++;
  return 0;
}

static int read_names(struct hutch_pack *pack, struct pack_folder *folder)
{
  int fd = dup(folder->fd);
  DIR *names = fd < 0 ? NULL : fdopendir(fd);
  if (names == NULL) {
    int number = errno;
    if (fd >= 0) close(fd);
    return pack_entry_error(pack, -number, strerror(number));
  }
  int result = 0;
  size_t capacity = 0;
  for (struct dirent *entry; result == 0;) {
    errno = 0;
    if ((entry = readdir(names)) == NULL) {
      if (errno != 0) result = pack_entry_error(pack, -errno, strerror(errno));
      break;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    result = add_name(pack, folder, entry->d_name, &capacity);
  }
  closedir(names);
  if (folder->count > 0) qsort(folder->names, folder->count, sizeof *folder->names, compare_names);
  return result;
}

int pack_enter(struct hutch_pack *pack, int fd)
{
  if (pack->depth == PACK_MAX_DEPTH) {
    close(fd);
    return pack_entry_error(pack, -EFBIG, "it is more than 256 folders deep");
  }
  struct pack_folder *folder = &pack->stack[pack->depth++];
  *folder = (struct pack_folder){.fd = fd};
  if (pack->path_length > 0) {
    if (pack->path_length + 2 > sizeof pack->path)
      return pack_entry_error(pack, -EILSEQ, "its path is too long");
    folder->path_length = pack->path_length + 1;
  }
  return read_names(pack, folder);
}

void pack_leave(struct hutch_pack *pack)
{
  struct pack_folder *folder = &pack->stack[--pack->depth];
  for (size_t i = 0; i < folder->count; i++) free(folder->names[i]);
  free(folder->names);
  close(folder->fd);
}

int pack_parent(const struct hutch_pack *pack, const char **name)
{
  const struct pack_folder *folder = &pack->stack[pack->depth - 1];
  *name = folder->names[folder->next - 1];
  return folder->fd;
}

/* ---- files with several names ---------------------------------------------------------------- */

static struct pack_link *place_of(struct pack_link *links, size_t capacity,
                                  const struct pack_link *wanted)
{
  uint64_t hash = (wanted->inode ^ ((uint64_t)wanted->major << 48) ^ ((uint64_t)wanted->minor << 32)) *
                  UINT64_C(0x9e3779b97f4a7c15);
  for (size_t at = (size_t)(hash >> 20);; at++) {
    struct pack_link *link = &links[at & (capacity - 1)];
    bool same = link->path != NULL && link->inode == wanted->inode && link->major == wanted->major &&
                link->minor == wanted->minor;
    if (link->path == NULL || same) return link;
  }
}

static int grow_links(struct hutch_pack *pack)
{
  size_t capacity = pack->link_capacity == 0 ? 256 : pack->link_capacity * 2;
  struct pack_link *links = calloc(capacity, sizeof *links);
  if (links == NULL) return pack_error(pack, -ENOMEM, "out of memory");
  for (size_t i = 0; i < pack->link_capacity; i++)
    if (pack->links[i].path != NULL) *place_of(links, capacity, &pack->links[i]) = pack->links[i];
  free(pack->links);
  pack->links = links;
  pack->link_capacity = capacity;
  return 0;
}

int pack_known(struct hutch_pack *pack, const struct statx *status, const char **path)
{
  if (pack->link_count * 2 >= pack->link_capacity) {
    int result = grow_links(pack);
    if (result < 0) return result;
  }
  struct pack_link wanted = {.inode = status->stx_ino, .major = status->stx_dev_major,
                             .minor = status->stx_dev_minor};
  struct pack_link *link = place_of(pack->links, pack->link_capacity, &wanted);
  *path = link->path;
  if (link->path != NULL) return 0;
  wanted.path = strdup(pack->path);
  if (wanted.path == NULL) return pack_error(pack, -ENOMEM, "out of memory");
  *link = wanted;
  pack->link_count++;
  return 0;
}

/* ---- what was met ---------------------------------------------------------------------------- */

int pack_mark(struct hutch_pack *pack)
{
  struct pack_marks *marks = pack->marks;
  uint32_t mark = 2166136261u; /* FNV-1a: it is for noticing, the digest is for proving */
  for (size_t i = 0; i < pack->head.length; i++)
    mark = (mark ^ (unsigned char)pack->head.bytes[i]) * 16777619u;
  size_t at = marks->count;
  const struct pack_marks *earlier = pack->earlier;
  if (earlier != NULL && (at >= earlier->count || earlier->values[at] != mark))
    return pack_entry_error(pack, -ESTALE, "it isn't what it was a moment ago");
  if (at == pack->options.max_entries)
    return pack_error(pack, -EFBIG, "it has over %llu entries",
                      (unsigned long long)pack->options.max_entries);
  if (at == marks->capacity) {
    size_t capacity = at == 0 ? 1024 : at * 2;
    uint32_t *grown = realloc(marks->values, capacity * sizeof *grown);
    if (grown == NULL) return pack_error(pack, -ENOMEM, "out of memory");
    marks->values = grown;
    marks->capacity = capacity;
  }
  marks->values[marks->count++] = mark;
  return 0;
}
