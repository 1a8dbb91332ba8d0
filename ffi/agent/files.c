#define _GNU_SOURCE 1
/* The program "files": answers requests about the box's files until its input ends. Several threads
 * take turns at reading requests, so that one that hangs (a FIFO, a host's folder) holds up no other. */
#include "builtin.h"
#include "files_do.h"
#include "files_frame.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_THREADS 16
#define STACK (256 * 1024)

static struct {
  pthread_mutex_t in;    /* whose turn it is to read */
  pthread_mutex_t out;   /* replies are whole */
  pthread_mutex_t state; /* of what follows */
  pthread_cond_t quiet;  /* nobody is busy */
  unsigned threads;
  unsigned busy;
} pool = {
  .in = PTHREAD_MUTEX_INITIALIZER, .out = PTHREAD_MUTEX_INITIALIZER,
  .state = PTHREAD_MUTEX_INITIALIZER, .quiet = PTHREAD_COND_INITIALIZER,
};

static _Noreturn void broken(const char *why) {
  fprintf(stderr, "files: cannot go on: %s\n", why);
  _exit(2);
}

/* 1; or 0 if the input ends before its first byte. */
static int read_whole(uint8_t *bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t got = read(STDIN_FILENO, bytes + done, length - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) broken(strerror(errno));
    if (got == 0 && done == 0) return 0;
    if (got == 0) broken("the input ends within a request");
    done += (size_t)got;
  }
  return 1;
}

static uint32_t number_at(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The next request's frame, to be freed; NULL at the end. */
static uint8_t *read_frame(struct files_request *request) {
  uint8_t head[FILES_FRAME_HEAD];
  if (read_whole(head, sizeof head) == 0) return NULL;
  const uint32_t head_length = number_at(head), data_length = number_at(head + 4);
  if (head_length == 0 || head_length > FILES_MAX_HEAD) broken("a request's head is too long");
  if (data_length > FILES_MAX_DATA) broken("a request's data is too long");
  uint8_t *frame = malloc((size_t)head_length + data_length);
  if (frame == NULL) broken("no memory for a request");
  if (read_whole(frame, (size_t)head_length + data_length) == 0) broken("the input ends within a request");
  const char *why;
  if (files_request_parse(frame, head_length, frame + head_length, data_length, request, &why) < 0) broken(why);
  return frame;
}

static void write_frame(struct files_reply *reply) {
  if (reply->head.overflow) broken("a reply is too long");
  reply->head.bytes[0] = (uint8_t)(0xa0 | reply->pairs);
  pthread_mutex_lock(&pool.out);
  int error = files_frame_write(&reply->head, reply->data, reply->data_length);
  if (error < 0) broken(strerror(-error));
  pthread_mutex_unlock(&pool.out);
}

static void begin_reply(struct files_reply *reply, uint32_t id) {
  reply->head.length = 0;
  cbor_out_map(&reply->head, 0);
  cbor_out_text(&reply->head, "id");
  cbor_out_uint(&reply->head, id);
  reply->pairs = 1;
}

static void answer(const struct files_request *request) {
  struct files_reply reply = {0};
  begin_reply(&reply, request->id);
  int error = files_do(request, &reply);
  if (error < 0) {
    begin_reply(&reply, request->id);
    cbor_out_text(&reply.head, "errno");
    cbor_out_uint(&reply.head, (uint64_t)-error);
    reply.pairs++;
    reply.data_length = 0;
  }
  write_frame(&reply);
  free(reply.data);
}

static void *serve(void *unused);

/* A request is about to be done: somebody else has to read on. */
static void begin(void) {
  pthread_mutex_lock(&pool.state);
  pool.busy++;
  const bool more = pool.busy == pool.threads && pool.threads < MAX_THREADS;
  pool.threads += more;
  pthread_mutex_unlock(&pool.state);
  if (!more) return;
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int error = pthread_create(&thread, &attributes, serve, NULL);
  pthread_attr_destroy(&attributes);
  if (error == 0) return;
  pthread_mutex_lock(&pool.state); /* those that are there have to do */
  pool.threads--;
  pthread_mutex_unlock(&pool.state);
}

static void end(void) {
  pthread_mutex_lock(&pool.state);
  pool.busy--;
  if (pool.busy == 0) pthread_cond_signal(&pool.quiet);
  pthread_mutex_unlock(&pool.state);
}

static void *serve(void *unused) {
  (void)unused;
  for (;;) {
    struct files_request request;
    pthread_mutex_lock(&pool.in);
    uint8_t *frame = read_frame(&request);
    if (frame == NULL) {
      pthread_mutex_lock(&pool.state);
      while (pool.busy > 0) pthread_cond_wait(&pool.quiet, &pool.state);
      _exit(0); /* with both locks: nobody begins anything any more */
    }
    begin();
    pthread_mutex_unlock(&pool.in);
    answer(&request);
    files_request_free(&request);
    free(frame);
    end();
  }
  return NULL;
}

int files_main(int argc, char **argv) {
  (void)argc;
  (void)argv;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  pool.threads = 1;
  serve(NULL);
  return 0;
}
