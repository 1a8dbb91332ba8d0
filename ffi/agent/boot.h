/* The first and the last things PID 1 does. Not in the native build. */
#ifndef HUTCH_AGENT_BOOT_H
#define HUTCH_AGENT_BOOT_H

/* Mounts what is needed to find the channel, and nothing else: the host waits. */
void boot_early(void);

/* Opens the channel, the virtio-serial port HUTCH_PORT_NAME; waits until it is there. A non-blocking
 * descriptor, or a negative errno. */
int boot_channel(void);

/* The rest of a guest's set-up, after HELLO. Failures are logged; a box can live without. */
void boot_late(void);

/* Brings the loopback up: the longest part of it, and needed by no one but commands. */
void boot_network(void);

#endif
