#!/usr/bin/env bash
# Runs a command with a MariaDB and a PostgreSQL server beside it, which live in a
# folder of their own, listen on free ports of 127.0.0.1 and end with the command:
#
#   tests/databases.sh cargo test --workspace
#
# The tests find them by OMNIZAP_TEST_MYSQL_URL and OMNIZAP_TEST_POSTGRES_URL. Prometheus, which
# reads what the service tells, is seen to as well; the tests start one themselves. What is
# missing is installed where that is possible: by root, on Debian. The servers keep
# their durable defaults: what they acknowledge, they have synced.
#
# A test that stops and starts servers has some of its own: `tests/databases.sh --serve
# mysql|postgres NAME PORT` becomes the server with the data of that name.
set -euo pipefail

readonly USER_NAME=omnizap PASSWORD=omnizap

# PostgreSQL refuses to run as root, MariaDB to run as root unasked.
as_owner() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
  else
    "$@"
  fi
}

postgres_bin() {
  local found
  for found in $(command -v pg_ctl || true) /usr/lib/postgresql/*/bin/pg_ctl; do
    if [ -x "$found" ]; then dirname "$(readlink -f "$found")"; return; fi
  done
  return 1
}

# Debian keeps it where only root looks.
pooler() { PATH="$PATH:/usr/sbin" command -v pgbouncer || true; }

install_missing() {
  local packages=()
  if ! command -v mariadbd >/dev/null || ! command -v mariadb-install-db >/dev/null; then
    # Without the package of scripts that would start a server at every boot.
    packages+=(mariadb-server-core)
  fi
  # mariadb-install-db asks it, and it is in the package of the client.
  command -v my_print_defaults >/dev/null || packages+=(mariadb-client-core)
  postgres_bin >/dev/null || packages+=(postgresql)
  # Of use to one test each, so nobody is stopped by their absence who cannot install them.
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    [ -n "$(pooler)" ] || packages+=(pgbouncer)
    command -v promtool >/dev/null || packages+=(prometheus)
  fi
  [ ${#packages[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "databases.sh: mariadbd or postgres is missing; on Debian: apt-get install ${packages[*]}" >&2
    exit 1
  fi
  local apt=(apt-get -q -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${packages[@]}"
}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); is_open "$port"; do :; done
  echo "$port"
}

# serve KIND NAME PORT: this process becomes the server; its data is made when missing.
serve() {
  local kind=$1 data=$OMNIZAP_TEST_SERVERS/$2 port=$3
  local log=$data.log bin
  case $kind in
    mysql)
      # Its own: a server that starts removes every temporary table that lies where it would keep one.
      as_owner mkdir -p "$data.tmp"
      export TMPDIR=$data.tmp
      if [ ! -d "$data" ]; then
        as_owner mkdir "$data"
        as_owner mariadb-install-db --no-defaults --datadir="$data" --skip-test-db \
          --auth-root-authentication-method=normal >"$log" 2>&1
        printf '%s\n' "CREATE USER IF NOT EXISTS '$USER_NAME'@'%' IDENTIFIED BY '$PASSWORD';" \
          "GRANT ALL ON *.* TO '$USER_NAME'@'%' WITH GRANT OPTION;" | as_owner tee "$data.init.sql" >/dev/null
      fi
      set -- mariadbd --no-defaults --datadir="$data" --socket="$data/socket" \
        --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --max-connections=400 \
        --init-file="$data.init.sql"
      ;;
    postgres)
      bin=$(postgres_bin)
      if [ ! -d "$data" ]; then
        as_owner mkdir -m 700 "$data"
        echo "$PASSWORD" | as_owner tee "$data.password" >/dev/null
        as_owner "$bin/initdb" --pgdata="$data" --username="$USER_NAME" --encoding=UTF8 \
          --locale=C.UTF-8 --auth=scram-sha-256 --pwfile="$data.password" >"$log" 2>&1
      fi
      set -- "$bin/postgres" -D "$data" -k "$data" -h 127.0.0.1 -p "$port" -N 400
      ;;
    *) echo "databases.sh: no kind of server is called $kind" >&2; exit 2 ;;
  esac
  if [ "$(id -u)" = 0 ]; then
    set -- setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
  fi
  exec "$@" >>"$log" 2>&1
}

# Waits for a server at PORT; fails with its log once PID has ended.
wait_for() {
  local name=$1 pid=$2 port=$3
  for _ in $(seq 600); do
    is_open "$port" && return
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "databases.sh: $name did not start:" >&2
  tail -n 30 "$OMNIZAP_TEST_SERVERS/$name.log" >&2 || true
  exit 1
}

if [ "${1:-}" = --serve ]; then
  serve "$2" "$3" "$4"
fi
if [ $# = 0 ]; then
  echo "usage: tests/databases.sh COMMAND [ARGUMENT...]" >&2
  exit 2
fi

install_missing
OMNIZAP_TEST_SERVERS=$(mktemp -d "${TMPDIR:-/tmp}/omnizap-databases.XXXXXX")
export OMNIZAP_TEST_SERVERS
pids=()
stop() {
  local status=$?
  trap - EXIT INT TERM
  # Data that is thrown away need not be closed well: at once, and for PostgreSQL with
  # all its processes and its shared memory.
  for pid in "${pids[@]}"; do kill -QUIT "$pid" 2>/dev/null || true; done
  kill -KILL "${pids[0]:-}" 2>/dev/null || true
  # Without bash's word that it was killed.
  wait "${pids[0]:-}" 2>/dev/null || true
  # One that was still making its data has not heard the first signal.
  for _ in $(seq 50); do
    [ -n "$(jobs -rp)" ] || break
    sleep 0.1
  done
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$OMNIZAP_TEST_SERVERS"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$OMNIZAP_TEST_SERVERS"; fi

mysql_port=$(free_port)
"$0" --serve mysql mysql "$mysql_port" & pids+=($!)
postgres_port=$(free_port)
"$0" --serve postgres postgres "$postgres_port" & pids+=($!)
wait_for mysql "${pids[0]}" "$mysql_port"
wait_for postgres "${pids[1]}" "$postgres_port"
export OMNIZAP_TEST_MYSQL_URL="mysql://$USER_NAME:$PASSWORD@127.0.0.1:$mysql_port/mysql"
export OMNIZAP_TEST_POSTGRES_URL="postgres://$USER_NAME:$PASSWORD@127.0.0.1:$postgres_port/postgres"
"$@"
