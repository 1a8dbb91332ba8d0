#include "files_handles.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define MAX_HANDLES 4096

/* An open file. It is closed when it was asked for and nobody uses it: its number could be another's. */
static struct handle {
  int fd;
  unsigned users;
  bool open;
} handles[MAX_HANDLES];
static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;

int files_handle_add(int fd, uint32_t *number) {
  int error = -EMFILE;
  pthread_mutex_lock(&handles_lock);
  for (uint32_t i = 0; error < 0 && i < MAX_HANDLES; i++) {
    if (handles[i].open || handles[i].users > 0) continue;
    handles[i] = (struct handle){.fd = fd, .open = true};
    *number = i;
    error = 0;
  }
  pthread_mutex_unlock(&handles_lock);
  return error;
}

int files_handle_use(uint32_t number) {
  int fd = -EBADF;
  pthread_mutex_lock(&handles_lock);
  if (number < MAX_HANDLES && handles[number].open) {
    handles[number].users++;
    fd = handles[number].fd;
  }
  pthread_mutex_unlock(&handles_lock);
  return fd;
}

int files_handle_release(uint32_t number, bool close_it) {
  int fd = -1;
  pthread_mutex_lock(&handles_lock);
  struct handle *handle = &handles[number];
  handle->users--;
  if (close_it) handle->open = false;
  if (!handle->open && handle->users == 0) fd = handle->fd;
  pthread_mutex_unlock(&handles_lock);
  return fd >= 0 && close(fd) < 0 ? -errno : 0;
}
