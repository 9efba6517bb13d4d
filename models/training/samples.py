"""The few sample pictures of the README and the tests.

    python samples.py --npm NODE_MODULES --art DIR

The stickers are Noto and Fluent drawings at 512 px with transparency; the others come from the held-out
generators, so the model has seen none of them.
"""
import argparse
import io
import json
from pathlib import Path

from PIL import Image

import kinds
from model import HERE

OUT = HERE.parent / "embedded" / "samples"


def sticker(npm, style, name, file):
    import resvg_py

    d = json.loads((npm / f"@iconify-json/{style}/icons.json").read_text())
    icon = d["icons"][name]
    w, h = icon.get("width", d.get("width", 16)), icon.get("height", d.get("height", 16))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {w} {h}">{icon["body"]}</svg>'
    im = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=440)))).convert("RGBA")
    out = Image.new("RGBA", (512, 512))
    out.paste(im, (36, 36))
    out.save(OUT / file, quality=85, method=6)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--npm", type=Path, required=True)
    p.add_argument("--art", type=Path, required=True)
    a = p.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    sticker(a.npm, "noto", "cat-face", "cat-sticker.webp")
    sticker(a.npm, "fluent-emoji-flat", "dog", "dog-sticker.webp")
    sticker(a.npm, "noto", "pizza", "pizza-sticker.webp")
    for kind, i, file in (("bar_chart", 5, "bar-chart.png"), ("qr_code", 1, "qr-code.png"), ("chat", 5, "chat.png")):
        b = kinds.render((a.art, "evaluation", kind, i))[2]
        im = Image.open(io.BytesIO(b)).convert("RGB")
        if kind == "qr_code":
            im = im.convert("1")
        im.save(OUT / file, optimize=True)
    for f in sorted(OUT.iterdir()):
        print(f.name, f.stat().st_size)


if __name__ == "__main__":
    main()
