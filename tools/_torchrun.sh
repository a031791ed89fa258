#!/usr/bin/env bash
# _torchrun.sh TOOL PROCESSES ARGUMENTS...: what dist_train.sh and dist_test.sh share.
set -euo pipefail
. "$(dirname "$0")/_launch.sh"
tool=$1 processes=$2
nodes=${NNODES:-1} node_rank=${NODE_RANK:-0} address=${MASTER_ADDR:-127.0.0.1} port=${PORT:-}
if [ -n "${SLURM_JOB_ID:-}" ] && [ -z "${NNODES:-}" ]; then
  if slurm_says in-step; then
    [ "$SLURM_STEP_NUM_TASKS" = "$SLURM_STEP_NUM_NODES" ] || stop \
      "$SLURM_STEP_NUM_TASKS tasks on $SLURM_STEP_NUM_NODES nodes would each start $processes processes: srun --ntasks-per-node=1, or use tools/slurm_${tool%.py}.sh"
    nodes=$SLURM_STEP_NUM_NODES node_rank=$SLURM_NODEID
  elif [ "$SLURM_JOB_NUM_NODES" != 1 ]; then  # this script again, once on each node with all its CPUs
    nodes=$SLURM_JOB_NUM_NODES
    launch srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 \
      --cpus-per-task="$SLURM_CPUS_ON_NODE" --kill-on-bad-exit=1 "$tools/_torchrun.sh" "$@"
    exit
  fi
  if [ "$nodes" != 1 ]; then  # all nodes have to agree on these
    read -r first_node job_port <<< "$(slurm_says meeting-point)"
    address=${MASTER_ADDR:-$first_node} port=${PORT:-$job_port}
  fi
fi
if [ -z "$port" ] && [ "$nodes" = 1 ]; then  # any free one, so that two jobs on a machine do not meet
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
fi
launch "$python" -m torch.distributed.run \
  --nnodes="$nodes" --node_rank="$node_rank" \
  --master_addr="$address" --master_port="${port:-29500}" \
  --nproc_per_node="$processes" "$tools/$tool" "${@:3}" --launcher pytorch
