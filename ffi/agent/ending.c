#define _GNU_SOURCE 1
#ifndef HUTCH_NATIVE
/* The end of a guest, orderly or not. */
#include "agent.h"
#include "exec.h"
#include "log.h"
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define KILL_MS 2000  /* for killed processes to be gone; some can hang in the kernel */
#define FLUSH_MS 250  /* for the last frames to be taken */

/* Namespaces and mounts are taken apart by waits for all processors, each of some ticks of the clock,
 * unless they are to be hurried. */
static void hurry(void) {
  int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "1", 1) != 1) log_line("hurry: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

static void count_living(struct exec *exec, void *context) {
  if (!exec->reaped) ++*(unsigned *)context;
}

static bool commands_gone(struct agent *agent) {
  unsigned living = 0;
  agent_each_exec(agent, count_living, &living);
  return living == 0;
}

/* True: it surely has no children, which are the box's orphans. */
static bool is_childless(pid_t holder) {
  char path[64], first;
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)holder, (int)holder);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t count = read(fd, &first, 1);
  close(fd);
  return count == 0;
}

static void close_leash(struct box *box) {
  hurry();
  if (box->leash >= 0) close(box->leash);
  box->leash = -1;
}

/* The end of a PID namespace's first process is the end of all that is in it. */
static void kill_all(struct box *box) {
  hurry();
  if (box->holder > 0) kill(box->holder, SIGKILL);
  box->ending = ENDING_KILL;
  box->deadline_ms = now_ms() + KILL_MS;
}

/* What asks an init to shut down differs by kind; its program's name tells. */
static int init_signal(pid_t init) {
  static const struct {
    const char *name;
    int signal;
  } KINDS[] = {{"systemd", 34 + 3}, {"busybox", SIGUSR2}, {"init", SIGPWR}, {"openrc-init", SIGTERM}};
  char path[32], program[PATH_MAX];
  snprintf(path, sizeof path, "/proc/%d/exe", (int)init);
  ssize_t length = readlink(path, program, sizeof program - 1);
  if (length < 0) return SIGTERM;
  program[length] = '\0';
  const char *slash = strrchr(program, '/');
  const char *name = slash == NULL ? program : slash + 1;
  for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
    if (strcmp(name, KINDS[i].name) == 0) return KINDS[i].signal;
  }
  return SIGTERM;
}

void ending_begin(struct agent *agent, uint32_t grace_ms, bool discard) {
  struct box *box = &agent->box;
  if (box->ending != ENDING_NO) return;
  box->discard = discard;
  if (grace_ms == 0 || box->state != BOX_READY) {
    kill_all(box);
    return;
  }
  box->ending = ENDING_TERM;
  box->deadline_ms = now_ms() + grace_ms;
  if (box->init) {
    kill(box->holder, init_signal(box->holder));
    return;
  }
  /* All but this process: the holder ignores it, and kernel threads do, too. Stopped ones must wake. */
  kill(-1, SIGTERM);
  kill(-1, SIGCONT);
}

int ending_wait_ms(const struct agent *agent) {
  if (agent->box.ending == ENDING_NO) return -1;
  uint64_t now = now_ms();
  return now >= agent->box.deadline_ms ? 0 : (int)(agent->box.deadline_ms - now);
}

/* ---- the disk ------------------------------------------------------------------------------- */

/* Marks the box's file system clean. The namespaces of the box are gone, or nearly. */
static void clean_disk(struct box *box) {
  if (box_mounted(box) != 0) return;
  /* Whoever froze it was killed with all the others. */
  int root = open(BOX_MOUNT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root >= 0) ioctl(root, FITHAW, 0);
  if (root >= 0) close(root);
  if (mount(NULL, BOX_MOUNT, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0) return;
  log_line("make the box's disk read-only: %s", strerror(errno));
  sync();
  int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
  if (fd >= 0 && write(fd, "u", 1) < 0) log_line("emergency remount: %s", strerror(errno));
  if (fd >= 0) close(fd);
  sync();
}

/* ---- the last bytes --------------------------------------------------------------------------- */

/* What commands left behind goes out, as far as the host takes it soon. */
static void flush_streams(struct agent *agent) {
  uint64_t deadline = now_ms() + FLUSH_MS;
  for (;;) {
    if (loop_turn(&agent->loop, 0) < 0) return;
    bool more = agent_pump(agent);
    if (!more && channel_flush(&agent->channel) == 0 && agent->streams.ready_head == NULL) return;
    uint64_t now = now_ms();
    if (now >= deadline) return;
    if (!more && loop_turn(&agent->loop, (int)(deadline - now)) < 0) return;
  }
}

static _Noreturn void restart(void) {
  reboot(RB_AUTOBOOT);
  /* The kernel refused, which it never should; its panic restarts, too. */
  log_line("restart: %s", strerror(errno));
  _exit(1);
}

static _Noreturn void finish(struct agent *agent) {
  struct box *box = &agent->box;
  flush_streams(agent);
  if (!box->discard) clean_disk(box);
  int fd = agent->channel.watch.fd;
  /* A blocking write returns once the device has taken the bytes: the restart won't come before. */
  if (channel_flush(&agent->channel) == 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  if (box->collapsed) agent_goodbye(agent, "lost", "the box's first process was killed");
  else agent_goodbye(agent, "shutdown", box->asked ? "the box asked for it" : "");
  restart();
}

void ending_step(struct agent *agent) {
  struct box *box = &agent->box;
  if (box->ending == ENDING_NO) return;
  if (box->ending == ENDING_TERM && commands_gone(agent)) {
    /* Its end would take as long as all the rest, and bring nothing to rest that anybody looks at again. */
    if (box->discard && !box->init && !box->volumes && is_childless(box->holder)) finish(agent);
    /* What is left are orphans, all of them the holder's: it ends with the last one. */
    close_leash(box);
    box->ending = ENDING_LAST;
  }
  if (box->ending != ENDING_TERM && box->holder == 0 && commands_gone(agent)) finish(agent);
  if (now_ms() < box->deadline_ms) return;
  if (box->ending == ENDING_KILL) {
    log_line("processes of the box didn't end");
    finish(agent);
  }
  kill_all(box);
}

_Noreturn void guest_end(struct agent *agent) {
  struct box *box = &agent->box;
  kill_all(box);
  while (box->holder > 0 && now_ms() < box->deadline_ms) {
    pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid == box->holder) box->holder = 0;
    if (pid == 0) nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    if (pid < 0) break;
  }
  clean_disk(box);
  restart();
}

#endif
