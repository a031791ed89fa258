#!/usr/bin/env bash
# Installs the Slurm that the tests marked `slurm` start, where this user may; they are skipped elsewhere.
set -uo pipefail
export PATH=$PATH:/usr/sbin:/sbin
missing=()
for command in munged slurmctld slurmd srun; do
  command -v "$command" > /dev/null || missing+=("$command")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "The Slurm tests start daemons of their own and lack ${missing[*]}."
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo 'They are passed over: installing slurm-wlm and munge needs root and apt-get.'
  exit 0
fi
echo 'Installing slurm-wlm and munge with apt-get.'
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } > /dev/null 2>&1 \
  || echo 'They are passed over: apt-get cannot install slurm-wlm and munge here.'
