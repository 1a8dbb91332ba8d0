/* Making the box's view, in the process that becomes its holder. */
#ifndef HUTCH_AGENT_VIEW_H
#define HUTCH_AGENT_VIEW_H

#include "failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;
struct request_mount;

#define BOX_DEVICE "/dev/vdb"
#define BOX_MOUNT "/box"

/* Enters new mount and IPC namespaces and makes BOX_MOUNT their root. From here on every path resolves
 * inside the box's own tree, whatever links its image has. 0, or -1 with `failure` filled. */
int view_enter(struct failure *failure);

/* Writes the box's names and mounts what programs expect. 0, or -1 with `failure` filled. */
int view_make(const struct request *request, struct failure *failure);

/* Mounts the host's folders and files, in this order, on the present root. What is missing of their
 * paths is made. 0, or -1 with `failure` filled. */
int view_volumes(const struct request_mount *mounts, size_t count, struct failure *failure);

/* Fills /dev, in the present root. */
int view_devices(struct failure *failure);

/* Writes the box's name, the names that it knows and where it asks for others into /etc, in the present
 * root; failures are logged, a box can live without. */
void view_names(const struct request *request);

/* Grows the file system on `device`, mounted with its root at `mounted`, to the whole device; ext4 by
 * at most `room` bytes. 0 also if it has that size; or -1 with `failure` filled. */
int view_grow(int device, int mounted, uint64_t room, struct failure *failure);

/* Reaps the box's orphans until `leash` ends and no child is left; or becomes the image's init, when
 * the leash says so. */
_Noreturn void holder_serve(int leash);

#endif
