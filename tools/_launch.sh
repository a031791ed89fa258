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

# Whether srun started this; the ids from 4294967280 on are Slurm's own (batch script, salloc's shell).
in_step() { [ -n "${SLURM_STEP_ID:-}" ] && [ "$SLURM_STEP_ID" -lt 4294967280 ]; }

# first_node NODELIST: node03 of node[03-05,07],other1
first_node() { sed 's/\[\([^],-]*\)[^]]*\]/\1/g; s/,.*//' <<< "$1"; }

stop() { echo "$1" >&2; exit 1; }
