#!/usr/bin/env bash
# Train under Slurm: [GPUS=8] tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
# One task per GPU. Also from the environment: GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS. Inside a job, its own tasks are used.
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,3p "$0"; exit 1; }
exec "$(dirname "$0")/_srun.sh" train.py "$1" "$2" "$3" --work-dir "$4" "${@:5}"
