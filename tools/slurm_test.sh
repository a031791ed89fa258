#!/usr/bin/env bash
# Evaluate under Slurm: [GPUS=8] tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# One task per GPU. Also from the environment: GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS. Inside a job, its own tasks are used.
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,3p "$0"; exit 1; }
exec "$(dirname "$0")/_srun.sh" test.py "$1" "$2" "$3" "$4" "${@:5}"
