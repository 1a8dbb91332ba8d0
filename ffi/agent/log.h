/* Lines on the console (standard error), for people who look after a box that broke. */
#ifndef HUTCH_AGENT_LOG_H
#define HUTCH_AGENT_LOG_H

/* Writes one line; cut at about 500 bytes. Never fails, keeps errno. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
