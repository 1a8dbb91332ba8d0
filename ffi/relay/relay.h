/* The relay of a box process: passes frames between one guest and any number of clients, on a thread
 * of its own. It rewrites stream numbers and holds both sides to the rules of protocol.h, which bound
 * its memory; it decodes no payload but CREDIT's count. JavaScript is asked nothing on the way.
 *
 * Two unix sockets: clients come to one, to the other (the channel) first the box process itself, twice,
 * then the guest; whoever comes there after that is sent away. What the box process connects is
 *
 *   its client  one like others, but not counted: it asks the guest on the box process's behalf, and
 *               hears HELLO and GOODBYE as clients do;
 *   its holder  stands in for a guest on the streams that clients open with HUTCH_HELD: it gets OPEN,
 *               DATA, CREDIT, CONTROL and CLOSE with numbers of its own, and answers by the same rules.
 *               OPEN has HUTCH_BACKGROUND here if the client said so. A CLOSE without an answer has
 *               the client itself sent away, as one that broke the protocol.
 *
 * A client that breaks the protocol is sent away, a guest that does ends the relay. Functions may be
 * called from any thread. */
#ifndef HUTCH_RELAY_H
#define HUTCH_RELAY_H

#include <stdint.h>

#pragma GCC visibility push(default)

struct hutch_relay;

/* Why a relay ended. */
enum hutch_relay_why {
  HUTCH_RELAY_CLOSED = 1,   /* by hutch_relay_close() */
  HUTCH_RELAY_GUEST_CLOSED, /* the guest said goodbye, or closed its connection between two frames */
  HUTCH_RELAY_GUEST_LOST,   /* its connection failed, or ended within a frame */
  HUTCH_RELAY_PROTOCOL      /* the guest broke the protocol, and should be ended */
};

/* What hutch_relay_state() gives; times are in ns on the clock of CLOCK_MONOTONIC. */
enum hutch_relay_figure {
  HUTCH_RELAY_NOW,
  HUTCH_RELAY_CLIENTS,     /* connected, without the box process's own */
  HUTCH_RELAY_STREAMS,     /* open in the guest */
  HUTCH_RELAY_BYTES,       /* passed on so far, both ways */
  HUTCH_RELAY_QUEUED,      /* bytes that wait to be written to clients */
  HUTCH_RELAY_IDLE_SINCE,  /* since when nothing but background streams is open in the guest; 0 while
                              something is, and before the first */
  HUTCH_RELAY_LAST_TRAFFIC, /* when bytes last came from anywhere */
  HUTCH_RELAY_FIGURES
};

/* Listens on both paths and starts the thread. `transfer` is a file for the transfer disk, which it takes over; -1: it
 * makes one. 0 and *made, or a negative errno. */
int hutch_relay_open(const char *clients, const char *channel, int32_t transfer, struct hutch_relay **made);

/* The file that may be the guest's transfer disk (transfer_disk.h), as a descriptor of this process that the relay
 * closes with the rest; -1: there is none. */
int hutch_relay_transfer(const struct hutch_relay *relay);

/* Fills HUTCH_RELAY_FIGURES numbers. */
void hutch_relay_state(struct hutch_relay *relay, uint64_t *figures);

/* Why it ended (enum hutch_relay_why), with a text for people, cut to `size` and ended by NUL; 0 while
 * it goes on. The box process's client is cut off after the end, never before. */
int hutch_relay_ended(struct hutch_relay *relay, char *text, uint32_t size);

/* The guest's goodbye was heard: its connection, which it waits for, may be closed. */
void hutch_relay_part(struct hutch_relay *relay);

/* Waits until clients have been sent what waits for them, at most so long. */
void hutch_relay_drain(struct hutch_relay *relay, uint32_t limit_ms);

/* Ends all connections and the thread, and frees the relay; waits for nobody outside. Paths stay. */
void hutch_relay_close(struct hutch_relay *relay);

/* Gives the system back what the process has needed to start, and won't again: what is free of its heap,
 * and of its main thread's stack, when called there. */
void hutch_relay_trim(void);

#pragma GCC visibility pop

#endif
