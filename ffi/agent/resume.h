/* Going on with another host, after this machine's memory was kept and another machine went on from it:
 * there it is another box. */
#ifndef HUTCH_AGENT_RESUME_H
#define HUTCH_AGENT_RESUME_H

#include "failure.h"
#include "request.h"

#include <stdbool.h>

struct agent;
struct stream;

/* The host is gone: says hello to the one that may be there by now. What it had open ends, but for
 * commands that outlive their host: these wait to be adopted. False: there is no other host. */
bool resume_connection(struct agent *agent);

/* How long another host may still take to come, in ms; 0: it didn't, -1: nobody waits for one. */
int resume_wait_ms(struct agent *agent);

/* Gives a command that waits to `stream`. 0; or -1 with `failure` filled. */
int resume_adopt(struct agent *agent, struct stream *stream, const struct request *request, struct failure *failure);

/* Becomes the box that it goes on as: the time, random numbers, the host name. Commands that nobody
 * adopted until now end. 0; or -1 with `failure` filled. */
int resume_as(struct agent *agent, const struct request *request, struct failure *failure);

#endif
