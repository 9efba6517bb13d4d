"""Golden embeddings of the exported file, in fp32 PyTorch, for the tests of other implementations.

    python golden.py            # writes ../embedded/golden.json

Pictures are given by a recipe, as integers, so no decoder stands between: channel c of pixel (x, y) is
(a*x + b*y + c*(d + x*y/7)) mod 256, rounded down. They and the `samples` go through the whole preprocessing of both
towers, Pillow's resampling included.
"""
import json

import numpy as np
import torch
from PIL import Image

from model import EMBEDDED
from reference import Reference

TEXTS = ["cat", "a sticker of a cat", "bar chart", "um gráfico de barras", "QR code", "figurinha de cachorro",
         "  Café\tCOM leite 🐱 ", "", "xylographic quokka", "a very long caption " * 30, "golden retriever", "real life photo"]
RECIPES = [(1, 2, 40, 64, 64), (7, 3, 90, 300, 180), (4, 0, 17, 97, 411), (0, 5, 133, 224, 224), (13, 11, 71, 640, 480)]


def picture(a, b, d, width, height):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([(a * x + b * y + c * (d + x * y // 7)) % 256 for c in range(3)], -1).astype(np.uint8))


def main():
    torch.set_num_threads(1)
    ref = Reference()
    rnd = lambda t: [round(float(v), 7) for v in t]  # noqa: E731
    px = [ref.pixels(picture(*r)) for r in RECIPES]
    samples = sorted((EMBEDDED / "samples").glob("*.png"))
    labels = ["cat", "bar chart", "QR code", "dog"]
    out = {
        "what": "fp32 PyTorch on the fp16 weights; embeddings have length 1",
        "recipe": "pixel[c][y][x] = (a*x + b*y + c*(d + x*y // 7)) % 256",
        "image_size": ref.side,
        "logit_scale_exp": ref.scale(),
        "images": [dict(zip("abdwh", r)) | {"embedding": rnd(e)} for r, e in zip(RECIPES, ref.images(px))],
        "samples": [{"file": p.name, "embedding": rnd(e)} for p, e in zip(samples, ref.images([ref.pixels(Image.open(p)) for p in samples]))],
        "texts": [{"text": t, "tokens": [int(v) for v in ref.tok([t], context_length=77)[0] if v][:77], "embedding": rnd(e)} for t, e in zip(TEXTS, ref.texts(TEXTS))],
        "labels": [{"label": lab, "embedding": rnd(e)} for lab, e in zip(labels, ref.labels(labels))],
    }
    (EMBEDDED / "golden.json").write_text(json.dumps(out, ensure_ascii=False) + "\n")
    print((EMBEDDED / "golden.json").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
