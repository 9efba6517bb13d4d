#!/bin/sh
# Makes omnizap-mini from nothing: pictures, both towers, scale, numbers.
#
#   sh make.sh WORK PHOTOS [RENDERS]
#
# PHOTOS holds Debian's packages unpacked, as `photographs.json` names them. WORK holds what is rendered and trained (about 4 GB). Needs what README.md lists. The image tower sees
# RENDERS pictures (2000000), about 600 a second on two cores that do nothing else. Stops and goes on
# where it stood, a fit of the text tower excepted, which begins anew.
#
# LABELLED=FOLDER measures photographs too: files `n01518878_ostrich.jpg`, named by WordNet's offset of an
# ImageNet class. Those of the model card are 250 of 250 classes; no package holds them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)
photos=$(cd "$2" && pwd)
renders=${3:-2000000}
python=${PYTHON:-python3}
art=$work/art
run=$work/run
npm=${NPM_MODULES:-$here/node_modules}
step() { echo "$(date +%H:%M:%S) $*"; }

cd "$here"
if [ ! -f "$art/sprites-training.json" ]; then
    step artwork
    "$python" artwork.py --npm "$npm" --out "$art"
fi
if [ ! -f "$art/kinds-training.json" ]; then
    step kinds of image
    "$python" kinds.py --art "$art" --set training --per-kind 600
fi
step image tower
"$python" train.py --art "$art" --run "$run" --renders "$renders"
if [ ! -f "$art/kinds-evaluation.json" ]; then
    step evaluation pictures
    "$python" artwork.py --npm "$npm" --out "$art" --styles evaluation --size 256
    "$python" kinds.py --art "$art" --set evaluation --per-kind 20
fi
step photographs
[ -f "$work/features.pt" ] || "$python" photographs.py --photos "$photos" --art "$art" --out "$work/features.pt"
"$python" gate.py --features "$work/features.pt" --out "$run/gate.pt"
step text tower
# What was made of another tower or of other words is made anew.
if [ "$run/last.pt" -nt "$run/embeddings.pt" ]; then rm -f "$run/embeddings.pt" "$run"/text-*.done; fi
if [ everyday.json -nt "$run/seen.pt" ]; then rm -f "$run/seen.pt" "$run"/text-*.done; fi
fit() {
    number=$1; shift
    [ -f "$run/text-$number.done" ] && return
    "$python" train_text.py --art "$art" --run "$run" --drawn "$run" --npm "$npm" "$@"
    touch "$run/text-$number.done"
}
fit 1 --minutes 21
fit 2 --resume --minutes 6 --lr 8e-4 --batch 72 --nouns 190 --names .72
[ -f "$run/text-early.pt" ] || cp "$run/text.pt" "$run/text-early.pt"
fit 3 --resume --minutes 62 --lr 1.3e-3 --nouns 112 --names .6
fit 4 --resume --minutes 5 --lr 4e-4 --nouns 96 --names .6 --kinds-weight 11
fit 5 --resume --minutes 5 --lr 5e-4 --nouns 80 --names .6 --kinds-weight 11 --defaults 110
fit 6 --resume --minutes 4 --lr 6e-4 --nouns 80 --names .6 --kinds-weight 11 --defaults 110
step export
"$python" export.py --run "$run" --early "$run/text-early.pt" --drawn "$run" --gate "$run/gate.pt" --out "$work/embedded"
"$python" calibrate.py --art "$art" --photos "$photos" --npm "$npm" --model "$work/embedded"
"$python" evaluate.py --art "$art" --npm "$npm" --model "$work/embedded" --json "$work/metrics.json" ${LABELLED:+--photos "$LABELLED"}
step done
