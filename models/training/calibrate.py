"""Makes the exported model's confidences honest, and finds the logits under which no label fits.

    python calibrate.py --art DIR --photos DIR [--model ../embedded]

Drawings and kinds: fresh renders of the training styles and generators. Photographs: the cut-outs of
`photographs.json`, whose names lie beside them, among scenes. Neither Twemoji, nor the held-out kinds, nor a picture that
is measured elsewhere has a say. For each number of labels the temperature with the least negative log-likelihood; the
line through those over ln n is kept. A floor is the logit that all but a few of the right labels reach: of drawings for
the share that they are drawings, of photographs for what their half is long, which is little where they may be many things.
"""
import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import captions
import compose
import kinds
import meaning
import photographs
from model import EMBEDDED, HERE
from reference import Reference
from text import DRAWN, RAW

SIZES = (2, 5, 20, 60, 150, 250)
MISSED = .03  # of the pictures that are told right of 20 labels may be told that none fits


def drawings(ref, art, rng, classes=150, each=5):
    """Embeddings and names of renders of objects."""
    cap = captions.load(art, [])
    sp, g = compose.Sprites(art), torch.Generator().manual_seed(77)
    code = {e["code"]: i for i, e in enumerate(cap.emoji)}
    own = {}
    for i, r in enumerate(sp.rows):
        e = cap.emoji[code[r["code"]]]
        if e["group"] != "flags" and not e["subgroup"].startswith("person"):
            own.setdefault(code[r["code"]], []).append(i)
    picked = rng.sample(sorted(own), classes)
    names = [cap.emoji[c]["name"] for c in picked for _ in range(each)]
    idx = np.array([rng.choice(own[c]) for c in picked for _ in range(each)])
    px = []
    for i in range(0, len(idx), 90):
        x = compose.finish(g, sp.compose(g, idx[i:i + 90], 256)).clamp(0, 1)
        px += [ref.pixels(Image.fromarray(a)) for a in (x * 255).round().byte().permute(0, 2, 3, 1).numpy()]
    return ref.images(px), names


def kinds_of_image(ref, art, each=8):
    kinds.setup(art, "training")
    px, names = [], []
    for kind in json.loads((HERE / "kinds.json").read_text()):
        for i in range(each):
            kinds.R.seed(f"calibrate/{kind['id']}/{i}")
            try:
                px.append(ref.pixels(getattr(kinds, "a_" + kind["id"])()[0]))
            except ValueError:  # a shape of no size
                continue
            names.append(kind["en"][0])
    return ref.images(px), names


def named_photographs(ref, photos, words, rng):
    """Cut-outs whose name has photographs, by that name."""
    rows = json.loads((HERE / "photographs.json").read_text())
    scenes = [photographs.opened(r, photos).convert("RGB") for r in rows["photographs"][:40]]
    px, names = [], []
    for row in rows["cut_out"]:
        text = (photos / row).with_suffix(".txt")
        if not text.exists():
            continue
        said = text.read_text(errors="replace").splitlines()[0].lower().split("(")[0].strip(" .!")
        said = said.split(" ", 1)[1] if said.split(" ", 1)[0] in ("a", "an", "the") and " " in said else said
        parts = said.split()
        name = next((n for k in range(len(parts)) if words.known(n := " ".join(parts[k:]))), None)
        if name is None:
            continue
        for _ in range(2):
            px.append(ref.pixels(photographs.placed(photographs.opened(row, photos), rng, scenes)))
            names.append(name)
    return ref.images(px), names


def logits_of(x, names, pool, vectors, n, rng, kin, scale, with_own=True):
    """(pictures, n) logits, the picture's own label first or left out."""
    out = []
    for e, name in zip(x, names):
        others = [p for p in rng.sample(pool, min(len(pool), n + 30)) if p not in kin(name)]
        labels = ([name] if with_own else []) + others[: n - with_own]
        out.append(scale * torch.stack([vectors[q] for q in labels]) @ e)
    return torch.stack(out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--photos", type=Path, required=True)
    p.add_argument("--npm", type=Path, required=True)
    p.add_argument("--model", type=Path, default=EMBEDDED)
    a = p.parse_args()
    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None
    rng = random.Random(77)
    ref = Reference(a.model, fast=True)
    words = meaning.Meaning(meaning.Glove(a.npm))
    sets = {"drawn": drawings(ref, a.art, rng), "kinds": kinds_of_image(ref, a.art), "seen": named_photographs(ref, a.photos, words, rng)}
    defaults = [s for g in ref.manifest["default_labels"].values() for s in g if s not in ref.manifest["cannot_know"]["labels"]]
    pool = sorted({n for _, names in sets.values() for n in names} | set(defaults))
    vectors = dict(zip(pool, ref.labels(pool)))
    shares = {n: words.shares_of(n) or {} for n in pool}

    def kin(name):
        """Labels that may be just as true: the same words, or classes in common."""
        mine, parts = shares[name], set(name.split())
        return {q for q in pool if q == name or parts & set(q.split()) or mine.keys() & shares[q].keys()} | {"real life photo", "cartoon"}

    def units(x, world):
        """What a floor is for: the share of a drawing, the length of a photograph's half."""
        return x[:, RAW - 2] / ref.photo["world_share"] if world == "drawn" else x[:, DRAWN:RAW - 2].norm(dim=1)

    scale = ref.scale()
    best = {}
    for n in SIZES:
        z, truth = [], []
        for x, names in sets.values():
            part = logits_of(x, names, pool, vectors, n, rng, kin, scale)
            # Each world and the kinds weigh alike.
            z.append(part[torch.randint(len(part), (600,), generator=torch.Generator().manual_seed(n))])
        z = torch.cat(z)
        loss = {t: F.cross_entropy(z / t, torch.zeros(len(z), dtype=torch.long)).item() for t in np.arange(.4, 4, .05)}
        best[n] = min(loss, key=loss.get)
        print(json.dumps({"labels": n, "temperature": round(float(best[n]), 2), "nll": round(loss[best[n]], 4), "top1": round((z.argmax(1) == 0).float().mean().item(), 4)}))
    slope, base = np.polyfit([math.log(n) for n in SIZES], [best[n] for n in SIZES], 1)
    floors = {}
    for world, parts in {"drawn": ("drawn", "kinds"), "seen": ("seen",)}.items():
        unit = torch.cat([units(sets[s][0], world) for s in parts])
        right, wrong = (torch.cat([logits_of(*sets[s], pool, vectors, 20, rng, kin, scale, with_own) for s in parts]) for with_own in (True, False))
        # A picture that is taken for another thing has no right answer to lose.
        right = (right.max(1).values / unit)[right.argmax(1) == 0]
        wrong = wrong.max(1).values / unit
        floors[world] = right.quantile(MISSED).item()
        print(json.dumps({"world": world, "floor": round(floors[world], 2), "told apart of 20 others": round((wrong < floors[world]).float().mean().item(), 3)}))
    f = a.model / "omnizap-mini.json"
    manifest = json.loads(f.read_text())
    manifest["confidence"] = {"temperature": {"base": round(float(base), 3), "per_ln_label": round(float(slope), 3)},
                              "no_match": {"worlds": {k: round(v, 2) for k, v in floors.items()}}}
    f.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(manifest["confidence"]))


if __name__ == "__main__":
    main()
