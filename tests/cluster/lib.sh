# Sourced by the scripts in this folder and by tests/run: what they all need.
# shellcheck shell=bash disable=SC2034  # some of it only some of them need

# The caller's surroundings are not the tests': some have no HOME, a strict umask, or another language.
[[ ${HOME:-} ]] || HOME=$(getent passwd "$(id -u)" | cut -d : -f 6)
export HOME LC_ALL=C.UTF-8
umask 022

cache=${PULLGATE_TEST_CACHE:-$HOME/.cache/pullgate}

say() { echo "${0##*/}: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# without_proxies: what is started here talks to this machine alone
without_proxies() { unset http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY; }

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

# apt_get ARGUMENTS...: as root. Another apt that is at work is waited for, also where apt itself does not (its lists, its archive).
apt_get() {
  local said status turn
  for ((turn = 0; turn < 60; turn++)); do
    status=0
    said=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" 2>&1 >/dev/null) || status=$?
    if ((!status)) || [[ $said != *'Could not get lock'* ]]; then break; fi
    ((turn)) || say "another apt is at work; waiting for it"
    sleep 10
  done
  [[ -z $said ]] || printf '%s\n' "$said" >&2
  return "$status"
}

# apt_update: once a run is enough
apt_update() {
  [[ ${apt_is_fresh:-} ]] && return
  apt_get update -qq
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
  local ours=0 status=0 mark='# of the tests of pullgate'
  # One that a killed run has left is ours too.
  if [[ ! -e $policy ]] || grep -qxF "$mark" "$policy"; then
    ours=1
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  apt_get install -y -qq --no-install-recommends "${missing[@]}" || status=$?
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
