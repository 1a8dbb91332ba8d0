/* The payloads of OPEN and CONTROL, checked. */
#ifndef HUTCH_AGENT_REQUEST_H
#define HUTCH_AGENT_REQUEST_H

#include "exec_caps.h"
#include "exec_limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_MAX_HOSTNAME 64
#define REQUEST_MAX_LINE 1023
#define REQUEST_MAX_HELD 32
#define REQUEST_MAX_SEED 512
#define REQUEST_MAX_MOUNTS 64
#define REQUEST_MAX_TAG 32
#define REQUEST_MAX_PATH 1023
#define REQUEST_FIRST_DISK 2 /* behind the system's and the box's own */
#define REQUEST_MAX_DISK 25  /* /dev/vdz */
#define REQUEST_MAX_MODE 01777
#define REQUEST_MAX_GRACE_MS (24u * 60 * 60 * 1000)
#define REQUEST_MAX_TIMEOUT_MS INT32_MAX

/* Of a terminal, in characters; rows of 0 are no terminal. */
struct request_size {
  uint16_t rows;
  uint16_t columns;
};

enum request_op { REQUEST_EXEC = 1, REQUEST_CONFIGURE, REQUEST_SHUTDOWN, REQUEST_PING, REQUEST_ADOPT, REQUEST_RESUME };

enum request_mount_kind { MOUNT_SHARE, MOUNT_TMPFS, MOUNT_DISK };

/* A volume. */
struct request_mount {
  enum request_mount_kind kind;
  const char *path; /* in the box; absolute, not "/", without ".." */
  bool read_only;
  bool noexec;
  const char *tag;   /* share: its name among the shares, a-z 0-9 */
  uint32_t size_mib; /* tmpfs: 0 is half of the memory */
  uint16_t mode;     /* tmpfs: of its root */
  uint8_t disk;      /* disk: which of the machine's, from REQUEST_FIRST_DISK */
  bool grow;         /* disk: to its whole size */
};

struct request {
  enum request_op op;
  /* exec; argv and env end with NULL, and env has room for one more entry */
  char **argv;
  char **env;
  size_t env_count;
  const char *cwd;
  const char *user;
  bool has_stdin;
  struct request_size tty;
  uint32_t timeout_ms; /* 0: none */
  struct exec_limit limits[EXEC_LIMIT_COUNT];
  size_t limit_count;
  struct exec_caps caps;
  bool no_new_privileges;
  /* exec: it becomes the box's first process; configure: such a command is to come */
  bool init;
  const uint8_t *raw; /* the whole message, while it is handled */
  size_t raw_length;
  const char *held;    /* exec: its id, if it outlives its host; adopt: of such a one; or NULL */
  const char *builtin; /* which of the agent's own programs it is instead of argv[0]; or NULL */
  /* configure, resume */
  const char *hostname;
  bool grow;
  struct request_mount *mounts;
  size_t mount_count;
  char **addresses; /* of eth0, as ADDRESS/BITS, ended by NULL; NULL: loopback alone */
  char **gateways;
  uint32_t mtu;
  char **hosts;       /* lines for /etc/hosts */
  const char *resolv; /* all of /etc/resolv.conf; NULL: it stays as it is */
  /* resume */
  uint64_t clock_ms; /* since 1970 */
  const char *seed;  /* what nobody else knows */
  const char *mac;   /* hardware address of eth0, as six numbers of two digits; NULL: there is none */
  /* shutdown, and exec with a timeout */
  uint32_t grace_ms;
  bool discard; /* shutdown: nobody will look at the box's disk again */

  char *text; /* what all the strings point into */
};

/* Reads an OPEN payload. 0; -EBADMSG or -ENOMEM with *why set. Free a good one with request_free. */
int request_parse(const uint8_t *bytes, size_t length, struct request *request, const char **why);
void request_free(struct request *request);

struct control {
  int signal;               /* 0: it is the other */
  struct request_size size; /* of the terminal */
};

/* Reads a CONTROL payload. 0; -EBADMSG or -ENOMEM with *why set. */
int control_parse(const uint8_t *bytes, size_t length, struct control *control, const char **why);

#endif
