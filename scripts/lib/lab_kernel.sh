# shellcheck shell=bash disable=SC2154 # scripts/setup sets hutch_root and hutch_cache
# The lab's kernel and initial file system, made once from Debian's cloud kernel.
#
#   lab_kernel    prints the folder that has `kernel` and `initrd`, after making it if need be

# In the order in which they must be loaded. Those that are built in have no file.
lab_modules=(irqbypass kvm kvm-amd virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev
  virtio_pci virtio_blk virtio_console failover net_failover virtio_net fuse virtiofs overlay
  tun loop dummy veth)

lab_kernel() {
  local key folder
  key=$(cat "$hutch_root"/scripts/lib/lab_{init,run,hold.c,kernel.sh} | sha256sum | cut -c1-16)
  folder=$hutch_cache/kvm_lab/$key
  if [[ ! -d $folder ]]; then (make_lab_kernel "$folder") >&2 || return; fi
  printf %s "$folder"
}

make_lab_kernel() {
  set -e
  local folder=$1 work package
  mkdir -p "${folder%/*}"
  exec 9>"${folder%/*}/lock"
  flock 9
  [[ ! -d $folder ]] || return 0
  work=$(mktemp -d "${TMPDIR:-/tmp}/hutch-lab-kernel.XXXXXX")
  # shellcheck disable=SC2064 # the folder's name as it is now
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  echo "kvm_lab: Fetching Debian's cloud kernel"
  package=$(cloud_kernel_package)
  if [[ -z $package ]]; then
    LC_ALL=C apt-get -qq update >"$work/log" 2>&1 </dev/null || true
    package=$(cloud_kernel_package)
  fi
  [[ -n $package ]] || lab_kernel_failed "apt knows no package linux-image-cloud-amd64" "$work/log"
  if id -u _apt >/dev/null 2>&1; then chown _apt "$work"; fi
  if ! env -C "$work" LC_ALL=C apt-get -q download "$package" >"$work/log" 2>&1 </dev/null; then
    LC_ALL=C apt-get -qq update >"$work/log" 2>&1 </dev/null || true
    package=$(cloud_kernel_package)
    env -C "$work" LC_ALL=C apt-get -q download "$package" >>"$work/log" 2>&1 </dev/null ||
      lab_kernel_failed "apt-get download $package failed" "$work/log"
  fi
  mkdir "$work/package" "$work/root"
  dpkg-deb -x "$work"/linux-image-*.deb "$work/package"
  lab_initrd "$work/package" "$work/root"
  mkdir "$work/done"
  (cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/done/initrd"
  cp "$work"/package/boot/vmlinuz-* "$work/done/kernel"
  rm -rf "$folder.new"
  cp -r "$work/done" "$folder.new"
  mv "$folder.new" "$folder"
}

cloud_kernel_package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/^ *Depends:/ { print $2; exit }'
}

lab_kernel_failed() {
  echo "kvm_lab: Cannot get a kernel for the lab: $1"
  [[ ! -s $2 ]] || tail -n 8 "$2" | sed 's/^/  | /'
  exit 1
}

lab_initrd() {
  local package=$1 root=$2 module path
  mkdir "$root/bin" "$root/modules"
  cp /bin/busybox "$root/bin/busybox"
  install -m 755 "$hutch_root/scripts/lib/lab_init" "$root/init"
  cp "$hutch_root/scripts/lib/lab_run" "$root/run_command"
  cc -Os -static -Wall -Wextra -Werror -o "$root/hold" "$hutch_root/scripts/lib/lab_hold.c"
  printf '%s\n' "${lab_modules[@]}" >"$root/modules/order"
  for module in "${lab_modules[@]}"; do
    path=$(find "$package" -name "$module.ko*" -print -quit)
    case $path in
      *.ko) cp "$path" "$root/modules/" ;;
      *.ko.xz) xz -dc "$path" >"$root/modules/$module.ko" ;;
    esac
  done
}
