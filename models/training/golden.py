"""Golden embeddings of the exported file, in fp32 PyTorch, for the tests of other implementations.

    python golden.py            # writes ../embedded/golden.json

Pictures are given by a recipe, as integers, so no decoder stands between: channel c of pixel (x, y) is
(a*x + b*y + c*(d + x*y/7)) mod 256 rounded down, divided by 255, already at the model's input size. `samples` go through
the whole preprocessing: convert to RGB, shortest edge bilinear with Pillow, centre crop.
"""
import json

import torch
from PIL import Image

from reference import EMBEDDED, Reference

TEXTS = ["cat", "a sticker of a cat", "bar chart", "um gráfico de barras", "QR code", "figurinha de cachorro",
         "  Café\tCOM leite 🐱 ", "", "xylographic quokka", "a very long caption " * 30]
RECIPES = [(1, 2, 40), (7, 3, 90), (4, 0, 17), (0, 5, 133), (13, 11, 71)]


def pixels(a, b, d, s):
    return torch.tensor([[[(a * x + b * y + c * (d + x * y // 7)) % 256 for x in range(s)] for y in range(s)] for c in range(3)]).float() / 255


def main():
    torch.set_num_threads(1)
    ref = Reference()
    s = ref.cfg["vision_cfg"]["image_size"]
    rnd = lambda t: [round(float(v), 7) for v in t]  # noqa: E731
    px = torch.stack([pixels(*r, s) for r in RECIPES])
    samples = sorted(p for p in (EMBEDDED / "samples").glob("*.png"))
    labels = ["cat", "bar chart", "QR code", "dog"]
    out = {
        "what": "fp32 PyTorch on the fp16 weights; embeddings have length 1",
        "recipe": "pixel[c][y][x] = ((a*x + b*y + c*(d + x*y // 7)) % 256) / 255",
        "image_size": s,
        "logit_scale_exp": ref.scale(),
        "images": [{"a": a, "b": b, "d": d, "embedding": rnd(e)} for (a, b, d), e in zip(RECIPES, ref.images(px))],
        "samples": [{"file": p.name, "embedding": rnd(e)} for p, e in zip(samples, ref.images(torch.stack([ref.pixels(Image.open(p)) for p in samples])))],
        "texts": [{"text": t, "tokens": [int(v) for v in ref.tok([t], context_length=77)[0] if v][:77], "embedding": rnd(e)} for t, e in zip(TEXTS, ref.texts(TEXTS))],
        "labels": [{"label": lab, "embedding": rnd(e)} for lab, e in zip(labels, ref.labels(labels))],
    }
    (EMBEDDED / "golden.json").write_text(json.dumps(out, ensure_ascii=False) + "\n")
    print((EMBEDDED / "golden.json").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
