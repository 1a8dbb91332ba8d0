#include "dispatch.h"

#include "../transfer_disk.h"
#include "agent.h"
#include "exec.h"
#include "exec_tty.h"
#include "resume.h"

#include <errno.h>
#include <stddef.h>

/* The stream broke a rule, or its request can't be done: ERROR, end of what it runs, CLOSE. */
static void refuse(struct agent *agent, struct stream *stream, const struct failure *failure) {
  if (stream->done) return; /* it's on its way out already */
  if (stream->exec != NULL) exec_drop(stream->exec);
  if (stream_refuse(&agent->streams, stream, failure) < 0) agent_lost(agent, "no memory for a reply");
}

static void refuse_request(struct agent *agent, struct stream *stream, const char *why) {
  struct failure failure;
  failure_set(&failure, FAILURE_BAD_REQUEST, 0, "%s", why);
  refuse(agent, stream, &failure);
}

static void run(struct agent *agent, struct stream *stream, struct request *request, bool wide) {
  struct failure failure;
  int result = 0;
  if (request->op == REQUEST_PING) {
    stream->done = true;
    struct cbor_out message = {0};
    cbor_out_map(&message, 0);
    result = stream_answer(&agent->streams, stream, HUTCH_REPLY, &message);
    if (result < 0) agent_lost(agent, "no memory for a reply");
    return;
  }
  if (request->op == REQUEST_ADOPT) {
    if (resume_adopt(agent, stream, request, &failure) < 0) refuse(agent, stream, &failure);
    return;
  }
#ifdef HUTCH_NATIVE
  if (request->op != REQUEST_EXEC || request->init) {
    refuse_request(agent, stream, "this agent isn't the first process of a guest");
    return;
  }
#else
  if (agent->box.ending != ENDING_NO) {
    failure_set(&failure, FAILURE_BUSY, 0, "the guest is about to end");
    refuse(agent, stream, &failure);
    return;
  }
  if (request->op == REQUEST_CONFIGURE) {
    if (box_configure(agent, stream, request, &failure) < 0) refuse(agent, stream, &failure);
    return;
  }
  if (request->op == REQUEST_SHUTDOWN) {
    stream->done = true;
    struct cbor_out message = {0};
    cbor_out_map(&message, 0);
    if (stream_answer(&agent->streams, stream, HUTCH_REPLY, &message) < 0) agent_lost(agent, "no memory");
    ending_begin(agent, request->grace_ms, request->discard);
    return;
  }
  if (request->op == REQUEST_RESUME) {
    if (resume_as(agent, request, &failure) < 0) {
      refuse(agent, stream, &failure);
      return;
    }
    stream->done = true;
    struct cbor_out message = {0};
    cbor_out_map(&message, 0);
    if (stream_answer(&agent->streams, stream, HUTCH_REPLY, &message) < 0) agent_lost(agent, "no memory");
    return;
  }
  if (agent->box.state != BOX_READY) {
    refuse_request(agent, stream, "the box isn't configured");
    return;
  }
#endif
  result = exec_start(agent, stream, request, wide, &failure);
  if (result < 0) refuse(agent, stream, &failure);
}

static void open_stream(struct agent *agent, const struct frame *frame, const uint8_t *payload) {
  struct stream *stream = stream_find(&agent->streams, frame->stream);
  if (stream != NULL) {
    refuse_request(agent, stream, "the stream's number is in use");
    return;
  }
  if (agent->streams.count >= HUTCH_MAX_STREAMS + STREAM_REFUSALS) agent_lost(agent, "the host opens too many streams");
  stream = stream_open(&agent->streams, frame->stream);
  if (stream == NULL) agent_lost(agent, "no memory for a stream");
  struct failure failure;
  if (frame->flags & (uint8_t)~HUTCH_WIDE) {
    refuse_request(agent, stream, "a frame with flags that it can't have");
    return;
  }
  if (agent->streams.count > HUTCH_MAX_STREAMS) {
    failure_set(&failure, FAILURE_BUSY, 0, "%d streams are open already", HUTCH_MAX_STREAMS);
    refuse(agent, stream, &failure);
    return;
  }
  struct request request;
  const char *why;
  int error = request_parse(payload, frame->length, &request, &why);
  if (error < 0) {
    failure_set(&failure, error == -ENOMEM ? FAILURE_FAILED : FAILURE_BAD_REQUEST, error == -ENOMEM ? ENOMEM : 0,
                "read the request: %s", why);
    refuse(agent, stream, &failure);
    return;
  }
  run(agent, stream, &request, frame->flags & HUTCH_WIDE);
  request_free(&request);
}

static void credit(struct agent *agent, struct stream *stream, const struct frame *frame, const uint8_t *payload) {
  struct failure failure;
  if (frame->length != 4 || stream->exec == NULL) {
    refuse_request(agent, stream, "credit that makes no sense");
    return;
  }
  if (exec_credit(stream->exec, frame->flags, frame_u32(payload), &failure) < 0) refuse(agent, stream, &failure);
}

static void control(struct agent *agent, struct stream *stream, const struct frame *frame, const uint8_t *payload) {
  struct control control;
  const char *why;
  if (stream->exec == NULL) refuse_request(agent, stream, "control of a stream without a command");
  else if (control_parse(payload, frame->length, &control, &why) < 0) refuse_request(agent, stream, why);
  else if (control.signal != 0) exec_signal(stream->exec, control.signal);
  else if (!stream->exec->tty) refuse_request(agent, stream, "a size for a command without a terminal");
  else tty_resize(stream->exec, control.size);
}

/* The host gave up. What isn't a command ends soon by itself, and says CLOSE then. */
static void give_up(struct agent *agent, struct stream *stream) {
  if (stream->exec == NULL) return;
  stream->done = true;
  exec_drop(stream->exec);
  stream_ready(&agent->streams, stream);
}

/* Also read if nobody wants it any more: the pieces are counted. What came with it is handled in turn, so that
 * the host hears early that it may send more. */
static void take_placed(struct agent *agent, const struct frame *frame, const uint8_t *payload) {
  struct frame data = {.stream = frame->stream, .type = HUTCH_DATA, .flags = frame->flags & (uint8_t)~HUTCH_PLACED};
  size_t room = 0, length = 0;
  uint8_t *place = dispatch_place(agent, &data, &room);
  const char *why;
  const uint8_t *bytes = transfer_take(&agent->transfer, payload, place, room, &length, &why);
  if (bytes == NULL && why != NULL) agent_lost(agent, "read what the host sent: %s", why);
  if (bytes == NULL) {
    agent->channel.ended = true; /* as the channel will say itself, behind what is left in it */
    return;
  }
  data.length = (uint32_t)length;
  dispatch_data(agent, &data, bytes, length, true);
  agent_pump(agent);
}

void dispatch_message(void *context, const struct frame *frame, const uint8_t *payload) {
  struct agent *agent = context;
  if (frame->type == HUTCH_OPEN) {
    open_stream(agent, frame, payload);
    return;
  }
  if (frame->type == HUTCH_DATA) {
    take_placed(agent, frame, payload);
    return;
  }
  struct stream *stream = stream_find(&agent->streams, frame->stream);
  /* Sent before the host knew that the stream is over. */
  if (stream == NULL || stream->done) return;
  if (frame->type == HUTCH_CREDIT) {
    credit(agent, stream, frame, payload);
  } else if (frame->flags != 0) {
    refuse_request(agent, stream, "a frame with flags that it can't have");
  } else if (frame->type == HUTCH_CONTROL) {
    control(agent, stream, frame, payload);
  } else if (frame->length != 0) {
    refuse_request(agent, stream, "a CLOSE frame with a payload");
  } else {
    give_up(agent, stream);
  }
}

void dispatch_data(void *context, const struct frame *frame, const uint8_t *bytes, size_t length, bool last) {
  struct agent *agent = context;
  struct stream *stream = stream_find(&agent->streams, frame->stream);
  if (stream == NULL || stream->done) return;
  if (stream->exec == NULL || (frame->flags & (uint8_t)~HUTCH_END) != HUTCH_STDIN) {
    refuse_request(agent, stream, "data that isn't a command's stdin");
    return;
  }
  if (frame->length == 0 && !(frame->flags & HUTCH_END)) {
    refuse_request(agent, stream, "a DATA frame with neither bytes nor an end");
    return;
  }
  struct failure failure;
  bool end = last && (frame->flags & HUTCH_END);
  const struct exec_piece piece = {.bytes = bytes, .length = length, .last = last, .end = end};
  if (exec_input(stream->exec, &piece, &failure) < 0) refuse(agent, stream, &failure);
}

uint8_t *dispatch_place(void *context, const struct frame *frame, size_t *room) {
  struct agent *agent = context;
  struct stream *stream = stream_find(&agent->streams, frame->stream);
  /* What else there is to be said of the frame was said with its first piece. */
  return stream == NULL || stream->done || stream->exec == NULL ? NULL : exec_input_place(stream->exec, room);
}
