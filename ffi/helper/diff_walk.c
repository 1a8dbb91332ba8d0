/* Goes through both trees side by side. See diff.h. */
#define _GNU_SOURCE 1
#include "diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const WRITTEN_AT_STARTS[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};

static int disk_error(hutch_diff *diff, int code)
{
  return diff_path_error(diff, code, diff->disk.error);
}

static int add_item(hutch_diff *diff, const char *path, enum diff_kind kind, uint32_t inode,
                    size_t first)
{
  if (diff->item_count == diff->item_capacity) {
    size_t capacity = diff->item_capacity * 2 + 64;
    struct diff_item *items = realloc(diff->items, capacity * sizeof *items);
    if (items == NULL) return diff_error(diff, -ENOMEM, "out of memory");
    diff->items = items;
    diff->item_capacity = capacity;
  }
  char *copy = strdup(path);
  if (copy == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  diff->items[diff->item_count++] =
      (struct diff_item){.path = copy, .inode = inode, .first = first, .kind = kind};
  return 0;
}

/* The folders that lead to something come first: who unpacks the layer alone makes them as they are. */
static int take_folders(hutch_diff *diff)
{
  char path[PACK_MAX_PATH];
  for (size_t i = 1; i < diff->depth; i++) {
    struct diff_folder *folder = &diff->stack[i];
    if (folder->taken) continue;
    memcpy(path, diff->path, folder->path_length);
    path[folder->path_length] = 0;
    int result = add_item(diff, path, DIFF_ENTRY, folder->inode, 0);
    if (result < 0) return result;
    folder->taken = true;
  }
  return 0;
}

static int take(hutch_diff *diff, enum diff_kind kind, uint32_t inode, size_t first)
{
  if (!diff->taking) return 0;
  int result = take_folders(diff);
  return result < 0 ? result : add_item(diff, diff->path, kind, inode, first);
}

/* Something beside the present path, in the same folder: a mark. */
static int take_mark(hutch_diff *diff, const char *mark, const char *name, enum diff_kind kind)
{
  char kept[PACK_MAX_PATH];
  size_t folder = diff->path_length - strlen(name);
  if (!diff->taking) return 0;
  if (folder + strlen(mark) + strlen(name) + 1 > sizeof diff->path)
    return diff_path_error(diff, -EILSEQ, "its path is too long");
  strcpy(kept, diff->path);
  diff->path[folder] = 0;
  strcat(strcat(diff->path, mark), name);
  int result = take(diff, kind, 0, 0);
  strcpy(diff->path, kept);
  diff->whiteouts++;
  return result;
}

static struct diff_file *file_of(hutch_diff *diff, uint32_t inode)
{
  if (diff->file_count * 2 >= diff->file_capacity) {
    size_t capacity = diff->file_capacity == 0 ? 256 : diff->file_capacity * 2;
    struct diff_file *files = calloc(capacity, sizeof *files);
    if (files == NULL) return NULL;
    for (size_t i = 0; i < diff->file_capacity; i++) {
      if (diff->files[i].inode == 0) continue;
      size_t place = diff->files[i].inode * UINT32_C(2654435761) & (capacity - 1);
      while (files[place].inode != 0) place = (place + 1) & (capacity - 1);
      files[place] = diff->files[i];
    }
    free(diff->files);
    diff->files = files;
    diff->file_capacity = capacity;
  }
  size_t place = inode * UINT32_C(2654435761) & (diff->file_capacity - 1);
  while (diff->files[place].inode != 0 && diff->files[place].inode != inode)
    place = (place + 1) & (diff->file_capacity - 1);
  if (diff->files[place].inode == 0) {
    diff->files[place].inode = inode;
    diff->file_count++;
  }
  return &diff->files[place];
}

/* One of several names of a file: all of them come, or none. Who unpacks the layer alone has no other
 * file to link to. */
static int take_name(hutch_diff *diff, const struct ext4_inode *inode, bool same)
{
  struct diff_file *file = file_of(diff, inode->number);
  if (file == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  if (!same) file->changed = true;
  if (!diff->taking || !file->changed) return 0;
  enum diff_kind kind = file->taken ? DIFF_LINK : DIFF_ENTRY;
  int result = take(diff, kind, inode->number, file->item);
  if (result < 0 || file->taken) return result;
  file->taken = true;
  file->item = diff->item_count - 1;
  return 0;
}

static int enter(hutch_diff *diff, const struct ext4_inode *inode, const struct ext4_inode *base,
                 bool taken)
{
  if (diff->depth == DIFF_MAX_DEPTH) return diff_path_error(diff, -EFBIG, "it is too deep");
  struct diff_folder *folder = &diff->stack[diff->depth];
  *folder = (struct diff_folder){.path_length = diff->path_length, .inode = inode->number,
                                 .in_base = base != NULL, .taken = taken};
  diff->depth++;
  size_t most = (size_t)(diff->max_entries - diff->seen);
  int result = ext4_list(&diff->disk, inode, most, &folder->names);
  if (result < 0) return disk_error(diff, result);
  diff->seen += folder->names.count;
  if (base == NULL) return 0;
  result = ext4_list(&diff->base, base, DIFF_MAX_ENTRIES, &folder->base_names);
  return result < 0 ? diff_path_error(diff, result, diff->base.error) : 0;
}

static void leave(hutch_diff *diff)
{
  struct diff_folder *folder = &diff->stack[--diff->depth];
  ext4_names_release(&folder->names);
  ext4_names_release(&folder->base_names);
}

static int compare_folder(hutch_diff *diff, const struct ext4_inode *inode,
                          const struct ext4_inode *base)
{
  bool was_folder = base != NULL && S_ISDIR(base->mode);
  /* Another one by this name has nothing of what the old one had. */
  bool renewed = was_folder &&
                 (inode->number != base->number || inode->generation != base->generation);
  int same = was_folder ? diff_same(diff, inode, base) : 0;
  if (same < 0) return disk_error(diff, same);
  bool changed = !same || renewed;
  int result = changed ? take(diff, DIFF_ENTRY, inode->number, 0) : 0;
  if (result == 0) result = enter(diff, inode, was_folder && !renewed ? base : NULL, changed);
  if (result < 0 || !renewed || !diff->taking) return result;
  char opaque[] = "/.wh..wh..opq";
  if (diff->path_length + sizeof opaque > sizeof diff->path)
    return diff_path_error(diff, -EILSEQ, "its path is too long");
  strcpy(diff->path + diff->path_length, opaque);
  result = add_item(diff, diff->path, DIFF_OPAQUE, 0, 0);
  diff->path[diff->path_length] = 0;
  diff->whiteouts++;
  return result;
}

static int compare_entry(hutch_diff *diff, const struct ext4_inode *inode,
                         const struct ext4_inode *base)
{
  uint32_t kind = inode->mode & S_IFMT;
  if (kind == S_IFDIR) return compare_folder(diff, inode, base);
  int same = base != NULL ? diff_same(diff, inode, base) : 0;
  if (same < 0) return disk_error(diff, same);
  if (kind == S_IFSOCK) {
    if (!diff->taking) diff->sockets++;
    return 0;
  }
  if (inode->links > 1) return take_name(diff, inode, same);
  return same ? 0 : take(diff, DIFF_ENTRY, inode->number, 0);
}

static bool is_left_out(const hutch_diff *diff, const char *name)
{
  for (size_t i = 0; i < sizeof WRITTEN_AT_STARTS / sizeof *WRITTEN_AT_STARTS; i++)
    if (strcmp(diff->path, WRITTEN_AT_STARTS[i]) == 0) return true;
  return diff->depth == 1 && strcmp(name, "lost+found") == 0;
}

/* Makes the path of a name in the uppermost folder. */
static int set_path(hutch_diff *diff, const char *name)
{
  const struct diff_folder *folder = &diff->stack[diff->depth - 1];
  size_t at = folder->path_length, length = strlen(name);
  if (at + length + 2 > sizeof diff->path)
    return diff_path_error(diff, -EILSEQ, "a path below it is too long");
  if (at > 0) diff->path[at++] = '/';
  memcpy(diff->path + at, name, length + 1);
  diff->path_length = at + length;
  return 0;
}

/* The next name of the uppermost folder: on the disk, in the base, or in both. */
static int next_name(hutch_diff *diff, struct diff_folder *folder)
{
  const struct ext4_name *name = folder->next < folder->names.count
                                     ? &folder->names.list[folder->next] : NULL;
  const struct ext4_name *base = folder->base_next < folder->base_names.count
                                     ? &folder->base_names.list[folder->base_next] : NULL;
  int order = name == NULL ? 1 : base == NULL ? -1 : strcmp(name->name, base->name);
  if (order <= 0) folder->next++;
  if (order >= 0) folder->base_next++;
  const char *text = order <= 0 ? name->name : base->name;
  int result = set_path(diff, text);
  if (result < 0 || is_left_out(diff, text)) return result;
  if (strncmp(text, ".wh.", 4) == 0)
    return diff_path_error(diff, -EILSEQ, "a layer can't hold a name that begins with .wh.");
  if (order > 0) return take_mark(diff, ".wh.", text, DIFF_WHITEOUT);
  struct ext4_inode inode, base_inode;
  result = ext4_inode(&diff->disk, name->inode, &inode);
  if (result < 0) return disk_error(diff, result);
  if (order < 0) return compare_entry(diff, &inode, NULL);
  result = ext4_inode(&diff->base, base->inode, &base_inode);
  if (result < 0) return diff_path_error(diff, result, diff->base.error);
  return compare_entry(diff, &inode, &base_inode);
}

static int walk(hutch_diff *diff)
{
  struct ext4_inode root, base;
  diff->seen = diff->path_length = 0;
  diff->path[0] = 0;
  int result = ext4_inode(&diff->disk, EXT4_ROOT, &root);
  if (result < 0) return disk_error(diff, result);
  if (diff->has_base) result = ext4_inode(&diff->base, EXT4_ROOT, &base);
  if (result < 0) return diff_path_error(diff, result, diff->base.error);
  if (!S_ISDIR(root.mode)) return diff_error(diff, -EBADMSG, "its root isn't a folder");
  /* The root's own time says nothing: it changes with each start. */
  base.seconds = root.seconds;
  base.nanos = root.nanos;
  int same = diff->has_base ? diff_same(diff, &root, &base) : 0;
  if (same < 0) return disk_error(diff, same);
  if (!same && diff->taking) result = add_item(diff, "", DIFF_ENTRY, EXT4_ROOT, 0);
  if (result == 0) result = enter(diff, &root, diff->has_base ? &base : NULL, true);
  while (result == 0 && diff->depth > 0) {
    struct diff_folder *folder = &diff->stack[diff->depth - 1];
    result = diff_go_on(diff);
    if (result < 0) break;
    if (folder->next == folder->names.count && folder->base_next == folder->base_names.count)
      leave(diff);
    else result = next_name(diff, folder);
  }
  while (diff->depth > 0) leave(diff);
  return result;
}

int diff_walk(hutch_diff *diff)
{
  diff->stack = calloc(DIFF_MAX_DEPTH, sizeof *diff->stack);
  if (diff->stack == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  int result = walk(diff); /* which files with several names changed */
  diff->taking = true;
  return result < 0 ? result : walk(diff);
}
