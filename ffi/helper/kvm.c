/* Does KVM really run guests? See helper.h. */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && defined(__x86_64__)
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096
/* The kernel takes and gives 64-bit sets of signals; sigset_t is larger. */
#define KERNEL_SIGSET_SIZE 8

struct probe {
  int kvm, vm, cpu;
  uint8_t *page;
  struct kvm_run *run;
  size_t run_size;
};

static int probe_vm(struct probe *probe)
{
  /* mov ecx, 100000; again: dec ecx; jnz again; hlt */
  static const uint8_t code[] = {0x66, 0xb9, 0xa0, 0x86, 0x01, 0x00, 0x66, 0x49, 0x75, 0xfc, 0xf4};
  probe->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (probe->kvm < 0) return -errno;
  if (ioctl(probe->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return -ENOTTY;
  probe->vm = ioctl(probe->kvm, KVM_CREATE_VM, 0);
  if (probe->vm < 0) return -errno;
  probe->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (probe->page == MAP_FAILED) return -errno;
  memcpy(probe->page, code, sizeof code);
  struct kvm_userspace_memory_region region = {
      .guest_phys_addr = PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)probe->page};
  if (ioctl(probe->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) return -errno;
  return 0;
}

static int probe_cpu(struct probe *probe)
{
  probe->cpu = ioctl(probe->vm, KVM_CREATE_VCPU, 0);
  if (probe->cpu < 0) return -errno;
  int size = ioctl(probe->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < (int)sizeof(struct kvm_run)) return size < 0 ? -errno : -EINVAL;
  probe->run_size = (size_t)size;
  probe->run = mmap(NULL, probe->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->cpu, 0);
  if (probe->run == MAP_FAILED) return -errno;
  struct kvm_sregs special;
  if (ioctl(probe->cpu, KVM_GET_SREGS, &special) < 0) return -errno;
  special.cs.base = 0;
  special.cs.selector = 0;
  if (ioctl(probe->cpu, KVM_SET_SREGS, &special) < 0) return -errno;
  struct kvm_regs registers = {.rip = PAGE, .rflags = 2};
  return ioctl(probe->cpu, KVM_SET_REGS, &registers) < 0 ? -errno : 0;
}

/* While the guest runs, `sig` is the one signal that interrupts KVM_RUN; back in user space it is
 * blocked again and only pending. So a timer can end the guest without any handler, and nothing
 * of the process (signal dispositions, other threads) is touched. */
static int allow_only(int cpu, int sig)
{
  uint64_t set = ~(UINT64_C(1) << (sig - 1));
  _Alignas(struct kvm_signal_mask) uint8_t mask[sizeof(struct kvm_signal_mask) + sizeof set];
  ((struct kvm_signal_mask *)mask)->len = KERNEL_SIGSET_SIZE;
  memcpy(mask + sizeof(struct kvm_signal_mask), &set, sizeof set);
  return ioctl(cpu, KVM_SET_SIGNAL_MASK, mask) < 0 ? -errno : 0;
}

static int count_down(struct probe *probe, uint64_t *micros)
{
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  int result = ioctl(probe->cpu, KVM_RUN, 0) < 0 ? -errno : 0;
  clock_gettime(CLOCK_MONOTONIC, &end);
  int64_t nanos = (int64_t)(end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
  *micros = (uint64_t)nanos / 1000;
  if (result == -EINTR || result == -EAGAIN) return -ETIMEDOUT;
  if (result < 0) return result;
  return probe->run->exit_reason == KVM_EXIT_HLT ? 0 : -EIO;
}

static int run_limited(struct probe *probe, uint32_t limit_ms, uint64_t *micros)
{
  int sig = SIGRTMAX - 1;
  int result = allow_only(probe->cpu, sig);
  if (result < 0) return result;
  sigset_t only, before;
  sigemptyset(&only);
  sigaddset(&only, sig);
  result = pthread_sigmask(SIG_BLOCK, &only, &before);
  if (result != 0) return -result;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = sig};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0) {
    result = -errno;
  } else {
    struct itimerspec when = {.it_value = {limit_ms / 1000, (long)(limit_ms % 1000) * 1000000}};
    result = timer_settime(timer, 0, &when, NULL) < 0 ? -errno : count_down(probe, micros);
    timer_delete(timer);
    /* The timer may have fired: what is pending must not outlive the mask. */
    struct timespec now = {0, 0};
    while (sigtimedwait(&only, NULL, &now) == sig) continue;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

int hutch_kvm_probe(uint32_t limit_ms, uint64_t *micros)
{
  *micros = 0;
  if (limit_ms == 0) return -EINVAL;
  struct probe probe = {-1, -1, -1, MAP_FAILED, MAP_FAILED, 0};
  int result = probe_vm(&probe);
  if (result == 0) result = probe_cpu(&probe);
  if (result == 0) result = run_limited(&probe, limit_ms, micros);
  if (probe.run != MAP_FAILED) munmap(probe.run, probe.run_size);
  if (probe.cpu >= 0) close(probe.cpu);
  if (probe.vm >= 0) close(probe.vm);
  if (probe.page != MAP_FAILED) munmap(probe.page, PAGE);
  if (probe.kvm >= 0) close(probe.kvm);
  return result;
}

#else

int hutch_kvm_probe(uint32_t limit_ms, uint64_t *micros)
{
  (void)limit_ms;
  *micros = 0;
  return -ENOENT;
}

#endif
