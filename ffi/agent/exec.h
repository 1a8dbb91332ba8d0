/* A command in the box: starting it, its three pipes or its terminal, its end. */
#ifndef HUTCH_AGENT_EXEC_H
#define HUTCH_AGENT_EXEC_H

#include "byte_queue.h"
#include "exec_child.h"
#include "loop.h"
#include "request.h"
#include "streams.h"

#include <stdbool.h>
#include <sys/types.h>

struct exec_output {
  struct watch watch; /* the pipe's reading end; -1 once its end was reached or it was dropped */
  bool readable;
  bool wide;
  bool hung_up;       /* nobody can write into it any more */
  bool end_sent;
  bool end_again;     /* another host has to hear of it */
  uint32_t credit;    /* bytes that may still be sent */
  uint32_t drain;     /* bytes to send before EXIT may go, once the command has ended */
};

/* A piece of stdin from the host. */
struct exec_piece {
  const uint8_t *bytes;
  size_t length;
  bool last; /* of its frame */
  bool end;  /* of stdin */
};

struct exec {
  struct agent *agent;
  struct stream *stream;
  pid_t pid;
  pid_t shown_pid;    /* as it sees itself, once it has started */
  char held[REQUEST_MAX_HELD + 1]; /* its id, if it outlives its host; else empty */
  bool reaped;
  int status;         /* of wait, once reaped */
  bool started;       /* execve worked */
  bool exit_sent;
  bool dropped;       /* nobody wants its output any more */
  bool tidies;        /* of `struct builtin` */
  bool tty;           /* `in` and `out[0]` are its terminal; `out[1]` isn't there */
  bool may_widen;     /* it is among the few that may have wide pipes */
  struct watch timer;  /* of its timeout; -1 if there is none (any more) */
  uint32_t grace_ms;   /* from TERM to KILL */
  bool timed_out;      /* its time was over before it ended */
  struct watch report; /* the child's word on how starting went */
  struct watch in;     /* stdin pipe's writing end; -1 if there is none (any more) */
  bool in_wanted;      /* the request asked for stdin */
  bool in_full;
  bool in_wide;
  bool in_end;         /* the host sent its last byte */
  bool in_closed_told; /* "stdin closed" was sent, or needn't be */
  bool in_mid_line;    /* its last byte, which ended no line, went to a terminal */
  bool in_broken;      /* the command closed its stdin */
  struct byte_queue in_queue;
  uint32_t in_unpaid;  /* received, no credit given back yet */
  uint32_t in_owed;    /* of those: consumed */
  struct exec_output out[2]; /* stdout, stderr */
  uint32_t window;     /* of each of its channels */
  unsigned turn;       /* which of them goes first next time */
  uint8_t *ring;       /* of a program that has one, or NULL; then its pipes carry counts */
  bool ring_in;        /* the program reads it */
  size_t ring_at;      /* where the next bytes are written to or sent from */
  uint32_t ring_untold; /* bytes written or sent that the program doesn't know of */
  uint32_t ring_ready; /* bytes that the program has written and that weren't sent */
  uint32_t ring_lent;  /* of those: with the channel */
};

/* Starts the request's command on `stream`, which is wide if the command has a ring, and only then. 0; or -1 with `failure` filled and nothing left. */
int exec_start(struct agent *agent, struct stream *stream, struct request *request, bool wide, struct failure *failure);

/* A piece of stdin from the host. 0; or -1 with `failure` filled. */
int exec_input(struct exec *exec, const struct exec_piece *piece, struct failure *failure);
/* Where the next piece is best put, up to `*room` bytes (1 at least); NULL: nowhere. */
uint8_t *exec_input_place(struct exec *exec, size_t *room);

/* The host took `bytes` of a channel. 0; or -1 with `failure` filled. */
int exec_credit(struct exec *exec, unsigned channel, uint32_t bytes, struct failure *failure);

/* Sends a signal to the command's process group; nothing happens if the command has ended. */
void exec_signal(struct exec *exec, int signal);

/* Nobody wants it any more: drops its pipes and kills it if it runs; one that tidies up gets a moment
 * for that. Idempotent. */
void exec_drop(struct exec *exec);

/* The command ended. */
void exec_reaped(struct exec *exec, int status);

/* Adds frames to the channel, which has room. True: there is more to send at once. */
bool exec_produce(struct exec *exec);

/* Goes on with another host on a stream of its own: both windows are whole again. */
void exec_adopt(struct exec *exec, struct stream *stream);

/* Whether nothing more can come from it, so that CLOSE may be sent. */
bool exec_over(const struct exec *exec);

void exec_free(struct exec *exec);

#endif
