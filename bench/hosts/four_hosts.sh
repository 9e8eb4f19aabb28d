#!/usr/bin/env bash
# Four hosts on this one: network namespaces joined by a bridge, each behind a link of its own.
#   four_hosts.sh [--rate 1gbit] [--ranks-per-host N] COMMAND [ARGUMENT...]
# runs COMMAND under mpirun, N ranks (1) on each host, and takes everything down again. It takes root, iproute2 and Open MPI.
# MPI's own messages go through the same links. A namespace's loopback is up; the bridge's address is this host's.
set -euo pipefail

usage() {
  echo "usage: $0 [--rate RATE] [--ranks-per-host N] COMMAND [ARGUMENT...]" >&2
  exit 2
}

hosts=4
rate=
per_host=1
while [[ $# -gt 0 && $1 == --* ]]; do
  [[ $# -ge 2 ]] || usage
  case $1 in
    --rate) rate=$2 ;;
    --ranks-per-host) per_host=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ $# -gt 0 && $per_host =~ ^[1-9][0-9]{0,3}$ ]] || usage
for tool in ip tc mpirun; do
  command -v "$tool" >/dev/null || { echo "skipped: there is no $tool here"; exit 77; }
done

# Names and a network of this run's own, so that several can run at a time; an interface's name has 15 letters at most.
id=$((BASHPID % 10000))
bridge=gwb$id
network=10.$((128 + BASHPID % 64)).$((BASHPID / 64 % 250))
folder=$(mktemp -d)

# shellcheck disable=SC2317  # the trap calls it
take_down() {
  for ((i = 0; i < hosts; ++i)); do
    ip netns del "gwh$id-$i" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
  rm -rf "$folder"
}
trap take_down EXIT
job=
# shellcheck disable=SC2317  # the trap calls it
stop() {
  trap '' INT TERM HUP
  # mpirun ends its daemons and ranks when it is told to.
  if [[ -n $job ]]; then
    kill -TERM "$job" 2>/dev/null || true
    wait "$job" || true
  fi
  exit 130
}
trap stop INT TERM HUP

if ! ip link add "$bridge" type bridge 2>/dev/null; then
  echo "skipped: network interfaces cannot be made here (that takes root, and CAP_NET_ADMIN in a container)"
  exit 77
fi
ip address add "$network.254/24" dev "$bridge"
ip link set "$bridge" up
# Small bursts: a large one gives an idle link bytes for nothing. But a fast link must not run out of them before the kernel looks again.
burst=32kb
if [[ $rate == *gbit ]]; then burst=256kb; fi
list=
for ((i = 0; i < hosts; ++i)); do
  host=gwh$id-$i
  ip netns add "$host"
  ip link add "gwv$id-$i" type veth peer name eth0 netns "$host"
  ip link set "gwv$id-$i" master "$bridge" up
  ip -n "$host" address add "$network.$((i + 1))/24" dev eth0
  ip -n "$host" link set eth0 up
  ip -n "$host" link set lo up
  if [[ -n $rate ]]; then
    tc qdisc add dev "gwv$id-$i" root tbf rate "$rate" burst "$burst" latency 100ms
    tc -n "$host" qdisc add dev eth0 root tbf rate "$rate" burst "$burst" latency 100ms
  fi
  list+=${list:+,}$host:$per_host
done

# What mpirun calls instead of ssh.
# Daemons keep their things in TMPDIR, and hosts share no files.
cat >"$folder/agent" <<AGENT
#!/bin/sh
host=\$1
shift
mkdir -p "$folder/\$host"
exec ip netns exec "\$host" env TMPDIR="$folder/\$host" sh -c "\$*"
AGENT
chmod +x "$folder/agent"

status=0
TMPDIR=$folder mpirun --allow-run-as-root --oversubscribe -H "$list" -n $((hosts * per_host)) \
  --mca plm_rsh_agent "$folder/agent" --mca btl tcp,self --mca btl_tcp_if_include "$network.0/24" \
  --mca oob_tcp_if_include "$network.0/24" "$@" </dev/null &
job=$!
wait "$job" || status=$?
exit "$status"
