/* A relay with more clients than it takes, and one whose process has no descriptors left: `relay_crowd
 * FOLDER`. Ends with 1 if somebody isn't served who should be, or the reverse. */
#define _GNU_SOURCE 1
#include "frame.h"
#include "relay.h"
#include "relay_dial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024, WAIT_MS = 10000, HELLO_BYTES = HUTCH_HEADER_SIZE + 9 };

static char clients_path[100], channel_path[100];

/* Reads so many bytes; false at the connection's end, or when they don't come. */
static bool hears(int fd, size_t count) {
  uint8_t bytes[256];
  while (count > 0) {
    if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, WAIT_MS) <= 0) return false;
    ssize_t came = read(fd, bytes, count < sizeof bytes ? count : sizeof bytes);
    if (came <= 0) return false;
    count -= (size_t)came;
  }
  return true;
}

static void say(int fd, struct frame frame) {
  uint8_t bytes[HUTCH_HEADER_SIZE + 9] = {0};
  frame_write(bytes, &frame);
  if (send(fd, bytes, HUTCH_HEADER_SIZE + frame.length, MSG_NOSIGNAL) < 0) fail("can't write");
}

/* A request, and its answer: on the guest's stream `number`. */
static bool is_served(int client, int guest, uint32_t number) {
  say(client, (struct frame){.length = 1, .stream = 7, .type = HUTCH_OPEN});
  if (!hears(guest, HUTCH_HEADER_SIZE + 1)) return false;
  say(guest, (struct frame){.length = 1, .stream = number, .type = HUTCH_REPLY});
  say(guest, (struct frame){.stream = number, .type = HUTCH_CLOSE});
  return hears(client, 2 * HUTCH_HEADER_SIZE + 1);
}

/* A client in the place of one that has gone, whose end may not have been seen yet. */
static int dial_again(void) {
  for (int tries = 0; tries < 1000; tries++) {
    int client = dial(clients_path);
    if (hears(client, HELLO_BYTES)) return client;
    close(client);
    usleep(1000);
  }
  fail("no room though some have gone");
}

/* More clients than there is room for: those are sent away, and others when some have gone. */
static void crowd(int guest) {
  int all[MOST];
  for (int i = 0; i < MOST; i++) {
    all[i] = dial(clients_path);
    if (!hears(all[i], HELLO_BYTES)) fail("one of the clients isn't served");
  }
  int more = dial(clients_path);
  if (hears(more, 1)) fail("one client too many is served");
  close(more);
  if (!is_served(all[MOST - 1], guest, 1)) fail("the last client gets no answer");
  close(all[0]);
  all[0] = dial_again();
  for (int i = 0; i < MOST; i++) close(all[i]);
}

/* How many descriptors are open, of the relay's too: it is a thread of this process. */
static int descriptors(void) {
  int count = 0;
  DIR *all = opendir("/proc/self/fd");
  if (all == NULL) fail("no /proc");
  while (readdir(all) != NULL) count++;
  closedir(all);
  return count;
}

/* Without descriptors nobody new is served, everybody else is, and the new ones once there are some. */
static void starve(int guest, int before) {
  int fillers[MOST], count = 0;
  int old = dial_again();
  /* Until it has seen that the others are gone; the channel's ends may have come after the count. */
  for (int tries = 0; tries < 5000 && descriptors() > before + 8; tries++) usleep(1000);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = 256;
  setrlimit(RLIMIT_NOFILE, &limit);
  while ((fillers[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) count++;
  close(fillers[--count]);
  int new = dial(clients_path);
  for (uint32_t turn = 2; turn < 50; turn++)
    if (!is_served(old, guest, turn)) fail("a client isn't served for want of descriptors");
  if (poll(&(struct pollfd){.fd = new, .events = POLLIN}, 1, 0) != 0) fail("there are descriptors left");
  while (count > 0) close(fillers[--count]);
  if (!hears(new, HELLO_BYTES)) fail("the new client isn't served once there are descriptors");
  close(old);
  close(new);
}

int main(int count, char **arguments) {
  if (count != 2) fail("relay_crowd FOLDER");
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
  setrlimit(RLIMIT_NOFILE, &limit);
  snprintf(clients_path, sizeof clients_path, "%s/clients", arguments[1]);
  snprintf(channel_path, sizeof channel_path, "%s/channel", arguments[1]);
  struct hutch_relay *relay;
  if (hutch_relay_open(clients_path, channel_path, -1, &relay) < 0) fail("can't open a relay");
  int own = dial(channel_path), holder = dial(channel_path), guest = dial(channel_path);
  say(guest, (struct frame){.length = 9, .type = HUTCH_HELLO});
  int before = descriptors();
  crowd(guest);
  starve(guest, before);
  hutch_relay_close(relay);
  close(own);
  close(holder);
  close(guest);
  return 0;
}
