/* The box's view: namespaces of its own, on the box's disk. Natively (tests) there is none, and
 * commands run where the agent runs. */
#ifndef HUTCH_AGENT_BOX_H
#define HUTCH_AGENT_BOX_H

#include "failure.h"
#include "loop.h"
#include "request.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct agent;
struct stream;

enum box_state { BOX_NONE, BOX_MAKING, BOX_READY, BOX_FAILED };

enum ending {
  ENDING_NO,
  ENDING_TERM, /* the box's processes were asked to end */
  ENDING_LAST, /* commands are gone; the holder ends with the last orphan */
  ENDING_KILL, /* everything was killed */
};

struct box {
  enum box_state state;
  pid_t holder; /* PID 1 of the box's PID namespace; 0: none (any more) */
  int holder_fd; /* a pidfd of it: whose namespaces commands enter */
  bool mounting;      /* `mounter` is to be joined */
  pthread_t mounter;
  int mount_error;    /* of the box's disk, as errno; -1: nobody has tried */
  struct watch word;  /* the holder's report on making the view, see view.h */
  int terminals;      /* the root of the box's devpts */
  int leash;          /* carries the order to become the image's init, and closing it the one to end
                         with the last child */
  bool init;          /* the holder is the image's init by now, or about to be */
  bool volumes;       /* it has some, which outlive it */
  uint64_t started_ms;
  uint32_t stream;    /* that asked for it */
  enum ending ending;
  bool discard;       /* nobody will look at its disk again */
  bool asked;         /* the box itself asked to end, by reboot(2) */
  bool collapsed;     /* the holder ended and nobody had asked */
  uint64_t deadline_ms; /* of the present phase of ending */
};

void box_init(struct box *box);

/* Begins to mount the box's disk, which is worth doing before the host asks: it waits for the disk. */
void box_mount(struct box *box);

/* The same of a disk that took another one's place. 0, or a negative errno. */
int box_mount_anew(struct box *box);

/* Waits until it is mounted. 0, or an errno; -1: nobody has tried. */
int box_mounted(struct box *box);

/* Starts making the view; the answer goes to `stream`. 0, or -1 with `failure` filled. */
int box_configure(struct agent *agent, struct stream *stream, const struct request *request,
                  struct failure *failure);

/* In a child: enters the view. 0, or -1 with `failure` filled. */
int box_enter(const struct box *box, struct failure *failure);

/* Lets the holder become the request's command, with these as its standard input and output, and
 * `report` for its word. Its process, or a negative errno. */
pid_t box_become_init(struct box *box, const struct request *request, const int files[static 4]);

/* Grows the box's file system behind everybody's back, where the holder can't. 0; or a negative errno:
 * new commands would not get into the box. */
int box_grow_rest(const struct box *box);

/* The holder ended. Gives the status that its command counts as having. */
int box_holder_ended(struct agent *agent, int status);

/* Begins to end the guest; `discard`: what its disk has needn't be kept. */
void ending_begin(struct agent *agent, uint32_t grace_ms, bool discard);

/* One step of it; called after each turn of the loop. Doesn't return when the guest is over. */
void ending_step(struct agent *agent);

/* How long the loop may wait for events, in ms; -1: without limit. */
int ending_wait_ms(const struct agent *agent);

/* Ends the guest at once: kills, syncs, makes the box's disk clean, restarts the machine. */
_Noreturn void guest_end(struct agent *agent);

/* Milliseconds since the kernel started. */
uint64_t now_ms(void);

#endif
