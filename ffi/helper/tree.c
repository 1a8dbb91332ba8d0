/* Names and inodes in memory. One hash table over (folder, name) finds any of them at once,
 * however many a folder holds; the order in folders is that of their coming. */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_BUCKETS 1024u

static uint64_t rotate(uint64_t value, int bits)
{
  return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
  v[0] += v[1], v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1], v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 of the parent's address and the name. */
static uint64_t hash_of(const struct tree *tree, const struct node *parent, struct text name)
{
  uint64_t v[4] = {tree->key[0] ^ UINT64_C(0x736f6d6570736575),
                   tree->key[1] ^ UINT64_C(0x646f72616e646f6d),
                   tree->key[0] ^ UINT64_C(0x6c7967656e657261),
                   tree->key[1] ^ UINT64_C(0x7465646279746573)};
  uint64_t word = (uintptr_t)parent;
  for (size_t at = 0;; at += 8) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    if (at >= name.length) break;
    size_t part = name.length - at < 8 ? name.length - at : 8;
    word = 0;
    memcpy(&word, name.bytes + at, part);
  }
  v[2] ^= 0xff ^ (uint64_t)name.length << 8;
  for (int i = 0; i < 3; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct node **bucket_of(const struct tree *tree, const struct node *parent, struct text name)
{
  return &tree->buckets[hash_of(tree, parent, name) & (tree->bucket_count - 1)];
}

static struct text name_of(const struct node *node)
{
  return (struct text){node->name, node->length};
}

bool is_folder(const struct node *node)
{
  return S_ISDIR(node->inode->mode);
}

bool is_symlink(const struct node *node)
{
  return S_ISLNK(node->inode->mode);
}

struct node *tree_find(const struct tree *tree, const struct node *parent, struct text name)
{
  struct node *node = *bucket_of(tree, parent, name);
  while (node != NULL && (node->parent != parent || node->length != name.length ||
                          memcmp(node->name, name.bytes, name.length) != 0))
    node = node->chain;
  return node;
}

static int grow_buckets(struct hutch_ext4 *fs)
{
  struct tree *tree = &fs->tree;
  size_t count = tree->bucket_count == 0 ? FIRST_BUCKETS : tree->bucket_count * 2;
  struct node **old = tree->buckets;
  size_t old_count = tree->bucket_count;
  struct node **buckets = image_take(fs, count * sizeof *buckets);
  if (buckets == NULL) return fs->code;
  tree->buckets = buckets;
  tree->bucket_count = count;
  for (size_t i = 0; i < old_count; i++) {
    for (struct node *node = old[i], *chain; node != NULL; node = chain) {
      chain = node->chain;
      struct node **bucket = bucket_of(tree, node->parent, name_of(node));
      node->chain = *bucket;
      *bucket = node;
    }
  }
  image_give(fs, old, old_count * sizeof *old);
  return 0;
}

static void link_node(struct tree *tree, struct node *node)
{
  struct node **bucket = bucket_of(tree, node->parent, name_of(node));
  node->chain = *bucket;
  *bucket = node;
  tree->node_count++;
  struct inode *folder = node->parent->inode;
  node->previous = folder->last;
  if (folder->last != NULL) folder->last->next = node;
  else folder->first = node;
  folder->last = node;
  if (is_folder(node)) folder->folders++;
}

static void unlink_node(struct tree *tree, struct node *node)
{
  struct node **at = bucket_of(tree, node->parent, name_of(node));
  while (*at != node) at = &(*at)->chain;
  *at = node->chain;
  tree->node_count--;
  struct inode *folder = node->parent->inode;
  if (node->previous != NULL) node->previous->next = node->next;
  else folder->first = node->next;
  if (node->next != NULL) node->next->previous = node->previous;
  else folder->last = node->previous;
  if (is_folder(node)) folder->folders--;
}

struct node *tree_add(struct hutch_ext4 *fs, struct node *parent, struct text name,
                      struct inode *inode, uint32_t mode)
{
  struct tree *tree = &fs->tree;
  uint32_t depth = parent == NULL ? 0 : parent->depth + 1u;
  if (depth > MAX_DEPTH) {
    image_error(fs, -EBADMSG, "more than %u folders deep", MAX_DEPTH);
    return NULL;
  }
  if (tree->node_count >= tree->bucket_count && grow_buckets(fs) < 0) return NULL;
  struct node *node = image_take(fs, sizeof *node + name.length);
  if (node == NULL) return NULL;
  if (inode == NULL) {
    inode = image_take(fs, sizeof *inode);
    if (inode == NULL) {
      image_give(fs, node, sizeof *node + name.length);
      return NULL;
    }
    inode->mode = (uint16_t)mode;
  }
  inode->links++;
  node->inode = inode;
  node->layer = fs->layer;
  node->depth = (uint16_t)depth;
  node->length = (uint8_t)name.length;
  memcpy(node->name, name.bytes, name.length);
  node->parent = parent == NULL ? node : parent;
  if (parent != NULL) link_node(tree, node);
  return node;
}

static size_t extent_capacity(uint32_t count)
{
  size_t capacity = 1;
  while (capacity < count) capacity *= 2;
  return capacity;
}

const struct extent *inode_extents(const struct inode *inode)
{
  return inode->extent_count > 1 ? inode->extents : &inode->only;
}

void inode_forget_extents(struct hutch_ext4 *fs, struct inode *inode)
{
  if (inode->has_root) free(inode->root);
  else if (inode->extent_count > 1)
    image_give(fs, inode->extents, extent_capacity(inode->extent_count) * sizeof *inode->extents);
  inode->extent_count = 0;
  inode->has_root = false;
}

void inode_forget_attributes(struct hutch_ext4 *fs, struct inode *inode)
{
  for (struct attribute *attribute = inode->attributes, *next; attribute != NULL;
       attribute = next) {
    next = attribute->next;
    image_give(fs, attribute, attribute_memory(strlen(attribute->name), attribute->size));
  }
  inode->attributes = NULL;
}

static void free_inode(struct hutch_ext4 *fs, struct inode *inode)
{
  inode_forget_attributes(fs, inode);
  inode_forget_extents(fs, inode);
  if (S_ISLNK(inode->mode)) image_give(fs, inode->target, inode->size + 1);
  image_give(fs, inode, sizeof *inode);
}

int inode_drop(struct hutch_ext4 *fs, struct inode *inode)
{
  if (--inode->links > 0) return 0;
  const struct extent *extents = inode_extents(inode);
  int result = 0;
  for (uint32_t i = 0; !inode->has_root && i < inode->extent_count && result == 0; i++)
    result = space_give(&fs->space, extents[i].start, extents[i].count);
  free_inode(fs, inode);
  return result == 0 ? 0 : image_error(fs, result, "%s", strerror(-result));
}

int tree_remove(struct hutch_ext4 *fs, struct node *node)
{
  struct node *at = node;
  for (;;) {
    if (is_folder(at) && at->inode->first != NULL) {
      at = at->inode->first;
      continue;
    }
    struct node *parent = at->parent;
    bool last = at == node;
    unlink_node(&fs->tree, at);
    int result = inode_drop(fs, at->inode);
    image_give(fs, at, sizeof *at + at->length);
    if (last || result < 0) return result;
    at = parent;
  }
}

struct node *tree_next(const struct node *top, const struct node *node)
{
  if (is_folder(node) && node->inode->first != NULL) return node->inode->first;
  while (node != top && node->next == NULL) node = node->parent;
  return node == top ? NULL : node->next;
}

int tree_init(struct hutch_ext4 *fs)
{
  if (getrandom(fs->tree.key, sizeof fs->tree.key, 0) != sizeof fs->tree.key) return -EIO;
  fs->tree.root = tree_add(fs, NULL, (struct text){"", 0}, NULL, S_IFDIR | 0755);
  return fs->tree.root == NULL ? fs->code : 0;
}

void tree_release(struct hutch_ext4 *fs)
{
  struct node *root = fs->tree.root;
  if (root != NULL) {
    while (root->inode->first != NULL) tree_remove(fs, root->inode->first);
    free_inode(fs, root->inode);
    image_give(fs, root, sizeof *root);
  }
  image_give(fs, fs->tree.buckets, fs->tree.bucket_count * sizeof *fs->tree.buckets);
}
