/*
 * Keeps two virtual machines open for as long as the lab runs, one with interrupt controllers and
 * one without; neither ever runs.
 *
 * The first machine that the lab's kernel makes, and the last that goes, switch branches in its
 * scheduler and in KVM by rewriting code that the other processor may be running. QEMU's emulation
 * (7.2) can lose such a change: the processor then runs the breakpoint that stood there for a moment
 * for ever, and the lab hangs. With these two there is no first and no last.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int hold(int kvm, int with_controllers)
{
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) return -1;
  if (with_controllers && ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) return -1;
  return ioctl(vm, KVM_CREATE_VCPU, 0);
}

int main(void)
{
  int kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0 || hold(kvm, 1) < 0 || hold(kvm, 0) < 0) {
    perror("kvm_lab: cannot hold a virtual machine");
    return 1;
  }
  int child = fork();
  if (child < 0) perror("kvm_lab: cannot keep the virtual machines");
  if (child != 0) return child < 0; /* the caller goes on when they are there */
  for (;;) pause();
}
