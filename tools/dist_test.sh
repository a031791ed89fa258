#!/usr/bin/env bash
# Evaluate in several processes: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of test.py]
# PROCESSES are those of each node. A Slurm job says its nodes itself; elsewhere set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,3p "$0"; exit 1; }
exec "$(dirname "$0")/_torchrun.sh" test.py "$3" "$1" "$2" "${@:4}"
