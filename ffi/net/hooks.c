#define _GNU_SOURCE 1
#include "hooks.h"

#include "control.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Hooks have a limit of their own, which is shorter: this one is for a program that stands still. */
enum { ANSWER_MS = 15000, QUESTION_TEXT = 16384 };

const struct ruling HOOKS_GONE = {.permit = {.hook = "gone"}};
const struct ruling HOOKS_LATE = {.permit = {.hook = "late"}};

static unsigned wanted;
static struct question *questions; /* the newest first */
static uint32_t last_id;

int hooks_set(struct filter *filter, char *const *names, size_t count) {
  static const struct { const char *name; enum hook hook; } NAMES[] = {
    {"connect", HOOK_CONNECT}, {"dns", HOOK_DNS}, {"request", HOOK_REQUEST},
  };
  unsigned set = 0;
  for (size_t i = 0; i < count; i++) {
    size_t at = 0, all = sizeof NAMES / sizeof *NAMES;
    while (at < all && strcmp(NAMES[at].name, names[i]) != 0) at++;
    if (at == all) return -EINVAL;
    set |= NAMES[at].hook;
  }
  wanted = set;
  filter->ask = hooks_want(HOOK_CONNECT);
  return 0;
}

bool hooks_want(enum hook hook) {
  return (wanted & hook) != 0;
}

bool hooks_ask(struct question *question, const char *text) {
  char line[QUESTION_TEXT];
  if (++last_id == 0) last_id = 1;
  int length = snprintf(line, sizeof line, "{\"ask\":%u,%s}\n", last_id, text);
  if (length < 0 || (size_t)length >= sizeof line || !control_ask(line)) return false;
  question->id = last_id;
  question->until_ms = now_ms() + ANSWER_MS;
  question->next = questions;
  questions = question;
  return true;
}

void hooks_forget(struct question *question) {
  struct question **at = &questions;
  if (question->id == 0) return;
  while (*at != question) at = &(*at)->next;
  *at = question->next;
  question->id = 0;
}

static void settle(struct question *question, const struct ruling *ruling) {
  hooks_forget(question);
  question->answered(question, ruling);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static bool number(const char *text, unsigned long most, unsigned long *value) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || digits > 10 || text[digits] != '\0') return false;
  *value = strtoul(text, NULL, 10);
  return *value <= most;
}

bool hooks_word(const char *text) {
  static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%._~!*'()-";
  size_t length = strlen(text);
  return length > 0 && length <= HOOK_WORD && strspn(text, LETTERS) == length;
}

static bool read_denial(char *const *words, size_t count, struct permit *permit) {
  static const char *const HOW[] = {"refused", "failed", "late"};
  if (count != 2 || !hooks_word(words[1])) return false;
  for (size_t i = 0; i < sizeof HOW / sizeof *HOW; i++) {
    if (strcmp(words[0], HOW[i]) == 0) permit->hook = HOW[i];
  }
  permit->plugin = words[1];
  return permit->hook != NULL;
}

static bool read_names(char *const *words, size_t count, struct ruling *ruling) {
  unsigned long ttl;
  if (count < 1 || count - 1 > HOOK_ADDRESSES || !number(words[0], 86400, &ttl)) return false;
  ruling->ttl_s = (uint32_t)ttl;
  for (size_t i = 1; i < count; i++) {
    if (!address_parse(words[i], &ruling->addresses[ruling->count++])) return false;
  }
  return true;
}

/* ID allow | ID to ADDRESS PORT | ID names TTL [ADDRESS...] | ID deny refused|failed|late PLUGIN */
static bool read_ruling(char *const *words, size_t count, struct ruling *ruling) {
  const char *kind = words[0];
  unsigned long port;
  if (strcmp(kind, "deny") == 0) return read_denial(words + 1, count - 1, &ruling->permit);
  ruling->permit.allow = true;
  if (strcmp(kind, "allow") == 0) return count == 1;
  ruling->made = strcmp(kind, "names") == 0;
  if (ruling->made) return read_names(words + 1, count - 1, ruling);
  if (strcmp(kind, "to") != 0 || count != 3 || !address_parse(words[1], &ruling->permit.to)) return false;
  if (!number(words[2], 65535, &port) || port == 0) return false;
  ruling->permit.to_port = (uint16_t)port;
  return true;
}

int hooks_answer(char *const *words, size_t count) {
  struct ruling ruling = {0};
  unsigned long id;
  if (count < 2 || !number(words[0], UINT32_MAX, &id) || !read_ruling(words + 1, count - 1, &ruling)) return -EINVAL;
  struct question *question = questions;
  while (question != NULL && question->id != id) question = question->next;
  if (question != NULL) settle(question, &ruling); /* else it has been given up */
  return 0;
}

void hooks_lost(void) {
  while (questions != NULL) settle(questions, &HOOKS_GONE);
}

int hooks_step(void) {
  uint64_t now = now_ms();
  /* Each has the same time, so that the last of the list is the first to be late. */
  for (;;) {
    struct question *oldest = questions;
    while (oldest != NULL && oldest->next != NULL) oldest = oldest->next;
    if (oldest == NULL) return -1;
    if (now < oldest->until_ms) return (int)(oldest->until_ms - now);
    settle(oldest, &HOOKS_LATE);
  }
}
