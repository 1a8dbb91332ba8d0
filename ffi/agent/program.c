#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 4096 /* of a program file, to find its interpreter */

/* The interpreter in a script's first line. */
static bool script_interpreter(const char *head, size_t length, char *name, size_t size) {
  if (length < 3 || head[0] != '#' || head[1] != '!') return false;
  size_t start = 2;
  while (start < length && (head[start] == ' ' || head[start] == '\t')) start++;
  size_t end = start;
  while (end < length && memchr(" \t\r\n", head[end], 4) == NULL && head[end] != '\0') end++;
  if (end == start || end - start >= size) return false;
  memcpy(name, head + start, end - start);
  name[end - start] = '\0';
  return true;
}

/* The loader that a dynamic ELF file asks for, if the file's head shows it. */
static bool elf_interpreter(const char *head, size_t length, char *name, size_t size) {
  Elf64_Ehdr file;
  if (length < sizeof file || memcmp(head, ELFMAG, SELFMAG) != 0 || head[EI_CLASS] != ELFCLASS64) return false;
  memcpy(&file, head, sizeof file);
  if (file.e_phentsize != sizeof(Elf64_Phdr)) return false;
  for (unsigned i = 0; i < file.e_phnum; i++) {
    Elf64_Phdr part;
    if (file.e_phoff > length || (length - file.e_phoff) / sizeof part <= i) return false;
    memcpy(&part, head + file.e_phoff + i * sizeof part, sizeof part);
    if (part.p_type != PT_INTERP) continue;
    if (part.p_offset > length || part.p_filesz > length - part.p_offset) return false;
    if (part.p_filesz == 0 || part.p_filesz > size) return false;
    memcpy(name, head + part.p_offset, part.p_filesz);
    name[part.p_filesz - 1] = '\0';
    return true;
  }
  return false;
}

static bool interpreter(const char *path, char *name, size_t size) {
  char head[HEAD];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return false;
  ssize_t got = read(fd, head, sizeof head);
  close(fd);
  if (got <= 0) return false;
  return script_interpreter(head, (size_t)got, name, size) || elf_interpreter(head, (size_t)got, name, size);
}

/* Why execve of `path` failed with `error`. */
static void explain(const char *path, int error, struct failure *failure) {
  struct stat status;
  char name[256];
  if ((error == ENOENT || error == ENOTDIR) && stat(path, &status) == 0) {
    /* The file is there: what's missing is the program that runs it. */
    if (!interpreter(path, name, sizeof name)) strcpy(name, "that it names");
    failure_set(failure, FAILURE_NOT_EXECUTABLE, error, "execve %s: the interpreter %s is missing", path, name);
  } else if (error == ENOENT || error == ENOTDIR) {
    failure_set(failure, FAILURE_NOT_FOUND, error, "execve %s: %s", path, strerror(error));
  } else if (error == E2BIG || error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE) {
    failure_set(failure, FAILURE_FAILED, error, "execve %s: %s", path, strerror(error));
  } else {
    bool folder = error == EACCES && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    failure_set(failure, FAILURE_NOT_EXECUTABLE, error, "execve %s: %s", path,
                folder ? "it is a folder" : strerror(error));
  }
}

static const char *path_of(char **env) {
  for (; *env != NULL; env++) {
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  }
  return PROGRAM_DEFAULT_PATH;
}

/* Tries one folder. True: the search ends here. */
static bool try_folder(const char *folder, size_t length, char **argv, char **env, struct failure *failure) {
  char path[PATH_MAX];
  int used = length == 0 ? snprintf(path, sizeof path, "./%s", argv[0])
                         : snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, argv[0]);
  if (used < 0 || (size_t)used >= sizeof path) return false;
  execve(path, argv, env);
  int error = errno;
  struct failure reason;
  explain(path, error, &reason);
  if (reason.kind == FAILURE_NOT_FOUND) return false;
  *failure = reason;
  /* As shells do, go on after a file that one may not execute; a later folder may have a better. */
  return error != EACCES;
}

void program_run(char **argv, char **env, struct failure *failure) {
  if (argv[0][0] == '\0' || strchr(argv[0], '/') != NULL) {
    execve(argv[0], argv, env);
    explain(argv[0], errno, failure);
    return;
  }
  failure_set(failure, FAILURE_NOT_FOUND, ENOENT, "%.200s: not found in PATH", argv[0]);
  const char *folder = path_of(env);
  for (;;) {
    size_t length = strcspn(folder, ":");
    if (length < PATH_MAX && try_folder(folder, length, argv, env, failure)) return;
    if (folder[length] == '\0') return;
    folder += length + 1;
  }
}
