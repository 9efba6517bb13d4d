#!/usr/bin/env bash
# Whether /openapi.json is true: the document of each shipped set of pipelines, and of one with a
# plugin, is valid OpenAPI 3.1, and of thousands of requests made from it none is answered with a
# fault of the service or with what the document does not say.
#
#   tests/openapi/check.sh [PROGRAM]       the program, else target/debug/omnizap
#
# EXAMPLES=N   requests that are made up for each operation [300]
# SEED=N       another run of chance [17]
# SETS="a b"   folders of pipelines instead of all of them; `plugin` is the one with a plugin
#
# Needs python3 from 3.10 with venv and, for the plugin, cc; root's Debian gets what is missing. What
# else it needs it installs into target/openapi. Ends with 3 where Python is missing and cannot be
# installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

program=$(realpath "${1:-target/debug/omnizap}")
examples=${EXAMPLES:-300}
seed=${SEED:-17}
sets=${SETS:-pipelines pipelines/extra pipelines/compat pipelines/tags pipelines/admin pipelines/recipes plugin}
work=target/openapi
[ -x "$program" ] || { echo "there is no program $program: cargo build, or name one" >&2; exit 2; }

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/openapi/check.sh: python3 with venv is missing; on Debian: apt-get install python3-venv" >&2
    exit 3
  fi
  apt=(apt-get -q -o DPkg::Lock::Timeout=300)
  { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y \
    --no-install-recommends python3-venv ca-certificates; } || {
    echo "tests/openapi/check.sh: apt-get cannot install python3-venv" >&2
    exit 3
  }
fi

if ! [ -x $work/venv/bin/schemathesis ]; then
  mkdir -p $work
  python3 -m venv $work/venv
  $work/venv/bin/pip install --quiet 'schemathesis==4.32.5' 'openapi-spec-validator==0.9.0' || {
    rm -rf $work/venv
    echo "tests/openapi/check.sh: pip cannot install schemathesis" >&2
    exit 3
  }
fi

scratch=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$scratch"
}
trap end EXIT

# A pipeline with an example plugin.
plugin() {
  mkdir -p "$scratch/plugin"
  cc -O1 -shared -fPIC -fvisibility=hidden -I plugins/contract/include \
    -o "$scratch/colours.so" plugins/examples/dominant-colours/dominant_colours.c
  {
    OMNIZAP_DATA="$scratch/data" "$program" plugins allow "$scratch/colours.so"
    cat tests/openapi/look.toml
  } > "$scratch/plugin/look.toml"
}

failed=
for set in $sets; do
  folder=$set
  if [ "$set" = plugin ]; then
    plugin
    folder=$scratch/plugin
  fi
  rm -rf "$scratch/data"
  env -u OMNIZAP_API_KEYS OMNIZAP_LOG=warn,omnizap=info OMNIZAP_DATA="$scratch/data" \
    "$program" --pipelines "$folder" serve --listen 127.0.0.1:0 2> "$scratch/log" &
  server=$!
  address=
  for _ in $(seq 600); do
    address=$(sed -n 's#.*listening on http://\([0-9.:]*\).*#\1#p' "$scratch/log")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$scratch/log" >&2; exit 1; }
    sleep 0.1
  done
  [ -n "$address" ] || { echo "$set: the service did not start" >&2; cat "$scratch/log" >&2; exit 1; }

  echo "== $set"
  $work/venv/bin/python -c "
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen('http://$address/openapi.json').read())
" > "$scratch/openapi.json"
  $work/venv/bin/openapi-spec-validator "$scratch/openapi.json"
  # One worker: Python 3.11 loses count of itself where two compile at one time.
  # What a value means only its stage knows, so that not every request passes that the document
  # allows; and the service takes more spellings than the document promises.
  # It leaves files where it runs.
  (cd "$scratch" && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/tests/openapi \
    SCHEMATHESIS_HOOKS=openapi_hooks "$root/$work/venv/bin/schemathesis" run \
    "http://$address/openapi.json" --seed "$seed" --max-examples "$examples" \
    --request-timeout 60 --suppress-health-check all --warnings off \
    --checks all --exclude-checks positive_data_acceptance,negative_data_rejection) \
    || failed="$failed $set"
  kill "$server"
  wait "$server" || { echo "$set: the service did not end well" >&2; failed="$failed $set"; }
  server=
done

if [ -n "$failed" ]; then
  echo "not as the document says:$failed" >&2
  exit 1
fi
