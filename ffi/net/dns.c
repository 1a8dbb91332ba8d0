#define _GNU_SOURCE 1
#include "dns.h"

#include "dns_message.h"
#include "dns_policy.h"
#include "dns_servers.h"
#include "hooks.h"
#include "stack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  ASKED_MAX = 512,      /* questions that wait for an answer; more are failed at once */
  CALLERS_MAX = 32,     /* connections of the guest */
  TRY_MS = 2500,
  ROUNDS = 2,           /* each server is asked so often */
  CALL_MS = 10000,      /* a connection without an answer in this time is closed */
  UDP_HEADER = 8,
  HOOK_ANSWER_MAX = DNS_QUERY_MAX + HOOK_ADDRESSES * DNS_RECORD_MAX,
};

struct dns_counts dns_counts;

static struct filter *filter;
static struct wire *wire;

/* ---- the one place ------------------------------------------------------------------------------ */

/* Every question that the guest asks. DNS_OK: it is asked on; else the code that answers it. */
static int look_at_question(const uint8_t *message, size_t length, struct dns_question *question) {
  dns_counts.questions++;
  int code = dns_read_question(message, length, question);
  if (code == DNS_OK) code = dns_policy_question(filter, question);
  if (code == DNS_OK) filter->active_ms = now_ms();
  return code;
}

/* Every answer before the guest gets it. DNS_OK: it gets it; -1: it isn't one, and another may come;
 * else the code that it gets instead. */
static int look_at_answer(const uint8_t *query, size_t query_length, uint8_t *answer, size_t length) {
  struct dns_question question;
  if (!dns_is_answer(query, query_length, answer, length)) return -1;
  dns_counts.answers++;
  if (dns_read_question(query, query_length, &question) != DNS_OK) return -1;
  return dns_policy_answer(filter, &question, answer, length);
}

/* Asks the hooks about a question. False: nobody is there to answer. */
static bool ask_hooks(struct question *question, const struct dns_question *about) {
  char text[3 * DNS_NAME_TEXT], name[2 * DNS_NAME_TEXT];
  size_t at = 0;
  for (const char *from = about->name; *from != '\0'; from++) { /* what names don't have is in it as \DDD */
    if (*from == '\\') name[at++] = '\\';
    name[at++] = *from;
  }
  name[at] = '\0';
  int length = snprintf(text, sizeof text, "\"about\":\"dns\",\"name\":\"%s\",\"type\":%u", name, about->type);
  return length > 0 && (size_t)length < sizeof text && hooks_ask(question, text);
}

/* The answer that hooks make, held against the rules as any other. DNS_OK, or the code in its stead. */
static int hook_answer(const uint8_t *query, size_t query_length, const struct ruling *ruling, uint8_t *answer, size_t *length) {
  struct dns_question question;
  if (dns_read_question(query, query_length, &question) != DNS_OK) return DNS_FORMAT_ERROR;
  if (!ruling->permit.allow) return dns_policy_hook(filter, question.name, ruling->permit.hook, ruling->permit.plugin);
  *length = dns_make_answer(query, &question, ruling->addresses, ruling->count, ruling->ttl_s, answer);
  return dns_policy_answer(filter, &question, answer, *length);
}

/* ---- by UDP --------------------------------------------------------------------------------------- */

struct asked {
  struct watch watch;
  struct packet packet; /* what is answered */
  uint8_t head[ETHERNET];
  uint8_t id[2];        /* the guest's; the one that is sent is drawn anew */
  unsigned tries;
  uint64_t until_ms;
  struct question question; /* to the hooks */
  struct asked *next;
  size_t length;
  uint8_t query[DNS_QUERY_MAX];
};

static struct asked *all_asked;
static unsigned asked_count;

static void reply(const struct packet *packet, const uint8_t *data, size_t length) {
  static uint8_t frame[FRAME_MAX];
  size_t made = packet_answer(packet, data, length, frame, sizeof frame);
  if (made > 0) wire_send(wire, frame, made);
}

static void asked_gone(struct watch *watch) {
  struct asked *asked = container_of(watch, struct asked, watch), **at = &all_asked;
  while (*at != asked) at = &(*at)->next;
  *at = asked->next;
  asked_count--;
  free(asked);
}

static void asked_fail(struct asked *asked, int code) {
  dns_counts.failures++;
  memcpy(asked->query, asked->id, 2);
  reply(&asked->packet, asked->query, dns_fail(asked->query, asked->length, code));
  loop_drop(&asked->watch);
}

/* Asks the next server. The watch's descriptor changes hands within one turn of the loop, which
 * compares it before it calls. */
static void asked_try(struct asked *asked) {
  size_t servers = dns_server_count();
  while (asked->tries < servers * ROUNDS) {
    int fd = dns_dial(SOCK_DGRAM, asked->tries++ % servers);
    if (fd < 0) continue;
    if (getrandom(asked->query, 2, 0) != 2 || send(fd, asked->query, asked->length, 0) != (ssize_t)asked->length) {
      close(fd);
      continue;
    }
    if (asked->watch.fd >= 0) close(asked->watch.fd);
    asked->watch.fd = fd;
    asked->until_ms = now_ms() + TRY_MS;
    return;
  }
  asked_fail(asked, DNS_SERVER_FAILURE);
}

static void asked_ready(struct watch *watch, short events) {
  static uint8_t answer[DNS_ANSWER_MAX];
  struct asked *asked = container_of(watch, struct asked, watch);
  (void)events;
  ssize_t got = recv(watch->fd, answer, sizeof answer, MSG_DONTWAIT);
  if (got < 0) {
    if (errno != EAGAIN && errno != EINTR) asked_try(asked); /* nobody is there */
    return;
  }
  if (got < 2 || memcmp(answer, asked->query, 2) != 0) return;
  int code = look_at_answer(asked->query, asked->length, answer, (size_t)got);
  if (code < 0) return;
  if (code != DNS_OK) {
    asked_fail(asked, code);
    return;
  }
  memcpy(answer, asked->id, 2);
  reply(&asked->packet, answer, (size_t)got);
  loop_drop(watch);
}

/* From here on the loop has it. */
static void asked_answered(struct question *question, const struct ruling *ruling) {
  uint8_t answer[HOOK_ANSWER_MAX];
  struct asked *asked = container_of(question, struct asked, question);
  loop_add(&asked->watch);
  if (ruling->permit.allow && !ruling->made) {
    asked_try(asked);
    return;
  }
  size_t length;
  int code = hook_answer(asked->query, asked->length, ruling, answer, &length);
  if (code != DNS_OK) {
    asked_fail(asked, code);
    return;
  }
  memcpy(answer, asked->id, 2);
  reply(&asked->packet, answer, length);
  loop_drop(&asked->watch);
}

void dns_ask(const struct packet *packet) {
  const uint8_t *query = packet->body + UDP_HEADER;
  size_t length = packet->body_length - UDP_HEADER;
  struct dns_question question;
  int code = look_at_question(query, length, &question);
  if (code < 0) return;
  if (code == DNS_OK && (asked_count >= ASKED_MAX || length > DNS_QUERY_MAX)) code = DNS_SERVER_FAILURE;
  struct asked *asked = code == DNS_OK ? calloc(1, sizeof *asked) : NULL;
  if (asked == NULL) {
    uint8_t failed[DNS_QUERY_MAX];
    size_t part = length < sizeof failed ? length : sizeof failed;
    memcpy(failed, query, part);
    if (code != DNS_NOTHING) dns_counts.failures++;
    reply(packet, failed, dns_fail(failed, part, code == DNS_OK ? DNS_SERVER_FAILURE : code));
    return;
  }
  asked->packet = *packet;
  memcpy(asked->head, packet->frame, ETHERNET);
  asked->packet.frame = asked->head;
  asked->length = length;
  memcpy(asked->query, query, length);
  memcpy(asked->id, query, 2);
  asked->watch = (struct watch){.fd = -1, .events = POLLIN, .ready = asked_ready, .gone = asked_gone};
  asked->next = all_asked;
  all_asked = asked;
  asked_count++;
  asked->question.answered = asked_answered;
  if (!hooks_want(HOOK_DNS)) {
    loop_add(&asked->watch);
    asked_try(asked);
  } else if (!ask_hooks(&asked->question, &question)) {
    asked_answered(&asked->question, &HOOKS_GONE);
  }
}

/* ---- by TCP --------------------------------------------------------------------------------------- */

/* A connection of the guest's, which asks one thing after the other. */
struct call {
  struct watch guest, server;
  unsigned listed; /* watches that the loop has */
  bool server_listed;
  bool ended;      /* the guest asks nothing more, and may wait for answers */
  bool busy;       /* a question is on its way */
  struct question question; /* to the hooks, before it is */
  bool sent;
  unsigned tries;
  uint64_t until_ms;
  struct call *next;
  size_t query_length, answer_length; /* with their two bytes of length */
  uint8_t query[2 + DNS_QUERY_MAX];
  uint8_t answer[2 + DNS_ANSWER_MAX];
};

static struct watch door = {.fd = -1};
static struct call *calls;
static unsigned call_count;

static void hang_up(struct call *call) {
  hooks_forget(&call->question);
  loop_drop(&call->server);
  loop_drop(&call->guest);
}

static void let_go(struct call *call) {
  if (--call->listed > 0) return;
  struct call **at = &calls;
  while (*at != call) at = &(*at)->next;
  *at = call->next;
  call_count--;
  free(call);
}

static void guest_gone(struct watch *watch) {
  let_go(container_of(watch, struct call, guest));
}

static void server_gone(struct watch *watch) {
  struct call *call = container_of(watch, struct call, server);
  call->server_listed = false;
  let_go(call);
}

static size_t size_of(const uint8_t *message) {
  return (size_t)message[0] << 8 | message[1];
}

static bool is_whole(const uint8_t *message, size_t length) {
  return length >= 2 && length >= 2 + size_of(message);
}

/* A guest that doesn't read its answers has had enough of them. */
static void answer_guest(struct call *call, const uint8_t *message, size_t length) {
  if (send(call->guest.fd, message, length, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)length) {
    hang_up(call);
    return;
  }
  size_t used = 2 + size_of(call->query);
  memmove(call->query, call->query + used, call->query_length - used);
  call->query_length -= used;
  call->busy = false;
  call->until_ms = now_ms() + CALL_MS;
}

static void call_fail(struct call *call, int code) {
  uint8_t failed[2 + DNS_QUERY_MAX];
  size_t length = size_of(call->query);
  memcpy(failed, call->query, 2 + length);
  length = dns_fail(failed + 2, length, code);
  failed[0] = (uint8_t)(length >> 8);
  failed[1] = (uint8_t)length;
  if (code != DNS_NOTHING) dns_counts.failures++;
  answer_guest(call, failed, 2 + length);
}

static void server_ready(struct watch *watch, short events) {
  struct call *call = container_of(watch, struct call, server);
  if (!call->sent) {
    size_t length = 2 + size_of(call->query);
    if (events & (POLLERR | POLLHUP) || send(watch->fd, call->query, length, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)length) {
      loop_drop(watch); /* dns_step asks the next one */
      return;
    }
    call->sent = true;
    watch->events = POLLIN;
    return;
  }
  ssize_t got = recv(watch->fd, call->answer + call->answer_length, sizeof call->answer - call->answer_length, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) call->answer_length += (size_t)got;
  if (got > 0 && !is_whole(call->answer, call->answer_length)) return;
  loop_drop(watch);
  size_t length = got > 0 ? size_of(call->answer) : 0;
  if (length < 2 || memcmp(call->answer + 2, call->query + 2, 2) != 0) return;
  int code = look_at_answer(call->query + 2, size_of(call->query), call->answer + 2, length);
  if (code == DNS_OK) answer_guest(call, call->answer, 2 + length);
  else if (code > 0) call_fail(call, code);
}

/* It goes on in call_step. */
static void call_answered(struct question *question, const struct ruling *ruling) {
  uint8_t answer[2 + HOOK_ANSWER_MAX];
  struct call *call = container_of(question, struct call, question);
  if (ruling->permit.allow && !ruling->made) {
    call->busy = true;
    call->tries = 0;
    return;
  }
  size_t length;
  int code = hook_answer(call->query + 2, size_of(call->query), ruling, answer + 2, &length);
  if (code != DNS_OK) {
    call_fail(call, code);
    return;
  }
  answer[0] = (uint8_t)(length >> 8);
  answer[1] = (uint8_t)length;
  answer_guest(call, answer, 2 + length);
}

/* Asks on what the guest has asked, once the last server is done with. */
static void call_step(struct call *call) {
  if (call->question.id != 0) return;
  if (call->ended && !is_whole(call->query, call->query_length)) hang_up(call);
  while (call->guest.fd >= 0 && !call->server_listed && is_whole(call->query, call->query_length)) {
    if (!call->busy) {
      struct dns_question question;
      int code = look_at_question(call->query + 2, size_of(call->query), &question);
      if (code < 0) {
        hang_up(call);
        return;
      }
      if (code != DNS_OK) {
        call_fail(call, code);
        continue;
      }
      if (hooks_want(HOOK_DNS)) {
        if (ask_hooks(&call->question, &question)) return;
        call_answered(&call->question, &HOOKS_GONE);
        continue;
      }
      call->busy = true;
      call->tries = 0;
    }
    if (call->tries >= dns_server_count()) {
      call_fail(call, DNS_SERVER_FAILURE);
      continue;
    }
    int fd = dns_dial(SOCK_STREAM, call->tries++);
    if (fd < 0) continue;
    call->sent = false;
    call->answer_length = 0;
    call->server = (struct watch){.fd = fd, .events = POLLOUT, .ready = server_ready, .gone = server_gone};
    call->server_listed = true;
    call->listed++;
    loop_add(&call->server);
  }
}

static void guest_ready(struct watch *watch, short events) {
  struct call *call = container_of(watch, struct call, guest);
  (void)events;
  if (call->query_length == sizeof call->query) { /* more than one question at a time waits, not more than fit */
    hang_up(call);
    return;
  }
  ssize_t got = recv(watch->fd, call->query + call->query_length, sizeof call->query - call->query_length, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) call->query_length += (size_t)got;
  if (got == 0 && !call->ended) {
    call->ended = true;
    watch->events = 0;
    return;
  }
  if (got <= 0 || (call->query_length >= 2 && size_of(call->query) > DNS_QUERY_MAX)) hang_up(call);
}

static void answer_door(struct watch *watch, short events) {
  struct sockaddr_storage name = {0};
  struct address address;
  socklen_t size = sizeof name;
  uint16_t port = 0;
  (void)events;
  int fd = accept4(watch->fd, (struct sockaddr *)&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  struct call *call = NULL;
  /* Others on this machine can connect as well. */
  bool own = address_of_socket((struct sockaddr *)&name, &address, &port) && stack_origin(port) != NULL;
  if (own && call_count < CALLERS_MAX) call = calloc(1, sizeof *call);
  if (call == NULL) {
    close(fd);
    return;
  }
  call->server.fd = -1;
  call->question.answered = call_answered;
  call->until_ms = now_ms() + CALL_MS;
  call->guest = (struct watch){.fd = fd, .events = POLLIN, .ready = guest_ready, .gone = guest_gone};
  call->listed = 1;
  call->next = calls;
  calls = call;
  call_count++;
  loop_add(&call->guest);
}

int dns_step(void) {
  uint64_t now = now_ms();
  int64_t wait = -1;
  struct asked *next_asked;
  for (struct asked *asked = all_asked; asked != NULL; asked = next_asked) {
    next_asked = asked->next;
    if (asked->watch.fd < 0) continue;
    if (now >= asked->until_ms) asked_try(asked);
    int64_t left = (int64_t)(asked->until_ms - now);
    if (asked->watch.fd >= 0 && (wait < 0 || left < wait)) wait = left < 0 ? 0 : left;
  }
  for (struct call *call = calls; call != NULL; call = call->next) {
    if (call->guest.fd >= 0 && now >= call->until_ms) hang_up(call);
    call_step(call);
    if (call->guest.fd < 0) continue;
    int64_t left = (int64_t)(call->until_ms - now);
    /* A server's watch that is only still listed: the loop lets go of it in its next turn. */
    if (call->server_listed && call->server.fd < 0) left = 0;
    if (wait < 0 || left < wait) wait = left;
  }
  return (int)wait;
}

int dns_init(struct filter *own_filter, struct wire *own_wire) {
  struct address loopback;
  struct sockaddr_storage name;
  filter = own_filter;
  wire = own_wire;
  address_parse("127.0.0.1", &loopback);
  socklen_t size = address_socket(&loopback, 0, &name);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, CALLERS_MAX) < 0 ||
      getsockname(fd, (struct sockaddr *)&name, &size) < 0) {
    return -errno;
  }
  address_of_socket((struct sockaddr *)&name, &loopback, &filter->dns_divert);
  door = (struct watch){.fd = fd, .events = POLLIN, .ready = answer_door};
  loop_add(&door);
  return 0;
}
