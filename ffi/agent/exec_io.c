#define _GNU_SOURCE 1
/* The bytes of a running command, and the word on its end. */
#include "exec.h"

#include "agent.h"
#include "exec_io.h"
#include "exec_ring.h"
#include "exec_tty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Credit goes back in pieces of this size: each costs the guest an exit from emulation. */
#define CREDIT_PIECE(exec) ((exec)->window / 4)

/* Each change between command and agent costs an emulated guest dearly; a wide pipe makes them rare,
 * and most commands don't need one. */
#define WIDE_PIPE (1024 * 1024)
#define NEARLY_FULL (32 * 1024) /* of the 64 KiB that a pipe has by itself */

static void widen(const struct exec *exec, int fd, bool *wide) {
  if (*wide || !exec->may_widen) return;
  fcntl(fd, F_SETPIPE_SZ, WIDE_PIPE); /* a smaller one works, too */
  *wide = true;
}

/* ---- stdin -------------------------------------------------------------------------------- */

void exec_consumed(struct exec *exec, size_t bytes) {
  exec->in_owed += (uint32_t)bytes;
  /* The end of a terminal's input is something that the host didn't send. */
  if (exec->in_owed > exec->in_unpaid) exec->in_owed = exec->in_unpaid;
  if (exec->in_owed >= CREDIT_PIECE(exec)) stream_ready(&exec->agent->streams, exec->stream);
}

void exec_input_broken(struct exec *exec) {
  size_t queued = exec->ring != NULL ? exec->window : exec->in_queue.length;
  byte_queue_clear(&exec->in_queue);
  loop_drop(&exec->agent->loop, &exec->in);
  exec->in_broken = true;
  exec_consumed(exec, queued);
  stream_ready(&exec->agent->streams, exec->stream);
}

/* Writes into the command's stdin. Gives how much it took. */
static size_t write_input(struct exec *exec, const uint8_t *bytes, size_t length) {
  size_t done = 0;
  while (done < length && !exec->in_full && !exec->in_broken) {
    ssize_t put = write(exec->in.fd, bytes + done, length - done);
    if (put >= 0) {
      done += (size_t)put;
    } else if (errno == EAGAIN && exec->may_widen && !exec->in_wide) {
      widen(exec, exec->in.fd, &exec->in_wide);
    } else if (errno == EAGAIN) {
      exec->in_full = true;
    } else if (errno == EIO && exec->tty) {
      done = length; /* nobody has the terminal open; somebody may again */
    } else if (errno != EINTR) {
      exec_input_broken(exec);
    }
  }
  exec_consumed(exec, done);
  return done;
}

static void write_queue(struct exec *exec) {
  while (!exec->in_full && !exec->in_broken && exec->in_queue.length > 0) {
    size_t length;
    const uint8_t *bytes = byte_queue_peek(&exec->in_queue, &length);
    size_t done = write_input(exec, bytes, length);
    if (!exec->in_broken) byte_queue_take(&exec->in_queue, done);
  }
  if (exec->in_end && exec->in_queue.length == 0) loop_drop(&exec->agent->loop, &exec->in);
}

void exec_on_input(struct watch *watch, uint32_t events) {
  struct exec *exec = container_of(watch, struct exec, in);
  if (events & EPOLLERR) { /* nobody has the reading end */
    exec_input_broken(exec);
    return;
  }
  exec->in_full = false;
  if (exec->ring != NULL) ring_tell(exec);
  else write_queue(exec);
}

/* Also its end is something to be typed. */
static int terminal_input(struct exec *exec, const uint8_t *bytes, size_t length, struct failure *failure) {
  if (length > 0) exec->in_mid_line = bytes[length - 1] != '\n' && bytes[length - 1] != '\r';
  int error = byte_queue_add(&exec->in_queue, bytes, length);
  if (error == 0 && exec->in_end) error = tty_end_input(exec, !exec->in_mid_line);
  if (error < 0) {
    failure_set(failure, FAILURE_FAILED, ENOMEM, "no memory for stdin");
    return -1;
  }
  write_queue(exec);
  return 0;
}

int exec_input(struct exec *exec, const struct exec_piece *piece, struct failure *failure) {
  const uint8_t *bytes = piece->bytes;
  size_t length = piece->length;
  bool end = piece->end;
  if (!exec->in_wanted || exec->in_end) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, exec->in_end ? "data after its end" : "no stdin was asked for");
    return -1;
  }
  if (length > exec->window - exec->in_unpaid) {
    failure_set(failure, FAILURE_WINDOW_EXCEEDED, 0, "more stdin than the window allows");
    return -1;
  }
  exec->in_unpaid += (uint32_t)length;
  exec->in_end = end;
  if (exec->tty) return terminal_input(exec, bytes, length, failure);
  if (exec->in_broken) {
    exec_consumed(exec, length);
    return 0;
  }
  if (exec->ring != NULL) {
    ring_input(exec, piece);
    return 0;
  }
  size_t done = exec->in_queue.length == 0 ? write_input(exec, bytes, length) : 0;
  if (exec->in_broken) {
    exec_consumed(exec, length - done);
  } else if (byte_queue_add(&exec->in_queue, bytes + done, length - done) < 0) {
    failure_set(failure, FAILURE_FAILED, ENOMEM, "no memory for stdin");
    return -1;
  } else if (end && exec->in_queue.length == 0) {
    loop_drop(&exec->agent->loop, &exec->in);
  }
  return 0;
}

static void produce_input_words(struct exec *exec) {
  struct channel *channel = &exec->agent->channel;
  struct frame frame = {.stream = exec->stream->number, .flags = HUTCH_STDIN};
  if (exec->in_broken && !exec->in_closed_told) {
    frame.type = HUTCH_DATA;
    frame.flags = HUTCH_STDIN | HUTCH_END;
    channel_add(channel, &frame, NULL);
    exec->in_closed_told = true;
  }
  if (exec->in_owed >= CREDIT_PIECE(exec) && channel_has_room(channel)) {
    uint8_t bytes[4];
    frame_put_u32(bytes, exec->in_owed);
    frame.type = HUTCH_CREDIT;
    frame.flags = HUTCH_STDIN;
    frame.length = sizeof bytes;
    channel_add(channel, &frame, bytes);
    exec->in_unpaid -= exec->in_owed;
    exec->in_owed = 0;
  }
}

/* ---- stdout and stderr ----------------------------------------------------------------------- */

int exec_credit(struct exec *exec, unsigned channel, uint32_t bytes, struct failure *failure) {
  if (channel != HUTCH_STDOUT && channel != HUTCH_STDERR) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, "credit for a channel that sends nothing");
    return -1;
  }
  struct exec_output *output = &exec->out[channel - HUTCH_STDOUT];
  if (bytes == 0 || bytes > exec->window - output->credit) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, "credit for no bytes, or for more than were sent");
    return -1;
  }
  output->credit += bytes;
  stream_ready(&exec->agent->streams, exec->stream);
  return 0;
}

void exec_end_output(struct exec *exec, struct exec_output *output, unsigned number) {
  struct frame frame = {.stream = exec->stream->number, .type = HUTCH_DATA,
                        .flags = (uint8_t)(number | HUTCH_END)};
  channel_add(&exec->agent->channel, &frame, NULL);
  loop_drop(&exec->agent->loop, &output->watch);
  output->readable = false;
  output->end_sent = true;
  output->drain = 0;
}

/* What a terminal holds can't be counted: it is read until nothing is left. That nobody has it open is
 * its end only once the command has ended; before, somebody may open it again. */
static bool produce_terminal(struct exec *exec) {
  struct exec_output *output = &exec->out[0];
  if (output->watch.fd < 0 || !output->readable || output->credit == 0) return false;
  ssize_t sent = channel_add_from_pipe(&exec->agent->channel, exec->stream->number, HUTCH_STDOUT, output->watch.fd,
                                       output->credit);
  if (sent == -EIO && exec->reaped) {
    exec_end_output(exec, output, HUTCH_STDOUT);
    return true;
  }
  if (sent < 0 && sent != -EIO) agent_lost(exec->agent, "read a command's terminal: error %d", (int)-sent);
  if (sent <= 0) {
    output->readable = false;
    output->drain = 0;
    return false;
  }
  output->credit -= (uint32_t)sent;
  output->drain -= output->drain < (uint32_t)sent ? output->drain : (uint32_t)sent;
  return true;
}

/* Sends one frame of it. True: there may be more to send at once. */
static bool produce_output(struct exec *exec, unsigned index) {
  struct exec_output *output = &exec->out[index];
  uint8_t number = (uint8_t)(HUTCH_STDOUT + index);
  if (output->end_again) {
    exec_end_output(exec, output, number);
    output->end_again = false;
    return true;
  }
  if (exec->tty && index == 0) return produce_terminal(exec);
  if (exec->ring != NULL && index == 0) return ring_produce(exec);
  if (exec->tty && !output->end_sent) exec_end_output(exec, output, number);
  if (output->watch.fd < 0 || !output->readable) return false;
  int waiting = 0;
  if (ioctl(output->watch.fd, FIONREAD, &waiting) < 0) waiting = 0;
  if (waiting >= NEARLY_FULL) widen(exec, output->watch.fd, &output->wide);
  if (waiting == 0 && output->hung_up) {
    exec_end_output(exec, output, number);
    return true;
  }
  size_t limit = (size_t)waiting < output->credit ? (size_t)waiting : output->credit;
  if (waiting > 0 && limit == 0) return false; /* it stays readable until there is credit */
  ssize_t sent = 0;
  if (limit > 0) {
    sent = channel_add_from_pipe(&exec->agent->channel, exec->stream->number, number, output->watch.fd, limit);
  }
  if (sent < 0) agent_lost(exec->agent, "read a command's output: error %d", (int)-sent);
  output->credit -= (uint32_t)sent;
  output->drain -= output->drain < (uint32_t)sent ? output->drain : (uint32_t)sent;
  /* Nothing there though there should be: the command itself read its pipe. */
  if (sent == 0) output->drain = 0;
  /* What comes after our look at the pipe raises a new event, except for an end that we know of. */
  if (sent >= waiting && !output->hung_up) output->readable = false;
  if (sent == 0 && !output->hung_up) output->readable = false;
  return sent > 0 || output->hung_up;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void signal_text(int number, char *text, size_t size) {
  const char *name = sigabbrev_np(number);
  if (name != NULL) snprintf(text, size, "SIG%s", name);
  else if (number >= SIGRTMIN && number <= SIGRTMAX) snprintf(text, size, "SIGRTMIN+%d", number - SIGRTMIN);
  else snprintf(text, size, "SIG%d", number);
}

static void produce_exit(struct exec *exec) {
  struct cbor_out message = {0};
  cbor_out_map(&message, 3);
  cbor_out_text(&message, "code");
  if (WIFEXITED(exec->status)) cbor_out_uint(&message, (uint64_t)WEXITSTATUS(exec->status));
  else cbor_out_null(&message);
  cbor_out_text(&message, "signal");
  if (WIFEXITED(exec->status)) {
    cbor_out_null(&message);
  } else {
    char text[24];
    signal_text(WTERMSIG(exec->status), text, sizeof text);
    cbor_out_text(&message, text);
  }
  cbor_out_text(&message, "timedOut");
  cbor_out_bool(&message, exec->timed_out);
  struct frame frame = {.stream = exec->stream->number, .type = HUTCH_EXIT, .length = (uint32_t)message.length};
  channel_add(&exec->agent->channel, &frame, message.bytes);
  exec->exit_sent = true;
}

static bool exit_due(const struct exec *exec) {
  return exec->started && exec->reaped && !exec->exit_sent && !exec->dropped && exec->out[0].drain == 0 &&
         exec->out[1].drain == 0;
}

bool exec_produce(struct exec *exec) {
  struct channel *channel = &exec->agent->channel;
  if (!exec->started || exec->dropped) return false;
  produce_input_words(exec);
  if (!channel_has_room(channel)) return true;
  unsigned first = exec->turn++ % 2;
  bool sent = produce_output(exec, first);
  if (!channel_has_room(channel)) return true;
  sent |= produce_output(exec, 1 - first);
  if (!channel_has_room(channel)) return true;
  if (exit_due(exec)) produce_exit(exec);
  return sent;
}

bool exec_over(const struct exec *exec) {
  if (!exec->reaped || exec->report.fd >= 0) return false;
  if (exec->out[0].end_again || exec->out[1].end_again) return false;
  return exec->dropped || (exec->exit_sent && exec->out[0].end_sent && exec->out[1].end_sent);
}
