/* The agent's whole state. There is one, in main.c; everything else gets a pointer to it. */
#ifndef HUTCH_AGENT_AGENT_H
#define HUTCH_AGENT_AGENT_H

#include "box.h"
#include "channel.h"
#include "loop.h"
#include "streams.h"
#include "transfer.h"

#ifndef HUTCH_VERSION
#define HUTCH_VERSION "0.1.0"
#endif

struct agent {
  struct loop loop;
  struct channel channel;
  struct streams streams;
  struct transfer transfer;
  struct watch children; /* signalfd of SIGCHLD */
  struct box box;
  uint64_t host_by_ms; /* when another host has to have come; 0: one is here */
  int (*reconnect)(void); /* gives a channel to another host once this one is gone; NULL: that is the end */
  bool more_soon; /* what a command does next is worth waiting for: its words leave in one write */
};

/* Starts serving on `fd`. 0 or a negative errno. */
int agent_open(struct agent *agent, int fd);
void agent_close(struct agent *agent);

/* Says hello. */
void agent_greet(struct agent *agent);

/* Frees a stream, and ends what it runs. */
void agent_free_stream(struct agent *agent, struct stream *stream);

/* Serves until the guest has to end. */
void agent_serve(struct agent *agent);

/* Sends GOODBYE (if frames can still be sent) and ends the guest; natively the process, with code 1. */
_Noreturn void agent_lost(struct agent *agent, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds GOODBYE and waits, for a short time, until the channel took it. False: it couldn't. */
bool agent_goodbye(struct agent *agent, const char *reason, const char *message);

/* Sends what waits to be sent, as far as the channel takes it. True: there is more to do at once. */
bool agent_pump(struct agent *agent);

/* Calls `visit` for each stream that runs a command. */
void agent_each_exec(struct agent *agent, void (*visit)(struct exec *exec, void *context), void *context);

#endif
