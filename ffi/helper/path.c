/* From a path to its folder, the way a program inside the image would see it. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SYMLINKS 40
/* Of one path, its symlinks' targets included: what bounds the time that a short entry can cost. */
#define MAX_STEPS 4096

/* What is left of a path, with the symlinks on the way already put in. */
struct walk {
  struct hutch_ext4 *fs;
  char *bytes; /* own memory once a symlink was met, else NULL */
  const char *rest;
  size_t length;
  int symlinks, steps;
  bool make;
};

static struct text next_component(struct walk *walk)
{
  while (walk->length > 0 && *walk->rest == '/') walk->rest++, walk->length--;
  size_t length = 0;
  while (length < walk->length && walk->rest[length] != '/') length++;
  struct text component = {walk->rest, length};
  walk->rest += length;
  walk->length -= length;
  while (walk->length > 0 && *walk->rest == '/') walk->rest++, walk->length--;
  return component;
}

static bool is_text(struct text text, const char *other)
{
  return text.length == strlen(other) && memcmp(text.bytes, other, text.length) == 0;
}

/* Puts the symlink's target in front of what is left. */
static int follow(struct walk *walk, const struct node *link)
{
  size_t target = (size_t)link->inode->size;
  size_t length = target + 1 + walk->length;
  if (++walk->symlinks > MAX_SYMLINKS || length > MAX_PATH * 2)
    return image_error(walk->fs, -EBADMSG, "too many symbolic links in its path");
  char *bytes = malloc(length);
  if (bytes == NULL) return image_error(walk->fs, -ENOMEM, "out of memory");
  memcpy(bytes, link->inode->target, target);
  bytes[target] = '/';
  memcpy(bytes + target + 1, walk->rest, walk->length);
  free(walk->bytes);
  walk->bytes = bytes;
  walk->rest = bytes;
  walk->length = length;
  return 0;
}

/* One step down from *at; a symlink only changes what is left. */
static int step(struct walk *walk, struct node **at, struct text component)
{
  struct hutch_ext4 *fs = walk->fs;
  if (++walk->steps > MAX_STEPS)
    return image_error(fs, -EBADMSG, "its path has over %u steps", MAX_STEPS);
  if (component.length == 0 || is_text(component, ".")) return 0;
  if (is_text(component, "..")) {
    *at = (*at)->parent;
    return 0;
  }
  if (component.length > MAX_NAME)
    return image_error(fs, -EBADMSG, "a name in its path is longer than %u bytes", MAX_NAME);
  struct node *node = tree_find(&fs->tree, *at, component);
  if (node == NULL && !walk->make) return -ENOENT;
  if (node == NULL) node = tree_add(fs, *at, component, NULL, S_IFDIR | 0755);
  if (node == NULL) return fs->code;
  if (is_symlink(node)) {
    int result = follow(walk, node);
    if (result == 0 && *walk->rest == '/') *at = fs->tree.root;
    return result;
  }
  if (!is_folder(node)) {
    if (!walk->make) return -ENOENT;
    return image_error(fs, -EBADMSG, "\"%s\" in its path is no folder", quote(component).text);
  }
  *at = node;
  return 0;
}

/* The path's own components must be plain names; only targets of symlinks may climb. */
static int check_path(struct hutch_ext4 *fs, struct text path)
{
  if (path.length > MAX_PATH)
    return image_error(fs, -EBADMSG, "its path is longer than %u bytes", MAX_PATH);
  if (memchr(path.bytes, 0, path.length) != NULL)
    return image_error(fs, -EBADMSG, "its path has a zero byte");
  struct walk walk = {.rest = path.bytes, .length = path.length};
  while (walk.length > 0) {
    struct text component = next_component(&walk);
    if (is_text(component, ".."))
      return image_error(fs, -EBADMSG, "its path has a \"..\" component");
    if (component.length > MAX_NAME)
      return image_error(fs, -EBADMSG, "a name in its path is longer than %u bytes", MAX_NAME);
  }
  return 0;
}

/* Takes off what doesn't name anything: slashes and dots at both ends. */
static struct text trim(struct text path)
{
  for (;;) {
    if (path.length > 0 && path.bytes[0] == '/') path.bytes++, path.length--;
    else if (path.length > 1 && memcmp(path.bytes, "./", 2) == 0) path.bytes += 2, path.length -= 2;
    else if (is_text(path, ".")) path.length = 0;
    else if (path.length > 0 && path.bytes[path.length - 1] == '/') path.length--;
    else if (path.length > 1 && memcmp(path.bytes + path.length - 2, "/.", 2) == 0) path.length--;
    else return path;
  }
}

int path_parent(struct hutch_ext4 *fs, struct text path, bool make, struct node **parent,
                struct text *name)
{
  int result = check_path(fs, path);
  if (result < 0) return result;
  path = trim(path);
  size_t length = path.length;
  while (length > 0 && path.bytes[length - 1] != '/') length--;
  *name = (struct text){path.bytes + length, path.length - length};
  *parent = fs->tree.root;
  struct walk walk = {.fs = fs, .rest = path.bytes, .length = length, .make = make};
  while (result == 0 && walk.length > 0) result = step(&walk, parent, next_component(&walk));
  free(walk.bytes);
  return result;
}
