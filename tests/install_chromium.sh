#!/usr/bin/env bash
# Installs the Chromium that the tests marked `web` open, where this user may; they are skipped elsewhere.
set -uo pipefail
for command in chromium chromium-browser; do
  command -v "$command" > /dev/null && exit 0
done
echo 'The tests of the page open Chromium, which is not installed.'
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo 'They are passed over: installing chromium needs root and apt-get.'
  exit 0
fi
echo 'Installing chromium with apt-get.'
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } > /dev/null 2>&1 \
  || echo 'They are passed over: apt-get cannot install chromium here.'
