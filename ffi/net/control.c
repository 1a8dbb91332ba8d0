#define _GNU_SOURCE 1
#include "control.h"

#include "dns.h"
#include "dns_servers.h"
#include "events.h"
#include "hooks.h"
#include "intercept.h"
#include "ports.h"
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  CLIENTS_MAX = 64,
  LINE_MAX_BYTES = 512 * 1024,
  OUT_MAX = 1024 * 1024,       /* a client that doesn't read so much is let go */
  WORDS_MAX = 2 + INTERCEPT_NAMES_MAX,
};

struct client {
  struct watch watch;
  int out_fd;
  bool listens, answers;
  char door[HOOK_WORD]; /* where it hears of requests, as the interceptor is told; "": nowhere */
  char *line;
  size_t length, room;
  char *out;
  size_t out_length, out_room;
  struct client *next;
};

static struct filter *filter;
static struct wire *wire;
static struct watch door = {.fd = -1};
static struct client *clients;
static unsigned client_count;

/* ---- output --------------------------------------------------------------------------------------- */

static void flush(struct client *client) {
  while (client->out_length > 0) {
    ssize_t put = write(client->out_fd, client->out, client->out_length);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno != EAGAIN) {
      client->out_length = 0; /* the end of its orders comes too */
      break;
    }
    if (put < 0) break;
    memmove(client->out, client->out + put, client->out_length - (size_t)put);
    client->out_length -= (size_t)put;
  }
  if (client->out_fd == client->watch.fd) client->watch.events = (short)(POLLIN | (client->out_length > 0 ? POLLOUT : 0));
}

static void say(struct client *client, const char *text) {
  size_t length = strlen(text);
  if (client->watch.fd < 0) return;
  if (client->out_length + length > OUT_MAX) {
    loop_drop(&client->watch);
    return;
  }
  if (client->out_length + length > client->out_room) {
    size_t room = (client->out_length + length) * 2;
    char *more = realloc(client->out, room);
    if (more == NULL) return;
    client->out = more;
    client->out_room = room;
  }
  memcpy(client->out + client->out_length, text, length);
  client->out_length += length;
  flush(client);
}

static void fail(struct client *client, const char *code, const char *why) {
  char text[512];
  snprintf(text, sizeof text, "{\"ok\":false,\"code\":\"%s\",\"error\":\"%s\"}\n", code, why);
  say(client, text);
}

static void answer(struct client *client, int error) {
  const char *name = error < 0 ? strerrorname_np(-error) : NULL;
  if (error < 0) fail(client, name == NULL ? "EIO" : name, strerror(-error));
  else say(client, "{\"ok\":true}\n");
}

/* The one that came first; later ones take its place when it has gone. */
static struct client *first_listener(void) {
  struct client *first = NULL;
  for (struct client *client = clients; client != NULL; client = client->next) {
    if (client->listens && client->watch.fd >= 0) first = client;
  }
  return first;
}

static struct client *first_answerer(void) {
  struct client *first = NULL;
  for (struct client *client = clients; client != NULL; client = client->next) {
    if (client->answers && client->watch.fd >= 0) first = client;
  }
  return first;
}

bool control_tell(const char *text) {
  struct client *first = first_listener();
  if (first != NULL) say(first, text);
  return first != NULL;
}

bool control_ask(const char *text) {
  struct client *first = first_answerer();
  if (first != NULL) say(first, text);
  return first != NULL;
}

const char *control_door(void) {
  const struct client *first = first_answerer();
  return first == NULL || first->door[0] == '\0' ? NULL : first->door;
}

/* ---- orders --------------------------------------------------------------------------------------- */

static bool number(const char *text, uint64_t most, uint64_t *value) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || digits > 18 || text[digits] != '\0') return false;
  *value = strtoull(text, NULL, 10);
  return *value <= most;
}

static bool port_of(const char *text, uint16_t *port) {
  uint64_t value;
  if (!number(text, 65535, &value)) return false;
  *port = (uint16_t)value;
  return true;
}

static bool protocol_of(const char *text, uint8_t *protocol) {
  *protocol = strcmp(text, "udp") == 0 ? IPPROTO_UDP : IPPROTO_TCP;
  return *protocol == IPPROTO_UDP || strcmp(text, "tcp") == 0;
}

const char *control_protocol(uint8_t protocol) {
  return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : protocol == 0 ? "dns" : "icmp";
}

static bool do_mode(struct client *client, char **words, size_t count) {
  if (count != 2) return false;
  if (strcmp(words[1], "nat") == 0) filter->policy.mode = POLICY_NAT;
  else if (strcmp(words[1], "open") == 0) filter->policy.mode = POLICY_OPEN;
  else return false;
  answer(client, 0);
  return true;
}

static bool do_publish(struct client *client, char **words, size_t count) {
  struct address address;
  uint8_t protocol;
  uint16_t host, guest;
  if (count != 5 || !protocol_of(words[1], &protocol) || !address_parse(words[2], &address)) return false;
  if (!port_of(words[3], &host) || !port_of(words[4], &guest) || guest == 0) return false;
  int error = ports_add(filter, protocol, &address, &host, guest);
  char text[64];
  snprintf(text, sizeof text, "{\"ok\":true,\"port\":%u}\n", host);
  if (error < 0) answer(client, error);
  else say(client, text);
  return true;
}

static bool do_unpublish(struct client *client, char **words, size_t count) {
  struct address address;
  uint8_t protocol;
  uint16_t host;
  if (count != 4 || !protocol_of(words[1], &protocol) || !address_parse(words[2], &address) || !port_of(words[3], &host)) return false;
  answer(client, ports_remove(filter, protocol, &address, host));
  return true;
}

static bool do_ports(struct client *client, char **words, size_t count) {
  unsigned all;
  const struct port *ports = ports_list(&all);
  (void)words;
  if (count != 1) return false;
  say(client, "{\"ok\":true,\"ports\":[");
  for (unsigned i = 0; i < all; i++) {
    char text[192], address[ADDRESS_TEXT];
    address_format(&ports[i].address, address);
    snprintf(text, sizeof text, "%s{\"protocol\":\"%s\",\"hostIp\":\"%s\",\"hostPort\":%u,\"guestPort\":%u}",
             i == 0 ? "" : ",", control_protocol(ports[i].protocol), address, ports[i].host, ports[i].guest);
    say(client, text);
  }
  say(client, "]}\n");
  return true;
}

static bool do_dns(struct client *client, char **words, size_t count) {
  struct address addresses[DNS_SERVERS];
  uint16_t ports[DNS_SERVERS];
  size_t servers = (count - 1) / 2;
  if (count % 2 == 0 || servers > DNS_SERVERS) return false;
  for (size_t i = 0; i < servers; i++) {
    if (!address_parse(words[1 + 2 * i], &addresses[i]) || !port_of(words[2 + 2 * i], &ports[i])) return false;
  }
  dns_servers(addresses, ports, servers);
  answer(client, 0);
  return true;
}

static bool do_limit(struct client *client, char **words, size_t count) {
  uint64_t rate;
  if (count != 3 || !number(words[2], UINT64_C(1) << 50, &rate)) return false;
  if (strcmp(words[1], "up") == 0) limit_set(&wire->up, rate);
  else if (strcmp(words[1], "down") == 0) limit_set(&wire->down, rate);
  else return false;
  answer(client, 0);
  return true;
}

static bool do_counters(struct client *client, char **words, size_t count) {
  const struct filter_counts *counts = &filter->counts;
  char text[1024];
  (void)words;
  if (count != 1) return false;
  const struct { const char *name; uint64_t value; } all[] = {
    {"sentBytes", wire->bytes_in}, {"sentFrames", wire->frames_in},
    {"receivedBytes", wire->bytes_out}, {"receivedFrames", wire->frames_out},
    {"lostFrames", wire->lost_out}, {"badFrames", counts->bad + wire->too_long},
    {"spoofedFrames", counts->spoofed}, {"fragments", counts->fragments}, {"needlessFrames", counts->needless},
    {"unaskedFrames", counts->unasked}, {"denied", counts->denied}, {"full", counts->full},
    {"flows", counts->flows}, {"openFlows", filter->flows.count}, {"sockets", stack_sockets()},
    {"dnsQuestions", dns_counts.questions}, {"dnsAnswers", dns_counts.answers}, {"dnsFailures", dns_counts.failures},
    {"eventsLost", events_lost}, {"quietMs", now_ms() - filter->active_ms},
  };
  size_t at = (size_t)snprintf(text, sizeof text, "{\"ok\":true,\"counters\":{");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%s\":%llu", i == 0 ? "" : ",", all[i].name, (unsigned long long)all[i].value);
  }
  snprintf(text + at, sizeof text - at, "}}\n");
  say(client, text);
  return true;
}

static bool do_origin(struct client *client, char **words, size_t count) {
  uint16_t port;
  if (count != 2 || !port_of(words[1], &port)) return false;
  const struct flow *flow = stack_origin(port);
  if (flow == NULL) {
    fail(client, "ENOENT", "no diverted connection has this port");
    return true;
  }
  char text[160], address[ADDRESS_TEXT];
  address_format(&flow->key.remote, address);
  snprintf(text, sizeof text, "{\"ok\":true,\"address\":\"%s\",\"port\":%u}\n", address, flow->key.remote_port);
  say(client, text);
  return true;
}

static bool do_intercept(struct client *client, char **words, size_t count) {
  answer(client, intercept_set(filter, words + 1, count - 1));
  return true;
}

static bool do_leaked(struct client *client, char **words, size_t count) {
  struct address address;
  uint16_t port;
  if (count != 5 || !address_parse(words[2], &address) || !port_of(words[3], &port)) return false;
  if (strlen(words[1]) > 256 || strpbrk(words[1], "\"\\") != NULL || !name_or_address(words[4])) return false;
  events_leaked(words[1], &address, port, words[4]);
  answer(client, 0);
  return true;
}

static bool do_events(struct client *client, char **words, size_t count) {
  (void)words;
  if (count != 1) return false;
  client->listens = true;
  answer(client, 0);
  if (first_listener() == client) events_replay();
  return true;
}

static bool do_log(struct client *client, char **words, size_t count) {
  if (count != 2 || (strcmp(words[1], "on") != 0 && strcmp(words[1], "off") != 0)) return false;
  filter->log = strcmp(words[1], "on") == 0;
  answer(client, 0);
  return true;
}

static bool do_hooks(struct client *client, char **words, size_t count) {
  answer(client, hooks_set(filter, words + 1, count - 1));
  return true;
}

static bool do_asks(struct client *client, char **words, size_t count) {
  if (count > 2 || (count == 2 && (!hooks_word(words[1]) || strlen(words[1]) >= sizeof client->door))) return false;
  if (count == 2) strcpy(client->door, words[1]);
  client->answers = true;
  answer(client, 0);
  return true;
}

/* Not answered itself: a program answers many questions. */
static bool do_answer(struct client *client, char **words, size_t count) {
  return client == first_answerer() && hooks_answer(words + 1, count - 1) == 0;
}

static bool do_hooked(struct client *client, char **words, size_t count) {
  static const char *const HOW[] = {"refused", "failed", "late", "gone"};
  struct flow_key key = {.protocol = IPPROTO_TCP};
  const char *hook = NULL;
  if (count != 6 || !address_parse(words[3], &key.remote) || !port_of(words[4], &key.remote_port)) return false;
  if (!name_or_address(words[5])) return false;
  for (size_t i = 0; i < sizeof HOW / sizeof *HOW; i++) {
    if (strcmp(words[1], HOW[i]) == 0) hook = HOW[i];
  }
  if (hook == NULL || !hooks_word(words[2])) return false;
  const char *plugin = strcmp(words[2], "-") == 0 ? NULL : words[2];
  enum group group = filter_group(filter, &key.remote, now_ms());
  filter_denied(filter, &(struct denial){.key = &key, .group = group, .rule = -1, .name = words[5], .hook = hook, .plugin = plugin});
  answer(client, 0);
  return true;
}

static const struct {
  const char *name;
  bool (*run)(struct client *client, char **words, size_t count);
} ORDERS[] = {
  {"mode", do_mode}, {"publish", do_publish}, {"unpublish", do_unpublish}, {"ports", do_ports}, {"dns", do_dns},
  {"limit", do_limit}, {"counters", do_counters}, {"origin", do_origin}, {"events", do_events},
  {"intercept", do_intercept}, {"leaked", do_leaked}, {"log", do_log}, {"hooks", do_hooks}, {"asks", do_asks},
  {"answer", do_answer}, {"hooked", do_hooked},
};

static void obey(struct client *client, char *line) {
  if (strncmp(line, "rules", 5) == 0 && (line[5] == ' ' || line[5] == '\0')) {
    char why[128];
    if (policy_read(&filter->policy, line + 5, why)) answer(client, 0);
    else fail(client, "EINVAL", why);
    return;
  }
  char *words[WORDS_MAX + 1], *rest = NULL;
  size_t count = 0;
  for (char *word = strtok_r(line, " ", &rest); word != NULL && count <= WORDS_MAX; word = strtok_r(NULL, " ", &rest)) words[count++] = word;
  for (size_t i = 0; count > 0 && i < sizeof ORDERS / sizeof *ORDERS; i++) {
    if (strcmp(ORDERS[i].name, words[0]) != 0) continue;
    if (!ORDERS[i].run(client, words, count)) fail(client, "EINVAL", "a word of the order isn't as it should be");
    return;
  }
  fail(client, "EINVAL", "there is no such order");
}

/* ---- clients -------------------------------------------------------------------------------------- */

static void gone(struct watch *watch) {
  struct client *client = container_of(watch, struct client, watch), **at = &clients;
  bool asked = client->answers; /* unless an older one is */
  for (const struct client *older = client->next; older != NULL; older = older->next) asked = asked && !older->answers;
  if (client->out_fd == STDOUT_FILENO) exit(0); /* the box process has ended */
  while (*at != client) at = &(*at)->next;
  *at = client->next;
  client_count--;
  free(client->line);
  free(client->out);
  free(client);
  if (asked) hooks_lost(); /* what a later one was asked meanwhile is refused too: nobody tries for long */
}

static void read_lines(struct client *client) {
  for (;;) {
    char *end = memchr(client->line, '\n', client->length);
    if (end == NULL) return;
    size_t used = (size_t)(end - client->line) + 1;
    *end = '\0';
    obey(client, client->line);
    memmove(client->line, client->line + used, client->length - used);
    client->length -= used;
  }
}

static void ready(struct watch *watch, short events) {
  struct client *client = container_of(watch, struct client, watch);
  if (events & POLLOUT) flush(client);
  if (!(events & (POLLIN | POLLHUP | POLLERR))) return;
  if (client->length == client->room) {
    size_t room = client->room * 2 + 1024;
    char *more = room > LINE_MAX_BYTES ? NULL : realloc(client->line, room);
    if (more == NULL) {
      loop_drop(watch);
      return;
    }
    client->line = more;
    client->room = room;
  }
  ssize_t got = read(watch->fd, client->line + client->length, client->room - client->length);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    loop_drop(watch);
    return;
  }
  client->length += (size_t)got;
  read_lines(client);
}

static int add(int fd, int out_fd) {
  struct client *client = client_count < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
  if (client == NULL) return -ENOMEM;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (out_fd != fd) fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK);
  client->watch = (struct watch){.fd = fd, .events = POLLIN, .ready = ready, .gone = gone};
  client->out_fd = out_fd;
  client->next = clients;
  clients = client;
  client_count++;
  loop_add(&client->watch);
  return 0;
}

static void answer_door(struct watch *watch, short events) {
  (void)events;
  int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0 && add(fd, fd) < 0) close(fd);
}

int control_init(struct filter *own_filter, struct wire *own_wire, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  filter = own_filter;
  wire = own_wire;
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  unlink(path);
  umask(0077);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, CLIENTS_MAX) < 0) return -errno;
  door = (struct watch){.fd = fd, .events = POLLIN, .ready = answer_door};
  loop_add(&door);
  return add(STDIN_FILENO, STDOUT_FILENO);
}
