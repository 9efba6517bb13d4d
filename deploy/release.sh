#!/usr/bin/env bash
# Makes what is handed out: one archive with the program, licences, pipelines, the man pages,
# completions and what is needed to run it, and the SHA-256 of it.
#
#   deploy/release.sh                        # builds it, into target/release-archive
#   deploy/release.sh --binary FILE --out DIR
#
# The program needs the C library of the machine that it is built on, or a newer one: build it on the
# oldest system that it is to run on. The same commit, Rust and machine make the same archive.
set -euo pipefail

usage() {
  echo "usage: deploy/release.sh [--binary FILE] [--out DIR]" >&2
  exit 2
}

binary="" out=""
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --binary) binary=$(realpath -- "$2") ;;
    --out)
      mkdir -p -- "$2"
      out=$(realpath -- "$2")
      ;;
    *) usage ;;
  esac
  shift 2
done
cd "$(dirname "$0")/.."
out=${out:-$PWD/target/release-archive}

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
host=$(rustc -vV | sed -n 's/^host: //p')
name=omnizap-$version-$host
if [ -z "$binary" ]; then
  cargo build --release --locked --bin omnizap
  binary=$PWD/target/release/omnizap
fi
said=$("$binary" --version)
said=${said%%$'\n'*}
if [ "$said" != "omnizap $version" ]; then
  echo "release.sh: expected omnizap $version, found $said in $binary" >&2
  exit 1
fi

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/$name
mkdir -p "$tree"/{bin,share/man/man1,share/completions,licences}

install -m 755 "$binary" "$tree/bin/omnizap"
cp LICENSE-MIT LICENSE-APACHE NOTICE README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md \
  ARCHITECTURE.md Cargo.lock "$tree/"
cp -r docs pipelines deploy "$tree/"
rm -f "$tree/deploy/.env" "$tree/deploy/kubernetes/secret.yaml"
# What the program has in it of others, and what its models can do.
for file in models/embedded/{NOTICE,MODEL_CARD}.md models/nsfw/{NOTICE,MODEL_CARD}.md \
  models/nsfw/LICENSE stages/NUMBERS.md plugins/README.md plugins/contract/include/omnizap_plugin.h \
  engine/cli/page/README.md engine/cli/page/pictures/{answer,pipeline}.webp; do
  install -D -m 644 "$file" "$tree/$file"
done

# Settings and folders of whoever builds are none of it.
omnizap() { env -i HOME="$work" PATH="$PATH" "$tree/bin/omnizap" "$@"; }
(
  cd "$work"
  omnizap man --out "$tree/share/man/man1"
  omnizap completions bash >"$tree/share/completions/omnizap.bash"
  omnizap completions zsh >"$tree/share/completions/_omnizap"
  omnizap completions fish >"$tree/share/completions/omnizap.fish"
  omnizap completions powershell >"$tree/share/completions/_omnizap.ps1"
)

# The licences of the crates in it. Their sources are where Cargo fetches them, by Cargo.lock.
sources=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/)
crates=$(cargo tree --locked --offline --package omnizap --edges normal --prefix none \
  --format '{p}|{l}' | sed 's/ (proc-macro)//; s/ (\*)$//' | sort -u)
while IFS='|' read -r crate licence; do
  # Ours have a path behind the version, and the licences beside the program.
  [[ $crate == *"("* ]] && continue
  folder=${crate/ v/-}
  printf '%s: %s\n' "$folder" "$licence" >>"$tree/licences/LIST"
  for source in "${sources[@]}"; do
    [ -d "$source$folder" ] || continue
    while IFS= read -r -d '' file; do
      mkdir -p "$tree/licences/$folder"
      install -m 644 "$file" "$tree/licences/$folder/$(basename "$file")"
    done < <(find "$source$folder" -maxdepth 1 -type f \
      \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \
      -o -iname 'unlicense*' \) -print0)
  done
done <<<"$crates"
if [ ! -s "$tree/licences/LIST" ]; then
  echo "release.sh: found no crates in \`cargo tree\`, expected those that the program is made of" >&2
  exit 1
fi

(cd "$tree" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=go-w \
  --mtime="@$when" --create "$name" | gzip -n "-${GZIP_LEVEL:-9}" >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
