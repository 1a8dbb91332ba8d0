/* Who a command runs as: `name|uid[:group|gid]`, looked up in passwd and group files, which may hold
 * anything. */
#ifndef HUTCH_AGENT_USER_H
#define HUTCH_AGENT_USER_H

#include "failure.h"

#include <stddef.h>
#include <sys/types.h>

#define USER_MAX_GROUPS 1024
#define USER_MAX_FILE (8 * 1024 * 1024)
#define USER_MAX_HOME 4096

struct user {
  uid_t uid;
  gid_t gid;
  size_t group_count;
  gid_t groups[USER_MAX_GROUPS];
  char home[USER_MAX_HOME]; /* "/" if unknown */
};

/* Names must be in the files; numbers needn't be. Without a group in `spec` the user's own group and
 * the groups that list the user count; with one, it alone. An empty spec is 0.
 * 0, or -1 with `failure` filled. */
int user_lookup(const char *spec, const char *passwd_path, const char *group_path, struct user *user,
                struct failure *failure);

#endif
