# Sourced by the scripts in this folder and by tests/run: what they all need.
# shellcheck shell=bash disable=SC2034  # some of it only some of them need

cache=${PULLGATE_TEST_CACHE:-$HOME/.cache/pullgate}

say() { echo "${0##*/}: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# as_root COMMAND...: as root, through sudo for everybody else
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    die "needs root (or sudo) for: $*"
  fi
}

# own_root SCRIPT ARGUMENTS...: begins the script again as root, with the settings that count
own_root() {
  ((EUID == 0)) && return
  command -v sudo >/dev/null || die "needs root, or sudo"
  exec sudo -- env "PULLGATE_TEST_CACHE=$cache" ${PULLGATE_TEST_CLUSTER_DIR:+"PULLGATE_TEST_CLUSTER_DIR=$PULLGATE_TEST_CLUSTER_DIR"} "$@"
}

# installed PACKAGE
installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# apt_update: once a run is enough
apt_update() {
  [[ ${apt_is_fresh:-} ]] && return
  as_root apt-get -o DPkg::Lock::Timeout=600 update -qq >&2
  apt_is_fresh=1
}

# install_packages PACKAGE...: those that are missing, without starting the services that some of them bring
install_packages() {
  local missing=() p policy=/usr/sbin/policy-rc.d
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "no apt-get on this machine; install these yourself: ${missing[*]}"
  say "installing ${missing[*]}"
  apt_update
  local ours=0 status=0
  if [[ ! -e $policy ]]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null || status=$?
  ((!ours)) || as_root rm -f "$policy"
  ((status == 0)) || die "apt-get could not install: ${missing[*]}"
}

# -- the cluster's traces on this machine, the same for `up` and `down`: there is one such cluster at a time
cluster_dir=${PULLGATE_TEST_CLUSTER_DIR:-/tmp/pullgate-cluster}
cluster_cgroup=pullgate-cluster
cluster_bridge=pullgate0

# cluster_cgroups: the folders of our control group, one for each hierarchy (the first is the one that tells what is ours)
cluster_cgroups() {
  if [[ $(stat -fc %T /sys/fs/cgroup 2>/dev/null) == cgroup2fs ]]; then
    echo "/sys/fs/cgroup/$cluster_cgroup"
  else
    awk -v name="$cluster_cgroup" '$3 ~ /^cgroup2?$/ { at[$2] = 1 }
      END { for (h in at) print (h ~ /\/pids$/ ? 0 : 1), h "/" name }' /proc/mounts | sort | cut -d ' ' -f 2
  fi
}

# cluster_processes: every process that `up` started, and every container's, whatever became of their parents
cluster_processes() {
  local first
  first=$(cluster_cgroups | head -n 1)
  if [[ -d $first ]]; then find "$first" -name cgroup.procs -exec cat {} + 2>/dev/null; fi
}
