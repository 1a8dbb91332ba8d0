#include "builtin.h"

#include "copy_programs.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const struct builtin BUILTINS[] = {
  {"connect", .main = connect_main},
  {"files", .main = files_main},
  {"freeze", .main = freeze_main},
  {"metrics", .main = metrics_main},
  {"pack", .ring_main = pack_main},
  {"renew", .main = renew_main},
  {"unpack", .ring_main = unpack_main, .reads_ring = true, .tidies = true},
  {"watch", .main = watch_main},
};

const struct builtin *builtin_find(const char *name) {
  for (size_t i = 0; i < sizeof BUILTINS / sizeof *BUILTINS; i++) {
    if (strcmp(BUILTINS[i].name, name) == 0) return &BUILTINS[i];
  }
  return NULL;
}

void builtin_run(const struct builtin *builtin, char **argv, uint8_t *ring) {
  int argc = 0;
  while (argv[argc] != NULL) argc++;
  /* Not exit: what the agent has buffered or registered is its own. */
  _exit(ring == NULL ? builtin->main(argc, argv) : builtin->ring_main(argc, argv, ring));
}
