#!/bin/sh
# under_mpirun.sh PROCESSES PROGRAM [ARGUMENT...]: as root, in a container with fewer cores than ranks, or in neither.
if ! command -v mpirun >/dev/null; then
  echo "skipped: there is no mpirun here (Debian: openmpi-bin)"
  exit 77
fi
processes=$1
shift
root=
if [ "$(id -u)" = 0 ]; then root=--allow-run-as-root; fi
exec mpirun $root --oversubscribe -n "$processes" "$@" </dev/null
