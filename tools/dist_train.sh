#!/usr/bin/env bash
# Train in several processes: tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# nccl with GPUs, gloo without. Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
exec "$(dirname "$0")/_torchrun.sh" train.py "$2" "$1" "${@:3}"
