#!/usr/bin/env bash
# _torchrun.sh TOOL PROCESSES ARGUMENTS...: what dist_train.sh and dist_test.sh share.
set -euo pipefail
tool=$1 processes=$2
here=$(cd "$(dirname "$0")" && pwd)
python=${ONEFORMER_PYTHON:-$([ -x "$here/../.venv/bin/python" ] && echo "$here/../.venv/bin/python" || echo python)}
if [ "${NNODES:-1}" = 1 ]; then  # any free port, so that two jobs on a machine do not meet
  port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
else
  port=${PORT:-29500}
fi
exec "$python" -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" \
  --nproc_per_node="$processes" "$here/$tool" "${@:3}" --launcher pytorch
