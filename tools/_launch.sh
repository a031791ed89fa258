# Sourced by the launchers: where Python is, what Slurm says, and --dry-run.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${ONEFORMER_PYTHON:-$([ -x "$tools/../.venv/bin/python" ] && echo "$tools/../.venv/bin/python" || echo python)}

# launch COMMAND...: become this command; with --dry-run among its arguments, print it instead.
launch() {
  local argument command=() dry_run=''
  for argument; do
    if [ "$argument" = --dry-run ]; then dry_run=1; else command+=("$argument"); fi
  done
  if [ -z "$dry_run" ]; then exec "${command[@]}"; fi
  printf '%q ' "${command[@]}"
  echo
}

# slurm_says in-step: whether srun started this; slurm_says meeting-point: address and port of this step
slurm_says() {
  local host="$tools/../projects/oneformer/host"  # in a checkout
  [ -d "$host" ] || host="$tools/../../host"  # in the installed package
  "$python" "$host/launch.py" "$1"
}

stop() { echo "$1" >&2; exit 1; }
