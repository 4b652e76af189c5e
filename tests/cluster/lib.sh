# Sourced by the scripts in this folder, tests/run and tests/chart/run.
# shellcheck shell=bash disable=SC2034  # some of it only some of them need

# The caller's surroundings are not the tests': some have no HOME, a strict umask, or another language.
[[ ${HOME:-} ]] || HOME=$(getent passwd "$(id -u)" | cut -d : -f 6)
export HOME LC_ALL=C.UTF-8
umask 022

cache=${PULLGATE_TEST_CACHE:-$HOME/.cache/pullgate}
cluster_dir=${PULLGATE_TEST_CLUSTER_DIR:-/tmp/pullgate-cluster}
runtimes_dir=${PULLGATE_TEST_RUNTIMES_DIR:-/tmp/pullgate-runtimes}

say() { echo "${0##*/}: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# needs_root: containers, mounts, network namespaces and apt all do
needs_root() { ((EUID == 0)) || die "needs root"; }

# without_proxies: what is started here talks to this machine alone
without_proxies() { unset http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY; }

# installed PACKAGE
installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# apt_get ARGUMENTS...: another apt that is at work is waited for, also where apt itself does not (its lists, its archive).
apt_get() {
  local said status turn
  for ((turn = 0; turn < 60; turn++)); do
    status=0
    said=$(DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" 2>&1 >/dev/null) || status=$?
    if ((!status)) || [[ $said != *'Could not get lock'* ]]; then break; fi
    ((turn)) || say "another apt is at work; waiting for it"
    sleep 10
  done
  [[ -z $said ]] || printf '%s\n' "$said" >&2
  return "$status"
}

# install_packages PACKAGE...: those that are missing, without starting the services that some of them bring
install_packages() {
  local missing=() p policy=/usr/sbin/policy-rc.d
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "no apt-get on this machine; install these yourself: ${missing[*]}"
  needs_root
  say "installing ${missing[*]}"
  if [[ ! ${apt_is_fresh:-} ]]; then
    apt_get update -qq
    apt_is_fresh=1
  fi
  local ours=0 status=0 mark='# of the tests of pullgate'
  # One that a killed run has left is ours too.
  if [[ ! -e $policy ]] || grep -qxF "$mark" "$policy"; then
    ours=1
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
  fi
  apt_get install -y -qq --no-install-recommends "${missing[@]}" || status=$?
  ((!ours)) || rm -f "$policy"
  ((status == 0)) || die "apt-get could not install: ${missing[*]}"
}

# -- Programs in namespaces of their own. A folder has one set: a pid namespace and a mount namespace, whose first process only reaps. The end of
# -- that process is the end of every daemon, shim and container in them, and their mounts go with it.

# child_of PID: its first child, once it has one
child_of() {
  until pgrep -P "$1" | head -n 1; do
    kill -0 "$1" 2>/dev/null || return
    sleep 0.02
  done
}

# open_namespaces FOLDER: makes them. Folders that some programs insist on, whatever their settings say, are theirs alone there.
open_namespaces() {
  local dir=$1 init
  local own='for at in /run/containerd /var/lib/kubelet /var/log/containers; do mkdir -p "$at" && mount -t tmpfs tmpfs "$at"; done'
  mkdir -p "$dir"/{pids,logs}
  setsid unshare --mount --pid --fork --kill-child --mount-proc \
    bash -c "mount --make-rshared / && $own && touch '$dir/pids/ready' && { sleep infinity & wait; }" </dev/null >"$dir/logs/init.log" 2>&1 &
  init=$(child_of $!)
  echo "$init" >"$dir/pids/init"
  readlink "/proc/$init/ns/pid" >"$dir/pids/namespace"
  until [[ -e $dir/pids/ready ]]; do
    kill -0 "$init" 2>/dev/null || die "no namespaces: $(cat "$dir/logs/init.log")"
    sleep 0.02
  done
}

# start_in FOLDER NAME COMMAND...: starts a program in them; its log is FOLDER/logs/NAME.log, its process id (out here) FOLDER/pids/NAME
start_in() {
  local dir=$1 name=$2
  shift 2
  setsid nsenter --target "$(<"$dir/pids/init")" --mount --pid --wd="$dir" -- "$@" </dev/null >>"$dir/logs/$name.log" 2>&1 &
  child_of $! >"$dir/pids/$name" || failed_in "$dir" "$name" "did not start"
}

# failed_in FOLDER NAME WHAT
failed_in() {
  tail -n 20 "$1/logs/$2.log" >&2
  die "$2 $3; its log is $1/logs/$2.log"
}

# until_ok FOLDER NAME COMMAND...: waits for what was started under this name. Seconds do, unless the machine is busy.
until_ok() {
  local dir=$1 name=$2 from=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$(<"$dir/pids/$name")" 2>/dev/null || failed_in "$dir" "$name" "has ended"
    ((SECONDS - from < 300)) || failed_in "$dir" "$name" "did not come up within 300 s: $*"
    sleep 0.1
  done
}

# close_namespaces FOLDER: ends all that runs in them. A process id alone could be another's by now.
close_namespaces() {
  local init ours
  init=$(cat "$1/pids/init" 2>/dev/null) || return 0
  ours=$(cat "$1/pids/namespace" 2>/dev/null) || return 0
  if [[ $init && $ours && $(readlink "/proc/$init/ns/pid") == "$ours" ]]; then
    kill -KILL "$init" || true
    while [[ -e /proc/$init ]]; do sleep 0.05; done
  fi
}

# remove_folder FOLDER: one of ours, of what is in namespaces; no other one
remove_folder() {
  [[ -e $1 ]] || return 0
  [[ -d $1/pids ]] || rmdir "$1" 2>/dev/null || die "$1 is not a folder of these scripts; it is left alone"
  rm -rf --one-file-system "$1"
}

# -- what the cluster leaves on this machine outside of its folder and its namespaces
bridge=pullgate0
cgroup=pullgate-cluster
# its control group, in every hierarchy that is mounted
mapfile -t cgroups < <(awk -v name="/$cgroup" '$3 ~ /^cgroup2?$/ && !seen[$2]++ { print $2 name }' /proc/mounts)

# containerd_settings FOLDER NAME: the lines that every containerd of version 2 begins with; its settings are FOLDER/NAME.toml, what it keeps
# is in FOLDER/NAME, its socket FOLDER/NAME.sock
containerd_settings() {
  cat <<TOML
version = 3
root = '$1/$2/root'
state = '$1/$2/state'
[grpc]
  address = '$1/$2.sock'
[plugins.'io.containerd.internal.v1.opt']
  path = '$1/$2/opt'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
TOML
}
