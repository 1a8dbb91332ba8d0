#define _GNU_SOURCE 1
#include "exec.h"

#include "agent.h"
#include "builtin.h"
#include "exec_io.h"
#include "exec_ring.h"
#include "exec_timeout.h"
#include "exec_tty.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Wide pipes are kernel memory that nobody can take back: only the first few commands may have them. */
#define WIDE_COMMANDS 16

/* Both ends of the pipes a child gets; -1 where there is none. A terminal's sides stand in for the
 * ends of `in` and `out`, and the child has it as `error`, too. */
struct ends {
  int in[2];
  int out[2];
  int error[2];
  int report[2];
};

/* For taking away what is half done. */
#define TIDY_MS 2000

static void close_end(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void close_ends(struct ends *ends) {
  for (int i = 0; i < 2; i++) {
    close_end(&ends->in[i]);
    close_end(&ends->out[i]);
    close_end(&ends->error[i]);
    close_end(&ends->report[i]);
  }
}

/* A pipe whose end `ours` doesn't block. The other one must block: programs expect that. */
static int make_pipe(int ends[2], int ours) {
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  if (fcntl(ends[ours], F_SETFL, O_NONBLOCK) < 0) return -errno;
  return 0;
}

/* One descriptor for each direction, as with pipes: each has its own watch. */
static int make_terminal(const struct box *box, const struct request *request, struct ends *ends) {
  int error = tty_open(box, request->tty, &ends->out[0], &ends->out[1]);
  if (error < 0) return error;
  ends->in[0] = fcntl(ends->out[1], F_DUPFD_CLOEXEC, 0);
  ends->error[1] = fcntl(ends->out[1], F_DUPFD_CLOEXEC, 0);
  if (request->has_stdin) ends->in[1] = fcntl(ends->out[0], F_DUPFD_CLOEXEC, 0);
  bool whole = ends->in[0] >= 0 && ends->error[1] >= 0 && (ends->in[1] >= 0 || !request->has_stdin);
  return whole ? 0 : -errno;
}

static int make_pipes(struct ends *ends, bool with_in) {
  int error = 0;
  if (with_in) {
    error = make_pipe(ends->in, 1);
  } else {
    ends->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (ends->in[0] < 0) error = -errno;
  }
  if (error == 0) error = make_pipe(ends->out, 0);
  if (error == 0) error = make_pipe(ends->error, 0);
  return error;
}

static int make_ends(const struct box *box, const struct request *request, bool ring, struct ends *ends) {
  *ends = (struct ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
  bool terminal = request->tty.rows > 0;
  int error = terminal ? make_terminal(box, request, ends) : make_pipes(ends, request->has_stdin || ring);
  if (error == 0) error = make_pipe(ends->report, 0);
  if (error < 0) close_ends(ends);
  return error;
}

static void answer_pid(struct exec *exec) {
  struct cbor_out message = {0};
  cbor_out_map(&message, 1);
  cbor_out_text(&message, "pid");
  cbor_out_uint(&message, (uint64_t)exec->shown_pid);
  if (stream_answer(&exec->agent->streams, exec->stream, HUTCH_REPLY, &message) < 0) {
    agent_lost(exec->agent, "no memory for a reply");
  }
}

static void answer_started(struct exec *exec, pid_t pid) {
  exec->shown_pid = pid;
  exec->started = true;
  exec->agent->more_soon = true;
#ifndef HUTCH_NATIVE
  if (exec->pid == exec->agent->box.holder && box_grow_rest(&exec->agent->box) < 0) {
    agent_lost(exec->agent, "can't get back to the box's processes");
  }
#endif
  answer_pid(exec);
}

static void answer_failed(struct exec *exec, const struct failure *failure) {
  exec_drop(exec);
  if (exec->stream->done) return; /* the host gave up meanwhile */
  if (stream_refuse(&exec->agent->streams, exec->stream, failure) < 0) {
    agent_lost(exec->agent, "no memory for a reply");
  }
}

/* The report pipe has ended: the command runs, or the child has failed. */
static void on_report(struct watch *watch, uint32_t events) {
  struct exec *exec = container_of(watch, struct exec, report);
  if (!(events & (EPOLLHUP | EPOLLERR))) return;
  struct child_report first, second;
  ssize_t one = read(watch->fd, &first, sizeof first);
  ssize_t two = one == sizeof first ? read(watch->fd, &second, sizeof second) : 0;
  loop_drop(&exec->agent->loop, watch);
  if (two == sizeof second) {
    second.failure.text[FAILURE_TEXT - 1] = '\0';
    answer_failed(exec, &second.failure);
  } else if (one == sizeof first && first.failure.kind == FAILURE_NONE) {
    if (!exec->stream->done) answer_started(exec, first.pid);
  } else {
    struct failure failure;
    failure_set(&failure, FAILURE_FAILED, 0, "the command's process ended before it ran anything");
    answer_failed(exec, &failure);
  }
}

/* When the last one who could write is gone, the command is about to end. */
static void on_output(struct exec *exec, struct exec_output *output, uint32_t events) {
  output->readable = true;
  if (events & (EPOLLHUP | EPOLLERR)) output->hung_up = true;
  if (output->hung_up && !exec->reaped) exec->agent->more_soon = true;
  stream_ready(&exec->agent->streams, exec->stream);
}

static void on_stdout(struct watch *watch, uint32_t events) {
  struct exec *exec = container_of(watch, struct exec, out[0].watch);
  on_output(exec, &exec->out[0], events);
}

static void on_stderr(struct watch *watch, uint32_t events) {
  struct exec *exec = container_of(watch, struct exec, out[1].watch);
  on_output(exec, &exec->out[1], events);
}

/* Hands our ends over to the loop. */
static int watch_ends(struct exec *exec, struct ends *ends) {
  struct loop *loop = &exec->agent->loop;
  /* Only the end of the report matters, not its first half: no event but HUP, which always comes. */
  int error = loop_add(loop, &exec->report, ends->report[0], 0, on_report);
  if (error == 0) ends->report[0] = -1;
  if (error == 0) error = loop_add(loop, &exec->out[0].watch, ends->out[0], EPOLLIN, on_stdout);
  if (error == 0) ends->out[0] = -1;
  if (error == 0 && ends->error[0] >= 0) {
    error = loop_add(loop, &exec->out[1].watch, ends->error[0], EPOLLIN, on_stderr);
    if (error == 0) ends->error[0] = -1;
  }
  if (error == 0 && ends->in[1] >= 0) {
    error = loop_add(loop, &exec->in, ends->in[1], EPOLLOUT, exec_on_input);
    if (error == 0) ends->in[1] = -1;
  }
  return error;
}

static pid_t launch(struct exec *exec, struct ends *ends, struct request *request, const struct builtin *builtin) {
#ifndef HUTCH_NATIVE
  if (request->init) {
    const int files[4] = {ends->in[0], ends->out[1], ends->error[1], ends->report[1]};
    return box_become_init(&exec->agent->box, request, files);
  }
#endif
  struct child_plan plan = {
    .argv = request->argv, .env = request->env, .env_count = request->env_count,
    .cwd = request->cwd, .user = request->user,
    .in = ends->in[0], .out = ends->out[1], .error = ends->error[1], .report = ends->report[1], .tty = exec->tty,
    .limits = request->limits, .limit_count = request->limit_count,
    .caps = request->caps, .no_new_privileges = request->no_new_privileges, .builtin = builtin, .ring = exec->ring,
    .private_fd = exec->agent->channel.watch.fd, .box = &exec->agent->box,
  };
  pid_t pid = fork();
  if (pid == 0) exec_child(&plan);
  if (exec->ring != NULL) ring_keep(exec->ring);
  return pid < 0 ? -errno : pid;
}

int exec_start(struct agent *agent, struct stream *stream, struct request *request, bool wide, struct failure *failure) {
  struct ends ends;
  const struct builtin *builtin = request->builtin == NULL ? NULL : builtin_find(request->builtin);
  if (request->builtin != NULL && builtin == NULL) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, "builtin isn't one that this agent has");
    return -1;
  }
  bool with_ring = builtin != NULL && builtin->ring_main != NULL;
  if (with_ring != wide || (with_ring && request->tty.rows > 0)) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, wide ? "only a copy, without a terminal, is wide" : "builtin is one that has to be wide");
    return -1;
  }
  struct exec *exec = calloc(1, sizeof *exec);
  int error = exec == NULL ? -ENOMEM : 0;
  if (error == 0 && with_ring && (exec->ring = ring_open()) == NULL) error = -errno;
  if (error == 0) error = make_ends(&agent->box, request, with_ring, &ends);
  if (error < 0) {
    if (exec != NULL && exec->ring != NULL) ring_close(exec->ring);
    free(exec);
    failure_set(failure, FAILURE_FAILED, -error, "make the command's pipes or terminal: %s", strerror(-error));
    return -1;
  }
  exec->agent = agent;
  exec->ring_in = with_ring && builtin->reads_ring;
  if (request->held != NULL) strcpy(exec->held, request->held);
  exec->stream = stream;
  exec->timer.fd = exec->report.fd = exec->in.fd = exec->out[0].watch.fd = exec->out[1].watch.fd = -1;
  exec->window = wide ? HUTCH_WIDE_WINDOW : HUTCH_WINDOW;
  exec->out[0].credit = exec->out[1].credit = exec->window;
  exec->tty = request->tty.rows > 0;
  exec->may_widen = !exec->tty && agent->streams.count <= WIDE_COMMANDS;
  exec->in_wanted = request->has_stdin;
  exec->in_closed_told = !request->has_stdin;
  error = watch_ends(exec, &ends);
  if (error == 0 && request->timeout_ms > 0) error = exec_timeout_start(exec, request->timeout_ms, request->grace_ms);
  if (error == 0) {
    exec->pid = launch(exec, &ends, request, builtin);
    if (exec->pid < 0) error = (int)exec->pid;
  }
  close_ends(&ends); /* what is left of them: the child's */
  if (error < 0) {
    exec_drop(exec);
    loop_drop(&agent->loop, &exec->report);
    ring_drop(exec);
    free(exec);
    failure_set(failure, FAILURE_FAILED, -error, "start the command's process: %s", strerror(-error));
    return -1;
  }
  exec->tidies = builtin != NULL && builtin->tidies;
  stream->exec = exec;
  return 0;
}

void exec_adopt(struct exec *exec, struct stream *stream) {
  exec->stream = stream;
  stream->exec = exec;
  exec->in_unpaid = exec->in_owed = 0;
  if (exec->in_end || !exec->in_wanted) exec->in_broken = true; /* nothing can be said to it any more */
  exec->in_closed_told = !exec->in_broken;
  for (int i = 0; i < 2; i++) {
    exec->out[i].credit = exec->window;
    exec->out[i].end_again = exec->out[i].end_sent;
  }
  answer_pid(exec);
}

void exec_signal(struct exec *exec, int signal) {
  if (exec->reaped || exec->pid <= 0) return; /* the number may be another's by now */
  /* Before its setsid the child has no group of its own. */
  if (kill(-exec->pid, signal) < 0 && errno == ESRCH) kill(exec->pid, signal);
}

static void kill_command(struct exec *exec) {
  if (exec->reaped || exec->pid <= 0) return;
  exec_signal(exec, SIGKILL);
  kill(exec->pid, SIGKILL); /* it may have moved to another group */
}

void exec_drop(struct exec *exec) {
  if (exec->dropped) return;
  exec->dropped = true;
  exec_timeout_stop(exec);
  if (!exec->tidies || exec_timeout_start(exec, TIDY_MS, 0) < 0) kill_command(exec);
  struct loop *loop = &exec->agent->loop;
  loop_drop(loop, &exec->in);
  loop_drop(loop, &exec->out[0].watch);
  loop_drop(loop, &exec->out[1].watch);
  byte_queue_clear(&exec->in_queue);
}

/* More than the kernel keeps of a terminal's output, whose count it doesn't tell. */
#define TERMINAL_REST (16 * 1024)

static void remember_rest(const struct exec *exec, struct exec_output *output) {
  int waiting = 0;
  if (output == &exec->out[0] && exec->ring_ready > 0) {
    output->drain = exec->ring_ready;
    output->readable = true;
  } else if (output->watch.fd >= 0 && exec->tty) {
    output->drain = TERMINAL_REST;
    output->readable = true;
  } else if (output->watch.fd >= 0 && ioctl(output->watch.fd, FIONREAD, &waiting) == 0 && waiting > 0) {
    output->drain = (uint32_t)waiting;
    output->readable = true;
  }
}

void exec_reaped(struct exec *exec, int status) {
  if (exec->report.fd >= 0) on_report(&exec->report, EPOLLHUP);
  exec->reaped = true;
  exec_timeout_stop(exec);
  exec->status = status;
  remember_rest(exec, &exec->out[0]);
  remember_rest(exec, &exec->out[1]);
  stream_ready(&exec->agent->streams, exec->stream);
}

void exec_free(struct exec *exec) {
  exec_drop(exec);
  exec_timeout_stop(exec);
  kill_command(exec);
  loop_drop(&exec->agent->loop, &exec->report);
  ring_drop(exec);
  free(exec);
}
