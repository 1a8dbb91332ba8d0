/* Throws bytes at the agent's frame reader and request parser. Built with libFuzzer where clang has
 * it; else (HUTCH_FUZZ_MAIN) with a small generator of its own: `fuzz_frames SEED RUNS`. */
#include "agent/frames.h"
#include "agent/request.h"

#include <stdlib.h>
#include <string.h>

/* What the reader handed on, compared with how much it was given. */
struct seen {
  size_t bytes;
  uint32_t data_left;
};

static void expect(int condition) {
  if (!condition) abort();
}

static void on_message(void *context, const struct frame *frame, const uint8_t *payload) {
  struct seen *seen = context;
  expect(frame_refusal(frame) == NULL && frame->length <= HUTCH_MAX_MESSAGE && seen->data_left == 0);
  seen->bytes += HUTCH_HEADER_SIZE + frame->length;
  struct request request;
  const char *why = NULL;
  if (request_parse(payload, frame->length, &request, &why) == 0) {
    if (request.op == REQUEST_EXEC) expect(request.argv[0] != NULL && request.cwd[0] == '/');
    size_t entries = 0;
    for (char **entry = request.env; entry != NULL && *entry != NULL; entry++, entries++) {
      expect(strlen(*entry) <= frame->length);
    }
    expect(entries == request.env_count);
    expect(request.limit_count <= EXEC_LIMIT_COUNT && request.timeout_ms <= REQUEST_MAX_TIMEOUT_MS);
    for (size_t i = 0; i < request.limit_count; i++) {
      expect(request.limits[i].resource >= 0 && request.limits[i].resource < EXEC_LIMIT_COUNT);
      expect(request.limits[i].soft <= request.limits[i].hard);
    }
    if (request.op == REQUEST_EXEC) expect((request.caps.give & ~request.caps.keep) == 0);
    request_free(&request);
  } else {
    expect(why != NULL);
  }
  struct control control;
  if (control_parse(payload, frame->length, &control, &why) == 0) {
    bool is_size = control.size.rows > 0 && control.size.columns > 0;
    expect(is_size ? control.signal == 0 : control.signal >= 1 && control.signal <= 64);
  }
}

static void on_data(void *context, const struct frame *frame, const uint8_t *bytes, size_t length, bool last) {
  struct seen *seen = context;
  if (seen->data_left == 0) {
    seen->bytes += HUTCH_HEADER_SIZE;
    seen->data_left = frame->length;
  }
  expect(length <= seen->data_left);
  seen->data_left -= (uint32_t)length;
  expect(last == (seen->data_left == 0));
  seen->bytes += length;
  unsigned sum = 0;
  for (size_t i = 0; i < length; i++) sum += bytes[i]; /* reads them all */
  expect(sum <= 255 * length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct frame_reader *reader = malloc(sizeof *reader);
  expect(reader != NULL);
  reader->start = reader->end = 0;
  reader->in_data = false;
  struct seen seen = {0};
  const struct frame_sink sink = {.context = &seen, .message = on_message, .data = on_data};
  /* The first byte says in what pieces the rest arrives. */
  size_t step = size > 0 ? (size_t)bytes[0] * 4 + 1 : 1;
  const char *why = NULL;
  size_t at = size > 0 ? 1 : 0, given = 0;
  int result = 0;
  while (at < size && result == 0) {
    size_t piece = size - at < step ? size - at : step;
    expect(piece <= sizeof reader->buffer - reader->end);
    memcpy(reader->buffer + reader->end, bytes + at, piece);
    reader->end += piece;
    at += piece;
    given += piece;
    result = frames_parse(reader, &sink, &why);
    if (result == 0) expect(seen.bytes + reader->end == given);
  }
  if (result != 0) expect(why != NULL);
  free(reader);
  return 0;
}

#ifdef HUTCH_FUZZ_MAIN

static uint64_t state;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static size_t put_text(uint8_t *at, const char *text) {
  size_t length = strlen(text);
  at[0] = (uint8_t)(0x60 | length);
  memcpy(at + 1, text, length);
  return length + 1;
}

/* Good limits, more or less. */
static size_t put_limits(uint8_t *at) {
  static const char *const NAMES[] = {"as", "cpu", "nofile", "stack"};
  size_t used = 0;
  unsigned pairs = next(4);
  at[used++] = (uint8_t)(0xa0 | pairs);
  for (unsigned i = 0; i < pairs; i++) {
    used += put_text(at + used, NAMES[next(4)]);
    at[used++] = 0x82;
    at[used++] = (uint8_t)next(12);
    at[used++] = (uint8_t)(next(4) ? 12 + next(12) : 0xf6);
  }
  return used;
}

/* A good exec request, more or less. */
static size_t put_request(uint8_t *at) {
  static const char *const KEYS[] = {"argv", "env", "cwd", "user", "stdin", "hostname", "grow",
                                     "signal", "graceMs", "timeoutMs", "capKeep", "capGive", "rlimits", "builtin", "tty",
                                     "addresses", "gateways", "hosts", "resolv", "mtu"};
  size_t used = 0;
  unsigned pairs = 1 + next(9);
  at[used++] = (uint8_t)(0xa0 | pairs);
  used += put_text(at + used, "op");
  used += put_text(at + used, next(2) ? "exec" : next(3) ? next(2) ? "signal" : "resize" : "ping");
  for (unsigned i = 1; i < pairs; i++) {
    unsigned key = next(sizeof KEYS / sizeof KEYS[0]);
    used += put_text(at + used, KEYS[key]);
    if (key < 2 || (key > 14 && key < 18)) {
      at[used++] = 0x82;
      used += put_text(at + used, "a=b");
      used += put_text(at + used, "c=");
    } else if (key == 4 || key == 6) {
      at[used++] = (uint8_t)(0xf4 + next(2));
    } else if (key == 12) {
      used += put_limits(at + used);
    } else if (key == 13) {
      used += put_text(at + used, next(2) ? "files" : "");
    } else if (key == 14) {
      at[used++] = 0x82;
      at[used++] = (uint8_t)next(24);
      at[used++] = (uint8_t)next(24);
    } else if (key > 6 && key != 18) {
      at[used++] = (uint8_t)next(24);
    } else {
      used += put_text(at + used, "/x");
    }
  }
  return used;
}

static size_t make(uint8_t *bytes, size_t room) {
  static const uint8_t TYPES[] = {HUTCH_OPEN, HUTCH_DATA, HUTCH_CREDIT, HUTCH_CONTROL, HUTCH_CLOSE};
  size_t used = 0;
  bytes[used++] = (uint8_t)next(256);
  for (unsigned frames = next(8); frames > 0 && used + 1024 < room; frames--) {
    struct frame frame = {.stream = 1 + next(5), .type = TYPES[next(5)], .flags = (uint8_t)next(256)};
    uint8_t *payload = bytes + used + HUTCH_HEADER_SIZE;
    frame.length = (uint32_t)(frame.type == HUTCH_DATA ? next(600) : put_request(payload));
    frame_encode(&frame, bytes + used);
    used += HUTCH_HEADER_SIZE + frame.length;
  }
  for (unsigned flips = next(4); flips > 0; flips--) bytes[next((uint32_t)used)] = (uint8_t)next(256);
  return next(4) == 0 ? next((uint32_t)used) + 1 : used;
}

int main(int count, char **arguments) {
  static uint8_t bytes[16 * 1024];
  if (count != 3) return 2;
  state = strtoull(arguments[1], NULL, 10);
  for (long runs = strtol(arguments[2], NULL, 10); runs > 0; runs--) {
    LLVMFuzzerTestOneInput(bytes, make(bytes, sizeof bytes));
  }
  return 0;
}

#endif
