"""Features of pictures that are photographs and of pictures that are not, for the gate between the encoders.

    python photographs.py --photos DIR --art DIR --out FILE [--crops 14]

The photographs come with packages and are listed in `photographs.json`; they are looked at, not shipped: DIR
holds Debian's packages unpacked (`dpkg -x PACKAGE.deb DIR/PACKAGE`), the rest lies in site-packages. The others are
renders of the training drawings, the training generators of kinds, and the drawn wallpapers of the same
packages. Writes {"x": features (n, 1280), "photo": (n,), "group": names, "cut": the 224 px pictures}.
"""
import argparse
import functools
import io
import json
import random
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import compose
import encoder
import kinds

HERE = Path(__file__).resolve().parent


@functools.lru_cache(2)
def resources(path, least=180):
    """The pictures in a file of Qt resources, which holds them as they are."""
    data, i, out = path.read_bytes(), 0, []
    while True:
        starts = [s for s in (data.find(b"\xff\xd8\xff", i), data.find(b"RIFF", i)) if s >= 0]
        if not starts:
            return out
        try:
            im = Image.open(io.BytesIO(data[min(starts):min(starts) + 4_000_000]))
            im.load()
            if min(im.size) >= least:
                im.thumbnail((900, 900))
                out.append(im)
        except (OSError, ValueError):  # not the start of a picture after all
            pass
        i = min(starts) + 4


def opened(row, photos):
    """A row of `photographs.json`, at most 900 px, with its transparency."""
    package, name = row.split("/", 1)
    name, _, n = name.partition("#")
    path = Path(str(files(package[3:]))) / name if package.startswith("py:") else photos / package / name
    if n:
        im = resources(path)[int(n)]
    else:
        im = Image.open(path)
        im.draft("RGB", (900, 900))
    im = im.convert("RGBA")
    im.thumbnail((900, 900), Image.LANCZOS)
    return im


def placed(im, rng, scenes):
    """A cut-out on something plain, or in a scene."""
    side = round(max(im.size) * rng.uniform(1.02, 1.5))
    if rng.random() < .35:
        out = rng.choice(scenes).resize((side, side))
    else:
        tone = rng.choice([(255, 255, 255), (255, 255, 255), (128, 128, 128), (0, 0, 0), tuple(rng.randrange(256) for _ in "rgb")])
        out = Image.new("RGB", (side, side), tone)
    out.paste(im, (rng.randint(0, side - im.width), rng.randint(0, side - im.height)), im)
    return out


def crops(im, n, rng):
    """The picture as it is, then cuts of 40 to 100 % of its shorter side, half of them mirrored."""
    w, h = im.size
    yield encoder.cut(im)
    for _ in range(n - 1):
        side = min(w, h) * rng.uniform(.4, 1)
        x, y = rng.uniform(0, w - side), rng.uniform(0, h - side)
        part = im.crop((round(x), round(y), round(x + side), round(y + side)))
        if rng.random() < .5:
            part = part.transpose(Image.FLIP_LEFT_RIGHT)
        yield encoder.cut(part)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--photos", type=Path, required=True)
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--crops", type=int, default=6)
    p.add_argument("--renders", type=int, default=900)
    p.add_argument("--per-kind", type=int, default=14)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    rng = random.Random(1)
    rows = json.loads((HERE / "photographs.json").read_text())
    net = encoder.Fast(encoder.load(), a.threads)
    x, photo, group = [], [], []

    def add(cuts, is_photo, name):
        cuts = list(cuts)
        x.append(net(cuts))
        photo.extend([is_photo] * len(cuts))
        group.extend([name] * len(cuts))
        print(name, len(group), flush=True)

    scenes = []
    for row in rows["photographs"]:
        im = opened(row, a.photos).convert("RGB")
        if len(scenes) < 70:
            scenes.append(im)
        # A picture of a wallpaper holds many; a picture of one thing is one.
        add(crops(im, a.crops if min(im.size) > 500 else a.crops // 2, rng), True, row)
    for row in rows["drawn"]:
        im = opened(row, a.photos)
        add(crops(Image.alpha_composite(Image.new("RGBA", im.size, "white"), im).convert("RGB"), 2, rng), False, row)
    for row in rows["cut_out"]:
        im = opened(row, a.photos)
        add([encoder.cut(placed(im, rng, scenes)) for _ in range(2)], True, row)
    sprites = compose.Sprites(a.art)
    g = torch.Generator().manual_seed(5)
    idx = np.array(rng.sample(range(len(sprites.rows)), a.renders))
    for i in range(0, len(idx), 100):
        r = compose.finish(g, sprites.compose(g, idx[i:i + 100], 256))
        r = (r.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        add((encoder.cut(Image.fromarray(q)) for q in r), False, "drawings")
    kinds.setup(a.art, "training")
    for kind in json.loads((HERE / "kinds.json").read_text()):
        cuts = []
        for i in range(a.per_kind):
            kinds.R.seed(f"gate/{kind['id']}/{i}")
            try:
                cuts.append(encoder.cut(getattr(kinds, "a_" + kind["id"])()[0]))
            except ValueError:  # a shape of no size
                continue
        add(cuts, False, "kind " + kind["id"])
    torch.save({"x": torch.cat(x), "photo": torch.tensor(photo), "group": group}, a.out)


if __name__ == "__main__":
    main()
