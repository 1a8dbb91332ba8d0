#define _GNU_SOURCE 1
#include "calls.h"

#include <errno.h>

#if defined(__linux__) && defined(__x86_64__)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not a list of what is allowed: the process is a Deno, whose needs change from release to release.
 * io_uring could make sockets unseen. */
static const uint16_t REFUSED[] = {
  SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
  SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_swapon, SYS_swapoff,
  428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */,
  433 /* fspick */, 438 /* pidfd_getfd */, 442 /* mount_setattr */,
  SYS_socket, 425 /* io_uring_setup */, 426 /* io_uring_enter */, 427 /* io_uring_register */,
  SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_open_by_handle_at, SYS_name_to_handle_at,
  SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot,
  SYS_add_key, SYS_request_key, SYS_keyctl, SYS_acct, SYS_quotactl, SYS_iopl, SYS_ioperm, SYS_mknod,
  SYS_mknodat, SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime,
};

enum { COUNT = sizeof REFUSED / sizeof *REFUSED, CLONE3 = 435, X32 = 0x40000000 };
static const uint32_t NAMESPACES =
  CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

bool calls_can_be_refused(void) {
  /* The address is nowhere: a kernel with filters says so, one without doesn't know the call. */
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL) < 0 && errno == EFAULT;
}

#define LOAD(field) (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value, yes, no) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define IF_BIT(value, yes, no) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (value), (yes), (no))
#define GIVE(result) (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (result))
#define REFUSE SECCOMP_RET_ERRNO | EPERM

int calls_refuse(void) {
  struct sock_filter program[COUNT + 24];
  uint16_t at = 0;
  program[at++] = LOAD(arch);
  program[at++] = IF(AUDIT_ARCH_X86_64, 1, 0);
  program[at++] = GIVE(SECCOMP_RET_KILL_PROCESS);
  program[at++] = LOAD(nr);
  program[at++] = IF_BIT(X32, 0, 1);
  program[at++] = GIVE(REFUSE);
  /* Its flags are behind a pointer: the C library takes clone instead. */
  program[at++] = IF(CLONE3, 0, 1);
  program[at++] = GIVE(SECCOMP_RET_ERRNO | ENOSYS);
  program[at++] = IF(SYS_clone, 1, 0);
  program[at++] = IF(SYS_unshare, 0, 4);
  program[at++] = LOAD(args[0]);
  program[at++] = IF_BIT(NAMESPACES, 0, 1);
  program[at++] = GIVE(REFUSE);
  program[at++] = GIVE(SECCOMP_RET_ALLOW);
  for (unsigned i = 0; i < COUNT; i++) program[at++] = IF(REFUSED[i], (uint8_t)(COUNT - i), 0);
  program[at++] = GIVE(SECCOMP_RET_ALLOW);
  program[at++] = GIVE(REFUSE);
  struct sock_fprog all = {.len = at, .filter = program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all);
  if (result > 0) return -ESRCH; /* the thread that couldn't be brought along */
  return result < 0 ? -errno : 0;
}
#else
bool calls_can_be_refused(void) {
  return false;
}

int calls_refuse(void) {
  return -ENOSYS;
}
#endif
