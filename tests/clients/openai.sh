#!/usr/bin/env bash
# Embeddings by OpenAI's own client for Python: texts, a list of them, pictures as data: URLs, base64
# and floats, errors. Each is compared with what a raw request gets.
#
#   omnizap serve --pipelines pipelines/extra &
#   tests/clients/openai.sh [URL] [KEY]      the service, else http://127.0.0.1:8008; its key, if any
#
# Needs python3 with venv; what else it needs it installs into target/clients.
set -euo pipefail
cd "$(dirname "$0")/../.."

url=${1:-http://127.0.0.1:8008}
key=${2:-none}
work=target/clients
if ! [ -x $work/venv/bin/python ] || ! $work/venv/bin/python -c 'import openai' 2>/dev/null; then
  mkdir -p $work
  python3 -m venv $work/venv
  $work/venv/bin/pip install --quiet 'openai>=1.60,<3'
fi
exec $work/venv/bin/python tests/clients/openai_embeddings.py "$url" "$key"
