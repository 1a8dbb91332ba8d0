#include "builtin.h"

#include "copy/copy.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const struct builtin BUILTINS[] = {
  {"connect", connect_main, false},
  {"files", files_main, false},
  {"freeze", freeze_main, false},
  {"metrics", metrics_main, false},
  {"pack", pack_main, false},
  {"renew", renew_main, false},
  {"unpack", unpack_main, true},
  {"watch", watch_main, false},
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
