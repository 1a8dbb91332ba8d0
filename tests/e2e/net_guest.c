/* What the tests of networks run in a box: peers that busybox has no programs for. */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD = 65521, PIECE = 256 * 1024, MOST = 2048 };

static uint8_t pattern[PERIOD + PIECE];

static void make_pattern(void) {
  for (size_t i = 0; i < sizeof pattern; i++) {
    size_t j = i % PERIOD;
    pattern[i] = (uint8_t)(j * 167 + (j >> 8));
  }
}

static void die(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  exit(1);
}

static void put(int fd, size_t count) {
  for (size_t at = 0; at < count;) {
    size_t piece = count - at < PIECE ? count - at : PIECE;
    ssize_t sent = write(fd, pattern + at % PERIOD, piece);
    if (sent <= 0) die("write");
    at += (size_t)sent;
  }
}

/* Reads to the end; how many bytes were as they should be. */
static size_t take(int fd) {
  static uint8_t buffer[PIECE];
  size_t at = 0;
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) != 0; at += (size_t)got) {
    if (got < 0) die("read");
    if (memcmp(buffer, pattern + at % PERIOD, (size_t)got) != 0) {
      printf("wrong bytes after %zu\n", at);
      exit(1);
    }
  }
  return at;
}

static int dial(const char *address, int port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  int is4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
  if (!is4) inet_pton(AF_INET6, address, &v6.sin6_addr);
  int fd = socket(is4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, is4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is4 ? sizeof v4 : sizeof v6) < 0) die("connect");
  return fd;
}

/* The same, whatever they are. */
static size_t discard(int fd) {
  static uint8_t buffer[PIECE];
  size_t at = 0;
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0; at += (size_t)got) continue;
  return at;
}

/* By the first byte of each connection: e echoes up to the end and says "over" then; s gives as many
 * bytes as the rest of the line says; r counts what comes and says how
 * much that was, d without a look at it. */
static void serve_one(int fd) {
  char word[32];
  size_t length = 0;
  while (length < sizeof word - 1 && read(fd, word + length, 1) == 1 && word[length] != '\n') length++;
  word[length] = '\0';
  if (word[0] == 's') put(fd, strtoull(word + 1, NULL, 10));
  if (word[0] == 'd') dprintf(fd, "%zu\n", discard(fd));
  if (word[0] == 'r') dprintf(fd, "%zu\n", take(fd));
  if (word[0] == 'e') {
    char buffer[4096];
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
      if (write(fd, buffer, (size_t)got) != got) break;
    }
    dprintf(fd, "over");
  }
}

static void serve(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  int one = 1, tcp = socket(AF_INET6, SOCK_STREAM, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0);
  setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(tcp, (struct sockaddr *)&any, sizeof any) < 0 || listen(tcp, 1024) < 0) die("listen");
  if (bind(udp, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  signal(SIGCHLD, SIG_IGN);
  if (daemon(0, 0) < 0) die("daemon");
  for (;;) {
    struct pollfd fds[2] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    poll(fds, 2, -1);
    if (fds[1].revents) {
      char buffer[65536];
      struct sockaddr_in6 from;
      socklen_t size = sizeof from;
      ssize_t got = recvfrom(udp, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size);
      if (got >= 0) sendto(udp, buffer, (size_t)got, 0, (struct sockaddr *)&from, size);
    }
    int fd = fds[0].revents ? accept(tcp, NULL, NULL) : -1;
    if (fd < 0) continue;
    if (fork() == 0) {
      signal(SIGCHLD, SIG_DFL);
      serve_one(fd);
      _exit(0);
    }
    close(fd);
  }
}

/* Opens them all, then says a byte on each and reads it back. */
static void many(const char *address, int port, int count) {
  static int fds[MOST];
  char byte;
  struct rlimit limit = {MOST + 64, MOST + 64};
  setrlimit(RLIMIT_NOFILE, &limit);
  for (int i = 0; i < count; i++) fds[i] = dial(address, port);
  for (int i = 0; i < count; i++) {
    byte = (char)i;
    if (write(fds[i], &byte, 1) != 1) die("write");
  }
  for (int i = 0; i < count; i++) {
    if (read(fds[i], &byte, 1) != 1 || byte != (char)i) die("read");
  }
  printf("%d\n", count);
}

/* Opens and closes one after the other. */
static void rate(const char *address, int port, int count) {
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < count; i++) close(dial(address, port));
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%.1f\n", count / ((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9));
}

/* Single bytes there and back, in ms each. */
static void round_trips(const char *address, int port, int count) {
  struct timespec from, to;
  int fd = dial(address, port);
  char byte = 1; /* no protocol begins so that says a name */
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < count; i++) {
    if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) die("round trip");
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%.4f\n", ((double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6) / count);
}

/* Begins connections and forgets them, to one port or (0) to all in turn. */
static void flood(const char *address, int port, int count) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) die("address");
  for (int i = 0; i < count; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    to.sin_port = htons((uint16_t)(port != 0 ? port : 1 + i % 65535));
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
    close(fd);
  }
  printf("%d\n", count);
}

/* Frames of any bytes, and well-formed ones in other names. */
static void garbage(int count) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0"), .sll_halen = 6};
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) die("packet socket");
  static uint8_t frame[60000];
  uint64_t seed = 88172645463325252u;
  for (int i = 0; i < count; i++) {
    for (size_t at = 0; at < sizeof frame; at += 8) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      memcpy(frame + at, &seed, 8);
      if (at > 2000 && i % 50 != 0) break;
    }
    const uint16_t types[] = {0x0800, 0x86dd, 0x0806, 0x1234};
    uint16_t type = htons(types[i % 4]);
    uint8_t own[6] = {0x52, 0x48, 0x55, 0x54, 0x43, 0x02};
    memcpy(frame + 12, &type, 2);
    if (i % 3 != 0) memcpy(frame + 6, own, 6);
    if (i % 2 == 0) frame[14] = i % 4 == 0 ? 0x45 : 0x60;
    size_t length = 14 + seed % (i % 50 == 0 ? 50000 : 1500);
    sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to);
  }
  printf("%d\n", count);
}

int main(int count, char **words) {
  make_pattern();
  if (count < 3) return 2;
  const char *what = words[1];
  if (strcmp(what, "serve") == 0) serve(atoi(words[2]));
  if (strcmp(what, "garbage") == 0) garbage(atoi(words[2]));
  if (count < 4) return 0;
  int port = atoi(words[3]);
  if (strcmp(what, "get") == 0) printf("%zu\n", take(dial(words[2], port)));
  if (strcmp(what, "many") == 0) many(words[2], port, atoi(words[4]));
  if (strcmp(what, "flood") == 0) flood(words[2], port, atoi(words[4]));
  if (strcmp(what, "rate") == 0) rate(words[2], port, atoi(words[4]));
  if (strcmp(what, "trips") == 0) round_trips(words[2], port, atoi(words[4]));
  if (strcmp(what, "put") == 0) {
    char answer[64] = "";
    int fd = dial(words[2], port);
    put(fd, strtoull(words[4], NULL, 10));
    shutdown(fd, SHUT_WR);
    if (read(fd, answer, sizeof answer - 1) < 0) die("read");
    printf("%s", answer);
  }
  return 0;
}
