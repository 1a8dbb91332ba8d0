/* The guest kernel inside libkrunfw. See helper.h. */
#include "helper.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef char *(*get_kernel)(uint64_t *load, uint64_t *entry, size_t *size);

struct hutch_kernel {
  void *library;
};

int hutch_kernel_open(const char *libkrunfw_path, hutch_kernel **out, const uint8_t **bytes,
                      size_t *size, uint64_t *load_address, uint64_t *entry_address)
{
  *out = NULL;
  if (access(libkrunfw_path, R_OK) < 0) return -errno;
  hutch_kernel *kernel = malloc(sizeof *kernel);
  if (kernel == NULL) return -ENOMEM;
  kernel->library = dlopen(libkrunfw_path, RTLD_NOW | RTLD_LOCAL);
  if (kernel->library == NULL) {
    free(kernel);
    return -ENOEXEC;
  }
  get_kernel get;
  /* C has no conversion from object to function pointers; POSIX has this one. */
  *(void **)&get = dlsym(kernel->library, "krunfw_get_kernel");
  const char *found = get == NULL ? NULL : get(load_address, entry_address, size);
  if (found == NULL || *size == 0) {
    hutch_kernel_close(kernel);
    return -ENOEXEC;
  }
  *bytes = (const uint8_t *)found;
  *out = kernel;
  return 0;
}

void hutch_kernel_close(hutch_kernel *kernel)
{
  if (kernel == NULL) return;
  dlclose(kernel->library);
  free(kernel);
}
