#define _GNU_SOURCE 1
/* The program "watch": `watch all|top PATH...` tells of what happens to files and folders, `all` with all
 * that is below. Its frames are those of "files": first {} once it watches, or {errno}; then {kind} for
 * each event, with data u16 length (BE) | path, twice for a rename within. An event without a path says
 * that some were lost. */
#include "builtin.h"
#include "files_frame.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS (IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE | IN_MOVE | IN_DELETE_SELF)
#define MOST_PATH (2 * PATH_MAX)

struct watched {
  int number;    /* inotify's; -1: forgotten */
  bool asked_for;
  char *path;
};

struct watcher {
  int fd;
  bool all;
  struct watched *list;
  size_t count, room;
  uint32_t moved; /* the cookie of a rename whose other half may follow; 0: none */
  bool moved_folder;
  char moved_path[MOST_PATH];
};

/* ---- words --------------------------------------------------------------------------------------- */

static size_t put_path(uint8_t *data, const char *path) {
  size_t length = strlen(path);
  data[0] = (uint8_t)(length >> 8);
  data[1] = (uint8_t)length;
  memcpy(data + 2, path, length);
  return 2 + length;
}

static void say(const struct cbor_out *head, uint8_t *data, size_t length) {
  if (files_frame_write(head, data, length) < 0) _exit(1); /* nobody listens any more */
}

static void say_errno(int error) {
  struct cbor_out head = {0};
  cbor_out_map(&head, error != 0);
  if (error != 0) {
    cbor_out_text(&head, "errno");
    cbor_out_uint(&head, (uint64_t)error);
  }
  say(&head, NULL, 0);
}

static void tell(const char *kind, const char *path, const char *to) {
  uint8_t data[2 * (2 + MOST_PATH)];
  struct cbor_out head = {0};
  cbor_out_map(&head, 1);
  cbor_out_text(&head, "kind");
  cbor_out_text(&head, kind);
  size_t length = path == NULL ? 0 : put_path(data, path);
  if (to != NULL) length += put_path(data + length, to);
  say(&head, data, length);
}

/* ---- what is watched ------------------------------------------------------------------------------ */

static struct watched *find(struct watcher *watcher, int number) {
  for (size_t i = 0; i < watcher->count; i++) {
    if (watcher->list[i].number == number) return &watcher->list[i];
  }
  return NULL;
}

static void forget(struct watched *watched) {
  watched->number = -1;
  free(watched->path);
  watched->path = NULL;
}

static int remember(struct watcher *watcher, int number, const char *path, bool asked_for) {
  struct watched *watched = find(watcher, number);
  if (watched == NULL) watched = find(watcher, -1);
  if (watched == NULL && watcher->count == watcher->room) {
    size_t room = watcher->room == 0 ? 16 : watcher->room * 2;
    struct watched *list = realloc(watcher->list, room * sizeof *list);
    if (list == NULL) return -ENOMEM;
    watcher->list = list;
    watcher->room = room;
  }
  char *copy = strdup(path);
  if (copy == NULL) return -ENOMEM;
  if (watched == NULL) {
    watched = &watcher->list[watcher->count++];
    *watched = (struct watched){.number = -1};
  }
  if (watched->number == number) { /* the same file by another path */
    asked_for |= watched->asked_for;
    free(watched->path);
  }
  *watched = (struct watched){.number = number, .asked_for = asked_for, .path = copy};
  return 0;
}

static bool join(char path[MOST_PATH], const char *folder, const char *name) {
  size_t length = strlen(folder);
  const char *between = length > 0 && folder[length - 1] == '/' ? "" : "/";
  return snprintf(path, MOST_PATH, "%s%s%s", folder, between, name) < MOST_PATH;
}

static int watch_below(struct watcher *watcher, const char *path, bool told);

/* Watches a file or folder. `told`: what it tells of it, if not NULL, once it watches, so that whoever
 * hears of it misses nothing that follows; and of what is in it, that it was made. */
static int watch(struct watcher *watcher, const char *path, bool asked_for, const char *told) {
  uint32_t how = EVENTS | (asked_for ? 0 : IN_ONLYDIR | IN_DONT_FOLLOW);
  int number = inotify_add_watch(watcher->fd, path, how);
  int error = number < 0 ? -errno : remember(watcher, number, path, asked_for);
  if (told != NULL) tell(told, path, NULL);
  return error == 0 && watcher->all ? watch_below(watcher, path, told != NULL) : error;
}

/* What can't be watched since it has gone or isn't a folder any more is passed over. */
static int watch_below(struct watcher *watcher, const char *path, bool told) {
  DIR *folder = opendir(path);
  if (folder == NULL) return errno == ENOTDIR || errno == ENOENT || errno == EACCES ? 0 : -errno;
  int error = 0;
  char *inner = malloc(MOST_PATH); /* not on the stack: folders may be deep */
  if (inner == NULL) error = -ENOMEM;
  for (const struct dirent *entry; error == 0 && (entry = readdir(folder)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (!join(inner, path, entry->d_name)) continue;
    if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN) {
      error = watch(watcher, inner, false, told ? "create" : NULL);
    } else if (told) {
      tell("create", inner, NULL);
    }
    if (error == -ENOTDIR || error == -ENOENT || error == -EACCES || error == -ELOOP) error = 0;
  }
  free(inner);
  closedir(folder);
  return error;
}

static bool is_within(const char *path, const char *folder) {
  size_t length = strlen(folder);
  return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* A folder has another path now; or none (`to` is NULL), and isn't watched any more. */
static void moved(struct watcher *watcher, const char *from, const char *to) {
  for (size_t i = 0; i < watcher->count; i++) {
    struct watched *watched = &watcher->list[i];
    if (watched->path == NULL || watched->asked_for || !is_within(watched->path, from)) continue;
    char *path = NULL;
    if (to != NULL && asprintf(&path, "%s%s", to, watched->path + strlen(from)) < 0) path = NULL;
    if (path == NULL) {
      inotify_rm_watch(watcher->fd, watched->number);
      forget(watched);
    } else {
      free(watched->path);
      watched->path = path;
    }
  }
}

/* ---- events ------------------------------------------------------------------------------------------ */

/* The first half of a rename was all there was: it went elsewhere. */
static void settle_move(struct watcher *watcher) {
  if (watcher->moved == 0) return;
  watcher->moved = 0;
  if (watcher->moved_folder) moved(watcher, watcher->moved_path, NULL);
  tell("rename", watcher->moved_path, NULL);
}

static void on_new(struct watcher *watcher, const char *kind, const char *path, bool folder) {
  if (!folder || !watcher->all) {
    tell(kind, path, NULL);
    return;
  }
  int error = watch(watcher, path, false, kind);
  if (error == -ENOSPC || error == -ENOMEM || error == -EMFILE) tell("other", NULL, NULL); /* it can't be watched */
}

static void on_event(struct watcher *watcher, const struct inotify_event *event) {
  char path[MOST_PATH];
  if (event->mask & IN_Q_OVERFLOW) {
    tell("other", NULL, NULL);
    return;
  }
  struct watched *watched = find(watcher, event->wd);
  if (watched == NULL) return;
  if (event->mask & IN_IGNORED) {
    forget(watched);
    return;
  }
  if (event->len > 0 ? !join(path, watched->path, event->name) : snprintf(path, sizeof path, "%s", watched->path) < 0) {
    return;
  }
  const bool folder = event->mask & IN_ISDIR;
  /* What a watched folder says of itself, the one above it says as well. */
  if (event->len == 0 && !watched->asked_for) return;
  if (watcher->moved != 0 && !(event->mask & IN_MOVED_TO && event->cookie == watcher->moved)) settle_move(watcher);
  if (event->mask & IN_MOVED_FROM) {
    watcher->moved = event->cookie;
    watcher->moved_folder = folder;
    strcpy(watcher->moved_path, path);
  } else if (event->mask & IN_MOVED_TO && watcher->moved != 0) {
    watcher->moved = 0;
    if (folder) moved(watcher, watcher->moved_path, path);
    tell("rename", watcher->moved_path, path);
  } else if (event->mask & IN_MOVED_TO) {
    on_new(watcher, "rename", path, folder);
  } else if (event->mask & IN_CREATE) {
    on_new(watcher, "create", path, folder);
  } else if (event->mask & (IN_DELETE | IN_DELETE_SELF)) {
    tell("remove", path, NULL);
  } else if (event->mask & IN_CLOSE_WRITE) {
    tell("access", path, NULL);
  } else if (event->mask & (IN_MODIFY | IN_ATTRIB)) {
    tell("modify", path, NULL);
  }
}

static int open_all(struct watcher *watcher, char **paths) {
  watcher->fd = inotify_init1(IN_CLOEXEC);
  if (watcher->fd < 0) return -errno;
  int error = 0;
  for (; error == 0 && *paths != NULL; paths++) error = watch(watcher, *paths, true, NULL);
  return error;
}

int watch_main(int argc, char **argv) {
  static struct watcher watcher; /* this process has no other */
  _Alignas(struct inotify_event) static char buffer[64 * 1024];
  if (argc < 3) return 2;
  watcher.all = strcmp(argv[1], "all") == 0;
  int error = open_all(&watcher, argv + 2);
  say_errno(-error);
  if (error < 0) return 1;
  for (;;) {
    ssize_t got = read(watcher.fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 1;
    for (ssize_t at = 0; at < got;) {
      const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
      on_event(&watcher, event);
      at += (ssize_t)(sizeof *event + event->len);
    }
    settle_move(&watcher); /* the kernel puts both halves into the queue at once */
  }
}
