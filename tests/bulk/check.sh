#!/usr/bin/env bash
# Whether `omnizap classify` over thousands of files keeps what it has done, whatever ends it: runs
# that are ended by Ctrl-C and by kill -9 again and again and gone on with leave the same bytes as one
# that runs through, as JSON lines, as CSV and as Parquet, which pyarrow reads back.
#
#   tests/bulk/check.sh [PROGRAM]          the program, else target/debug/omnizap
#
# FILES=N    pictures that are made for it [5000]
# SEED=N     another run of chance [18]
#
# Needs python3 from 3.9 with venv; root's Debian gets what is missing. What else it needs it installs
# into target/bulk. Ends with 3 where Python is missing and cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD

program=$(realpath "${1:-target/debug/omnizap}")
work=$root/target/bulk
[ -x "$program" ] || { echo "there is no program $program: cargo build, or name one" >&2; exit 2; }

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/bulk/check.sh: python3 with venv is missing; on Debian: apt-get install python3-venv" >&2
    exit 3
  fi
  apt=(apt-get -q -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends \
    python3-venv ca-certificates
fi

if ! [ -x "$work/venv/bin/python" ] || ! "$work/venv/bin/python" -c 'import pyarrow' 2>/dev/null; then
  mkdir -p "$work"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet 'pyarrow>=21'
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$work/venv/bin/python" tests/bulk/check.py "$program" "$scratch" \
  "${FILES:-5000}" "${SEED:-18}"
