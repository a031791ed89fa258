#!/usr/bin/env bash
# _srun.sh TOOL PARTITION JOB_NAME ARGUMENTS...: what slurm_train.sh and slurm_test.sh share.
set -euo pipefail
. "$(dirname "$0")/_launch.sh"
tool=$1 partition=$2 name=$3
! slurm_says in-step || stop "this is started by srun already, and every task would start all tasks: call it without srun"
if [ -n "${SLURM_JOB_ID:-}" ]; then  # inside a job: its tasks, CPUs and GPUs
  tasks=${GPUS:-${SLURM_NTASKS:-}}
  [ -n "$tasks" ] || stop "the job does not say how many tasks it has: sbatch --ntasks=GPUS"
  resources=(--ntasks="$tasks" --cpus-per-task="${CPUS_PER_TASK:-${SLURM_CPUS_PER_TASK:-1}}")
else
  tasks=${GPUS:-8}
  per_node=${GPUS_PER_NODE:-$((tasks < 8 ? tasks : 8))}
  resources=(
    --partition="$partition" --job-name="$name" --gres="gpu:$per_node"
    --ntasks="$tasks" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}"
  )
fi
# shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
launch srun "${resources[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  "$python" -u "$tools/$tool" "${@:4}" --launcher slurm
