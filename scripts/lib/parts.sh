# shellcheck shell=bash disable=SC2034 # read by scripts/setup and scripts/lib/install.sh
# What hutch needs from outside, and its versions: the one place that says so. Data only.
#
# The stamp of a finished set-up is a copy of this file, so any change here makes the next run look
# again. README.md's table has a line for each package (scripts/checks.ts compares them).

# From npm: the range of Deno, and libkrun where the system has none (Linux on x86-64).
deno_package="deno@~2.9.6"
krun_package="@earendil-works/gondolin-krun-runner-linux-x64@0.12.0"

# Debian's libkrunfw, and the first release that has it.
krunfw_package="libkrunfw5"
krunfw_suite="forky"

# One line for each Debian package: its names (the first that exists is taken), then how one sees
# that the part is there: commands or paths (which may have wildcards), any of them.
run_parts=(
  "npm                          : npm"
  "ca-certificates              : /etc/ssl/certs/ca-certificates.crt"
  "qemu-system-x86              : qemu-system-x86_64"
  "virtiofsd qemu-system-common : /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd"
  "libslirp-dev                 : /usr/include/slirp/libslirp.h"
  "gcc                          : cc"
  "libc6-dev                    : /usr/include/stdio.h"
  "libext2fs-dev                : /usr/include/ext2fs/ext2fs.h"
  "libarchive-dev               : /usr/include/archive.h"
  "libzstd-dev                  : /usr/include/zstd.h"
  "libcbor-dev                  : /usr/include/cbor.h"
  "libcap-ng0                   : /usr/lib/*/libcap-ng.so.0 /lib/*/libcap-ng.so.0"
  "busybox-static               : /bin/busybox"
)

# What scripts/test needs beside that.
test_parts=(
  "util-linux                   : setpriv"
  "skopeo                       : skopeo"
  "umoci                        : umoci"
  "crun                         : crun"
  "conmon                       : conmon"
  "libsubid4 libsubid5          : /usr/lib/*/libsubid.so.*"
  "e2fsprogs                    : mke2fs"
  "xfsprogs                     : mkfs.xfs"
  "btrfs-progs                  : mkfs.btrfs"
  "qemu-utils                   : qemu-img"
  "attr                         : setfattr"
  "git                          : git"
  "procps                       : ps"
  "curl                         : curl"
  "openssl                      : openssl"
  "default-jre-headless         : keytool"
  "bsdutils                     : script"
  "mmdebstrap                   : mmdebstrap"
  "shellcheck                   : shellcheck"
  "clang                        : clang"
  "libclang-rt-14-dev libclang-rt-19-dev : /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a"
  "zstd                         : zstd"
  "zsh                          : zsh"
  "fish                         : fish"
)

# Unpacked into the cache instead of installed, since their packages would start services.
test_unpacked=(
  "docker-registry              : docker-registry"
  "podman                       : podman"
)

# What the tests' Debian image has, and what these packages need; nothing of it is configured.
test_image_packages=(apt busybox-static debian-archive-keyring sqlite3)
