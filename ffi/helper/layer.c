/* Applies a layer's entries to the tree by the rules of the OCI image specification. */
#include "layer.h"

#include <errno.h>
#include <string.h>

#define WHITEOUT ".wh."
#define RESERVED ".wh..wh."
#define OPAQUE ".wh..opq" /* behind WHITEOUT */

static bool begins(struct text text, const char *prefix)
{
  return text.length >= strlen(prefix) && memcmp(text.bytes, prefix, strlen(prefix)) == 0;
}

static int hide_children(struct hutch_ext4 *fs, struct node *folder);

/* Hides what lower layers left at and below `node`. A lower folder that already holds entries of
 * this layer becomes one that they imply. Depth is limited by MAX_DEPTH. */
static int hide_lower(struct hutch_ext4 *fs, struct node *node)
{
  struct inode *inode = node->inode;
  int result = is_folder(node) ? hide_children(fs, node) : 0;
  if (result < 0 || node->layer == fs->layer) return result;
  if (!is_folder(node) || inode->first == NULL) return tree_remove(fs, node);
  inode_forget_attributes(fs, inode);
  inode->mode = S_IFDIR | 0755;
  inode->uid = inode->gid = inode->nanos = 0;
  inode->seconds = 0;
  node->layer = fs->layer;
  return 0;
}

/* Once is enough for a layer, since what comes later is its own: a layer that says it a million
 * times mustn't cost a million times a folder's size. */
static int hide_children(struct hutch_ext4 *fs, struct node *folder)
{
  struct inode *inode = folder->inode;
  if (inode->hidden == fs->layer) return 0;
  int result = 0;
  for (struct node *child = inode->first, *next; child != NULL && result == 0; child = next) {
    next = child->next;
    result = hide_lower(fs, child);
  }
  inode->hidden = fs->layer;
  return result;
}

/* `path` but for its last `hidden.length` bytes ends with the prefix alone: a name that is as long
 * as names can be has a whiteout that is longer. */
static int apply_whiteout(struct hutch_ext4 *fs, struct text path, struct text hidden)
{
  struct node *parent;
  struct text name;
  path.length -= hidden.length;
  int result = path_parent(fs, path, false, &parent, &name);
  if (result == -ENOENT) return 0; /* nothing there to hide */
  if (result < 0) return result;
  if (text_is(hidden, OPAQUE)) return hide_children(fs, parent);
  if (begins(hidden, WHITEOUT)) return 0; /* what aufs keeps for itself */
  if (hidden.length == 0 || text_is(hidden, ".") || text_is(hidden, ".."))
    return image_error(fs, -EBADMSG, "it is a whiteout of no name");
  if (hidden.length > MAX_NAME || memchr(hidden.bytes, 0, hidden.length) != NULL)
    return image_error(fs, -EBADMSG, "it is a whiteout of what is no name");
  struct node *node = tree_find(&fs->tree, parent, hidden);
  return node == NULL ? 0 : hide_lower(fs, node);
}

static void set_attributes(struct hutch_ext4 *fs, struct inode *inode, const struct entry *entry,
                           struct extension *extension)
{
  uint32_t mode = S_ISLNK(inode->mode) ? 0777 : entry->mode; /* as the kernel makes them */
  inode->mode = (uint16_t)((inode->mode & S_IFMT) | mode);
  inode->uid = entry->uid;
  inode->gid = entry->gid;
  inode->seconds = entry->seconds;
  inode->nanos = entry->nanos;
  inode_forget_attributes(fs, inode);
  inode->attributes = extension->attributes;
  extension->attributes = NULL;
}

int symlink_set(struct hutch_ext4 *fs, struct inode *inode, struct text target)
{
  if (target.length == 0 || target.length >= BLOCK_SIZE)
    return image_error(fs, -EBADMSG, "its target has %zu bytes", target.length);
  if (memchr(target.bytes, 0, target.length) != NULL)
    return image_error(fs, -EBADMSG, "its target has a zero byte");
  inode->target = image_take(fs, target.length + 1);
  if (inode->target == NULL) return fs->code;
  memcpy(inode->target, target.bytes, target.length);
  inode->size = target.length;
  if (target.length < 60) return 0; /* fits in the inode */
  struct range map = {0, target.length};
  int result = data_allocate(fs, inode, &map, 1);
  if (result < 0) return result;
  struct writer writer;
  data_begin(&writer, inode);
  result = data_write(fs, &writer, 0, (const uint8_t *)inode->target, target.length);
  return result < 0 ? result : data_end(fs, &writer);
}

static int apply_link(struct hutch_ext4 *fs, const struct entry *entry, struct node *parent,
                      struct text name)
{
  struct node *folder;
  struct text target_name;
  int result = path_parent(fs, entry->link, false, &folder, &target_name);
  struct node *target = NULL;
  if (result == 0 && target_name.length > 0) target = tree_find(&fs->tree, folder, target_name);
  if (result < 0 && result != -ENOENT) return result;
  if (target == NULL)
    return image_error(fs, -EBADMSG, "it is a hard link to \"%s\", which isn't there",
                       quote(entry->link).text);
  if (is_folder(target)) return image_error(fs, -EBADMSG, "it is a hard link to a folder");
  struct inode *inode = target->inode;
  if (inode->links >= MAX_LINKS)
    return image_error(fs, -EBADMSG, "it has over %u hard links", MAX_LINKS);
  struct node *existing = tree_find(&fs->tree, parent, name);
  if (existing != NULL && existing->inode == inode) {
    existing->layer = fs->layer;
    return 0;
  }
  inode->links++; /* the name to replace may be a folder with the target's only name in it */
  result = existing == NULL ? 0 : tree_remove(fs, existing);
  if (inode->links == 1 && result == 0) {
    inode_drop(fs, inode);
    return image_error(fs, -EBADMSG, "it is a hard link into what it replaces");
  }
  inode->links--;
  if (result < 0) return result;
  return tree_add(fs, parent, name, inode, 0) == NULL ? fs->code : 0;
}

static uint32_t format_of(char type)
{
  switch (type) {
  case '2': return S_IFLNK;
  case '3': return S_IFCHR;
  case '4': return S_IFBLK;
  case '5': return S_IFDIR;
  case '6': return S_IFIFO;
  default: return S_IFREG;
  }
}

static int fill_inode(struct hutch_ext4 *fs, const struct entry *entry, struct inode *inode,
                      struct writer *writer)
{
  if (entry->type == '2') return symlink_set(fs, inode, entry->link);
  if (entry->type == '3' || entry->type == '4') {
    inode->major = entry->major;
    inode->minor = entry->minor;
  }
  if (entry->type != '0') return 0;
  inode->size = entry->size;
  data_begin(writer, inode);
  return data_allocate(fs, inode, entry->map, entry->map_count);
}

static int apply_node(struct hutch_ext4 *fs, struct entry *entry, struct extension *extension,
                      struct writer *writer, struct node *parent, struct text name)
{
  struct node *node = tree_find(&fs->tree, parent, name);
  if (node != NULL && is_folder(node) && entry->type == '5') {
    set_attributes(fs, node->inode, entry, extension);
    node->layer = fs->layer;
    return 0;
  }
  int result = node == NULL ? 0 : tree_remove(fs, node);
  if (result < 0) return result;
  node = tree_add(fs, parent, name, NULL, format_of(entry->type));
  if (node == NULL) return fs->code;
  set_attributes(fs, node->inode, entry, extension);
  return fill_inode(fs, entry, node->inode, writer);
}

/* Whether a name on the way is reserved for whiteouts. */
static bool reserved_on_the_way(struct text path, const char *prefix)
{
  for (size_t at = 0; at < path.length;) {
    while (at < path.length && path.bytes[at] == '/') at++;
    struct text rest = {path.bytes + at, path.length - at};
    const char *slash = memchr(rest.bytes, '/', rest.length);
    if (slash == NULL) return false;
    if (begins(rest, prefix)) return true;
    at += (size_t)(slash - rest.bytes);
  }
  return false;
}

int layer_apply(struct hutch_ext4 *fs, struct entry *entry, struct extension *extension,
                struct writer *writer)
{
  writer->inode = NULL;
  if (++fs->entries > fs->options.max_entries)
    return image_error(fs, -EFBIG, "the image has over %llu entries",
                       (unsigned long long)fs->options.max_entries);
  struct text path = entry->path;
  while (path.length > 0 && path.bytes[path.length - 1] == '/') path.length--;
  if (reserved_on_the_way(path, RESERVED)) return 0;
  if (reserved_on_the_way(path, WHITEOUT))
    return image_error(fs, -EBADMSG, "a folder in its path has a whiteout's name");
  size_t base = path.length;
  while (base > 0 && path.bytes[base - 1] != '/') base--;
  struct text last = {path.bytes + base, path.length - base};
  if (begins(last, WHITEOUT)) {
    last.bytes += strlen(WHITEOUT), last.length -= strlen(WHITEOUT);
    return apply_whiteout(fs, path, last);
  }
  struct node *parent;
  struct text name;
  int result = path_parent(fs, path, true, &parent, &name);
  if (result < 0) return result;
  if (name.length == 0) {
    if (entry->type != '5') return image_error(fs, -EBADMSG, "the root must be a folder");
    set_attributes(fs, parent->inode, entry, extension);
    return 0;
  }
  if (entry->type == '1') return apply_link(fs, entry, parent, name);
  return apply_node(fs, entry, extension, writer, parent, name);
}
