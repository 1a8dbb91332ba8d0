#include "builtin.h"

#include "copy/copy.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const struct builtin BUILTINS[] = {
  {"connect", connect_main},
  {"files", files_main},
  {"freeze", freeze_main},
  {"metrics", metrics_main},
  {"pack", pack_main},
  {"renew", renew_main},
  {"unpack", unpack_main},
  {"watch", watch_main},
};

const struct builtin *builtin_find(const char *name) {
  for (size_t i = 0; i < sizeof BUILTINS / sizeof *BUILTINS; i++) {
    if (strcmp(BUILTINS[i].name, name) == 0) return &BUILTINS[i];
  }
  return NULL;
}

void builtin_run(const struct builtin *builtin, char **argv) {
  int argc = 0;
  while (argv[argc] != NULL) argc++;
  _exit(builtin->main(argc, argv)); /* not exit: what the agent has buffered or registered is its own */
}
