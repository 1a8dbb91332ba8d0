/* Questions to the program whose plugins decide what may begin and where names lead: asked of the first
 * program that offered to answer (order `asks`), and answered by its order `answer`. Where nobody is
 * there, or says nothing in time, the answer is no. */
#ifndef HUTCH_NET_HOOKS_H
#define HUTCH_NET_HOOKS_H

#include "filter.h"

enum hook { HOOK_CONNECT = 1, HOOK_DNS = 2, HOOK_REQUEST = 4 };

enum { HOOK_ADDRESSES = 16, HOOK_WORD = 300 };

/* What the hooks say: as a permit, or which addresses a name has. */
struct ruling {
  struct permit permit;
  bool made; /* `addresses` answer the question for a name */
  size_t count;
  struct address addresses[HOOK_ADDRESSES];
  uint32_t ttl_s;
};

struct question {
  uint32_t id; /* 0: it waits for nothing */
  uint64_t until_ms;
  void (*answered)(struct question *question, const struct ruling *ruling); /* it waits no more then */
  struct question *next;
};

extern const struct ruling HOOKS_GONE; /* nobody is there */
extern const struct ruling HOOKS_LATE; /* nobody said anything in time, or too much is asked at once */

/* Which hooks there are, by their names, from now on: nothing of their kind begins without an answer.
 * 0, or a negative errno. */
int hooks_set(struct filter *filter, char *const *names, size_t count);
bool hooks_want(enum hook hook);

/* Asks; `text` is the question as members of a JSON object. False: nobody is there. */
bool hooks_ask(struct question *question, const char *text);

/* Whether a text can stand for a plugin's name, as programs encode them: it needs no quotes. */
bool hooks_word(const char *text);

/* It isn't wanted any more. */
void hooks_forget(struct question *question);

/* Takes the words behind `answer`. 0, or a negative errno. */
int hooks_answer(char *const *words, size_t count);

/* Whoever was asked has gone. */
void hooks_lost(void);

/* Gives up what waits too long. When to come again, in ms; -1: there is nothing to wait for. */
int hooks_step(void);

#endif
