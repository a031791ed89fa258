#!/usr/bin/env bash
# Train in several processes: tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# PROCESSES are those of each node. A Slurm job says its nodes itself; elsewhere set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 1; }
exec "$(dirname "$0")/_torchrun.sh" train.py "$2" "$1" "${@:3}"
