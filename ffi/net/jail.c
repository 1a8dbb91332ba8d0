#define _GNU_SOURCE 1
#include "jail.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__linux__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* What the loop, the stack and the C library need from here on. Anything else fails as if it was
 * forbidden; files can be opened to be read (see below). */
static const uint16_t ALLOWED[] = {
  SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_close, SYS_lseek, SYS_fstat, SYS_stat, SYS_newfstatat, SYS_poll, SYS_ppoll,
  SYS_socket, SYS_connect, SYS_accept, SYS_accept4, SYS_bind, SYS_listen, SYS_getsockname, SYS_getpeername,
  SYS_setsockopt, SYS_getsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_fcntl, SYS_ioctl,
  SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_getrandom,
  SYS_clock_gettime, SYS_clock_nanosleep, SYS_gettimeofday, SYS_time, SYS_getpid, SYS_gettid, SYS_tgkill,
  SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_restart_syscall, SYS_exit, SYS_exit_group,
};

enum { COUNT = sizeof ALLOWED / sizeof *ALLOWED };

static int forbid_calls(void) {
  struct sock_filter program[COUNT + 16];
  uint16_t at = 0;
#define LOAD(field) (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value, yes, no) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define GIVE(result) (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (result))
  program[at++] = LOAD(arch);
  program[at++] = IF(AUDIT_ARCH_X86_64, 1, 0);
  program[at++] = GIVE(SECCOMP_RET_KILL_PROCESS);
  program[at++] = LOAD(nr);
  /* Opened to be read alone: no bit of the flags that writes, makes or truncates. */
  program[at++] = IF(SYS_openat, 0, 4);
  program[at++] = LOAD(args[2]);
  program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 01 | 02 | 0100 | 01000, 0, 1);
  program[at++] = GIVE(SECCOMP_RET_ERRNO | EPERM);
  program[at++] = GIVE(SECCOMP_RET_ALLOW);
  for (unsigned i = 0; i < COUNT; i++) program[at++] = IF(ALLOWED[i], (uint8_t)(COUNT - i), 0);
  program[at++] = GIVE(SECCOMP_RET_ERRNO | EPERM);
  program[at++] = GIVE(SECCOMP_RET_ALLOW);
#undef LOAD
#undef IF
#undef GIVE
  struct sock_fprog all = {.len = at, .filter = program};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0) < 0 ? -errno : 0;
}

static int drop_capabilities(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &head, data) < 0) return -errno;
  const uint32_t kept = 1u << CAP_NET_BIND_SERVICE | 1u << CAP_NET_RAW;
  for (int i = 0; i < 2; i++) {
    data[i].permitted &= i == 0 ? kept : 0;
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}
#else
static int forbid_calls(void) {
  return 0;
}

static int drop_capabilities(void) {
  return 0;
}
#endif

int jail_enter(void) {
#ifdef __linux__
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return -errno;
#endif
  int error = drop_capabilities();
  return error < 0 ? error : forbid_calls();
}
