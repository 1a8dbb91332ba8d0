#define _GNU_SOURCE 1
#ifndef HUTCH_NATIVE
#include "box.h"

#include "agent.h"
#include "boot.h"
#include "log.h"
#include "network.h"
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What hutch makes is ext4 (lazy writing of inode tables would go on for minutes after growing, for a
 * disk that reads zero there); a disk that somebody brought may be one of the others. */
static const struct {
  const char *type, *options;
} KINDS[] = {{"ext4", "errors=remount-ro,noinit_itable"}, {"xfs", NULL}, {"btrfs", NULL}};

/* Of 512 bytes each. */
#define READ_AHEAD_SECTORS 1024ul

void box_init(struct box *box) {
  *box = (struct box){.state = BOX_NONE, .holder_fd = -1, .mount_error = -1, .terminals = -1, .word = {.fd = -1},
                      .leash = -1};
}

int box_enter(const struct box *box, struct failure *failure) {
  if (setns(box->holder_fd, CLONE_NEWNS | CLONE_NEWIPC) == 0) return 0;
  failure_set(failure, FAILURE_FAILED, errno, "enter the box: %s", strerror(errno));
  return -1;
}

/* ---- the box's disk ------------------------------------------------------------------------- */

/* Each look at the disk is a way to the host and back, which costs more than reading on. */
static void read_ahead(void) {
  int fd = open(BOX_DEVICE, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ioctl(fd, BLKRASET, READ_AHEAD_SECTORS) < 0) log_line("set read-ahead: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

static void *mount_disk(void *context) {
  struct box *box = context;
  read_ahead();
  int error = EINVAL; /* what each says of a disk that isn't its own */
  for (size_t i = 0; error == EINVAL && i < sizeof KINDS / sizeof *KINDS; i++) {
    error = mount(BOX_DEVICE, BOX_MOUNT, KINDS[i].type, MS_NOATIME, KINDS[i].options) < 0 ? errno : 0;
  }
  box->mount_error = error;
  return NULL;
}

void box_mount(struct box *box) {
  box->mounting = pthread_create(&box->mounter, NULL, mount_disk, box) == 0;
  if (!box->mounting) mount_disk(box);
}

int box_mount_anew(struct box *box) {
  int fd = open(BOX_DEVICE, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = ioctl(fd, BLKFLSBUF, 0) < 0 ? -errno : 0; /* what the kernel had read of the other one */
  close(fd);
  if (error == 0) box_mount(box);
  return error;
}

int box_mounted(struct box *box) {
  if (box->mounting) pthread_join(box->mounter, NULL);
  box->mounting = false;
  return box->mount_error;
}

/* ---- the holder's side -------------------------------------------------------------------- */

struct holder_plan {
  const struct request *request;
  int word;
  int leash;
  int private_fd;
};

/* Killed last of all when memory is short: with it everything in the box would end. (The agent
 * itself is never chosen: the kernel spares the first process.) */
static void spare_from_oom(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "-1000", 5) != 5) log_line("spare the holder: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

/* Growing takes the kernel some time for each GiB. This much at once where the disk wasn't made with it,
 * so that the first command has room; the rest behind its back. */
#define FIRST_ROOM (UINT64_C(1) << 30)

/* Descriptors that the holder keeps. */
enum { LEASH = 3, DEVICE, ROOT, TERMINALS, WORD, KEPT_END };

static bool has_room(int root) {
  struct statfs status;
  return fstatfs(root, &status) == 0 && (uint64_t)status.f_bavail * (uint64_t)status.f_bsize >= FIRST_ROOM;
}

static int open_for_growth(int *device, int *root, struct failure *failure) {
  *root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  /* Before anything is written: a disk made for its content alone has no room. */
  if (*root >= 0) return has_room(*root) ? 0 : view_grow(*device, *root, FIRST_ROOM, failure);
  failure_set(failure, FAILURE_FAILED, errno, "open the box's root: %s", strerror(errno));
  return -1;
}

static int make(const struct holder_plan *plan, int *device, int *root, struct failure *failure) {
  if (plan->request->grow && (*device = open(BOX_DEVICE, O_RDONLY | O_CLOEXEC)) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "open %s: %s", BOX_DEVICE, strerror(errno));
    return -1;
  }
  if (view_enter(failure) < 0) return -1;
  if (plan->request->grow && open_for_growth(device, root, failure) < 0) return -1;
  if (view_make(plan->request, failure) < 0) return -1;
  return view_volumes(plan->request->mounts, plan->request->mount_count, failure);
}

/* A thread, since a process would show in the box. It gives way to everything else. When it fails,
 * the next start tries again. */
static void *grow_rest(void *none) {
  struct failure failure;
  setpriority(PRIO_PROCESS, 0, 19); /* of this thread alone */
  view_grow(DEVICE, ROOT, UINT64_MAX, &failure);
  close(DEVICE);
  close(ROOT);
  return none;
}

/* Keeps these as LEASH and so on; the console is the system's, not the box's. */
static void let_go(int kept[KEPT_END - LEASH]) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2; fd++) {
    if (null < 0 || dup2(null, fd) < 0) close(fd);
  }
  for (int i = 0; i < KEPT_END - LEASH; i++) { /* out of each other's way */
    if (kept[i] >= 0) kept[i] = fcntl(kept[i], F_DUPFD_CLOEXEC, KEPT_END);
  }
  if (kept[0] < 0) _exit(1);
  for (int i = 0; i < KEPT_END - LEASH; i++) {
    if (kept[i] < 0 || dup3(kept[i], LEASH + i, O_CLOEXEC) < 0) close(LEASH + i);
  }
  close_range(KEPT_END, UINT_MAX, 0);
}

static _Noreturn void hold(const struct holder_plan *plan) {
  close(plan->private_fd);
  setsid();
  spare_from_oom();
  struct failure failure = {.kind = FAILURE_NONE};
  int device = -1, root = -1;
  int result = make(plan, &device, &root, &failure);
  int terminals = result < 0 ? -1 : open("/dev/pts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (result == 0 && terminals < 0) {
    failure_set(&failure, FAILURE_FAILED, errno, "open /dev/pts of the box: %s", strerror(errno));
    result = -1;
  }
  int word = plan->word;
  if (result == 0) {
    let_go((int[]){plan->leash, device, root, terminals, word});
    word = WORD;
  }
  ssize_t put = write(word, &failure, sizeof failure);
  if (result < 0 || put != sizeof failure) _exit(1);
  close(word);
  pthread_t thread;
  if (plan->request->grow && plan->request->init) {
    close(DEVICE);
    close(ROOT);
  } else if (plan->request->grow && pthread_create(&thread, NULL, grow_rest, NULL) != 0) grow_rest(NULL);
  holder_serve(LEASH);
}

/* ---- the agent's side --------------------------------------------------------------------- */

static void answer(struct agent *agent, const struct failure *failure) {
  struct stream *stream = stream_find(&agent->streams, agent->box.stream);
  if (stream == NULL) return;
  int error;
  if (failure->kind != FAILURE_NONE) {
    error = stream_refuse(&agent->streams, stream, failure);
  } else {
    struct cbor_out message = {0};
    cbor_out_map(&message, 1);
    cbor_out_text(&message, "ms");
    cbor_out_uint(&message, now_ms() - agent->box.started_ms);
    stream->done = true;
    error = stream_answer(&agent->streams, stream, HUTCH_REPLY, &message);
  }
  if (error < 0) agent_lost(agent, "no memory for a reply");
}

/* The holder's word came, or the holder ended without one. */
static void on_word(struct watch *watch, uint32_t events) {
  (void)events;
  struct box *box = container_of(watch, struct box, word);
  struct agent *agent = container_of(box, struct agent, box);
  struct failure failure;
  if (read(watch->fd, &failure, sizeof failure) != sizeof failure) {
    failure_set(&failure, FAILURE_FAILED, 0, "the process that makes the box's view ended");
  }
  failure.text[FAILURE_TEXT - 1] = '\0';
  loop_drop(&agent->loop, watch);
  if (failure.kind == FAILURE_NONE) {
    /* Kept by the holder: nobody was in the box yet who could have put something else there. */
    box->terminals = (int)syscall(SYS_pidfd_getfd, box->holder_fd, TERMINALS, 0);
    if (box->terminals < 0) {
      failure_set(&failure, FAILURE_FAILED, errno, "take the box's terminals over: %s", strerror(errno));
    }
  }
  box->state = failure.kind == FAILURE_NONE ? BOX_READY : BOX_FAILED;
  answer(agent, &failure);
}

static int start_holder(struct agent *agent, const struct request *request) {
  int word[2] = {-1, -1}, leash[2] = {-1, -1};
  if (pipe2(word, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, leash) < 0) return -errno;
  /* The next child is the first process of a new PID namespace, and all later ones join it. */
  if (unshare(CLONE_NEWPID) < 0) return -errno;
  struct holder_plan plan = {.request = request, .word = word[1], .leash = leash[0], .private_fd = agent->channel.watch.fd};
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    close(leash[1]);
    hold(&plan);
  }
  close(word[1]);
  close(leash[0]);
  agent->box.holder = pid;
  agent->box.holder_fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (agent->box.holder_fd < 0) return -errno;
  agent->box.leash = leash[1];
  return loop_add(&agent->loop, &agent->box.word, word[0], EPOLLIN, on_word);
}

int box_configure(struct agent *agent, struct stream *stream, const struct request *request,
                  struct failure *failure) {
  struct box *box = &agent->box;
  if (box->state != BOX_NONE) {
    failure_set(failure, FAILURE_BAD_REQUEST, 0, "the box is configured already");
    return -1;
  }
  box->started_ms = now_ms();
  box->volumes = request->mount_count > 0;
  box->stream = stream->number;
  box->state = BOX_FAILED; /* there is no second try: the host makes a new guest */
  if (sethostname(request->hostname, strlen(request->hostname)) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "set the host name: %s", strerror(errno));
    return -1;
  }
  if (network_configure(request, failure) < 0) return -1;
  int error = box_mounted(box);
  if (error != 0) {
    failure_set(failure, FAILURE_FAILED, error, "mount the box's disk %s: %s", BOX_DEVICE, strerror(error));
    return -1;
  }
  error = start_holder(agent, request);
  if (error < 0) {
    failure_set(failure, FAILURE_FAILED, -error, "start the box's first process: %s", strerror(-error));
    return -1;
  }
  box->state = BOX_MAKING;
  boot_network(); /* while the holder waits for the disk */
  return 0;
}

static void *grow_behind(void *none) {
  struct failure failure;
  int device = open(BOX_DEVICE, O_RDONLY | O_CLOEXEC);
  int root = open(BOX_MOUNT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  setpriority(PRIO_PROCESS, 0, 19); /* of this thread alone */
  if (device >= 0 && root >= 0 && view_grow(device, root, UINT64_MAX, &failure) < 0) log_line("%s", failure.text);
  if (device >= 0) close(device);
  if (root >= 0) close(root);
  return none;
}

int box_grow_rest(const struct box *box) {
  /* Threads can't be made while children are to go to another PID namespace. */
  int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (own < 0 || setns(own, CLONE_NEWPID) < 0) log_line("grow the box's file system: %s", strerror(errno));
  if (own >= 0) close(own);
  pthread_t thread;
  int error = pthread_create(&thread, NULL, grow_behind, NULL);
  if (error == 0) pthread_detach(thread);
  else log_line("grow the box's file system: %s", strerror(error));
  return setns(box->holder_fd, CLONE_NEWPID) < 0 ? -errno : 0;
}

pid_t box_become_init(struct box *box, const struct request *request, const int files[static 4]) {
  if (box->holder <= 0 || box->leash < 0 || box->init) return -EBUSY;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(4 * sizeof(int))];
  } control = {0};
  struct iovec part = {.iov_base = (void *)(uintptr_t)request->raw, .iov_len = request->raw_length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(4 * sizeof(int));
  memcpy(CMSG_DATA(rights), files, 4 * sizeof(int));
  if (sendmsg(box->leash, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return -errno;
  box->init = true;
  return box->holder;
}

int box_holder_ended(struct agent *agent, int status) {
  struct box *box = &agent->box;
  box->holder = 0;
  /* reboot(2) inside a PID namespace ends its first process with one of these. */
  bool asked = WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGHUP);
  if (box->state == BOX_READY && box->ending == ENDING_NO) {
    box->asked = asked;
    box->collapsed = !asked && !box->init;
    ending_begin(agent, 0, false);
  }
  return asked ? 0 : status;
}

#endif
