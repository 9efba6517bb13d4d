"""Measures the exported model: held-out artwork, unseen renders, kinds of image, retrieval, photographs.

    python evaluate.py --art DIR --npm NODE_MODULES [--photos DIR] [--model ../embedded] [--json metrics.json]

Renders are made at 256 px on random backgrounds and go through the model's own preprocessing, as a
user's picture would. Needs `artwork.py --styles evaluation --size 256` and `kinds.py --set
evaluation --per-kind 20` first, beside what training needs. Photographs are a folder of
SYNSET_name.jpg, one of an ImageNet class each; none of them has been trained or fitted on.
"""
import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import captions
import compose
import meaning
from model import EMBEDDED
from reference import Reference
from text import DRAWN, RAW

SIDE = 256


def pick_classes(emoji, sets, n=100, seed=2026):
    """The classes under test, drawn by a fixed seed among the emoji that the held-out style and at
    least three training styles draw. Left out: flags, letters and digits in boxes, clock faces, and
    people told apart only by sex, hair or number."""
    skip = {"country-flag", "subdivision-flag", "flag", "alphanum", "keycap", "time", "family", "person",
            "person-role", "person-activity", "person-gesture", "person-sport", "person-fantasy", "person-resting",
            "geometric", "arrow", "skin-tone", "hair-style", "person-symbol"}
    ok = [i for i, e in enumerate(emoji) if e["subgroup"] not in skip and all(e["code"] in s for s in sets)]
    return sorted(random.Random(seed).sample(ok, n)), ok


def renders(art, name, picks, per, seed):
    """`per` renders of every pick, plainly: random background, scale .55 to .95, small turn."""
    sp = compose.Sprites(art, name)
    g = torch.Generator().manual_seed(seed)
    idx = np.repeat(np.asarray(picks), per)
    out = []
    for i in range(0, len(idx), 64):
        x = sp.compose(g, idx[i:i + 64], SIDE, plain=True, gentle=True)
        out.append((x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def embed(ref, arrays):
    return ref.images([ref.pixels(Image.fromarray(a)) for a in arrays])


def scores(img, txt, truth, scale, temperature=1.0):
    logits = scale * img @ txt.T / temperature
    top = logits.topk(min(5, logits.shape[1]), 1).indices
    truth = torch.as_tensor(truth)
    p, hit = logits.softmax(1).max(1).values, (top[:, 0] == truth).float()
    ece = 0.0
    for b in range(15):
        m = (p > b / 15) & (p <= (b + 1) / 15)
        if m.any():
            ece += float(m.float().mean() * (p[m].mean() - hit[m].mean()).abs())
    return {"top1": round(float(hit.mean()), 4), "top5": round(float((top == truth[:, None]).any(1).float().mean()), 4),
            "ece": round(ece, 4), "classes": len(txt), "pictures": len(truth)}, top[:, 0]


class Confidence:
    """Temperature and floors of the manifest."""

    def __init__(self, ref):
        c = ref.manifest.get("confidence", {"temperature": {"base": 1, "per_ln_label": 0}, "no_match": {"worlds": {"drawn": 0, "seen": 0}}})
        self.t, self.floors, self.ref = c["temperature"], c["no_match"]["worlds"], ref

    def temperature(self, n):
        return max(.01, self.t["base"] + self.t["per_ln_label"] * math.log(n))

    def floor(self, x):
        """(n,) the logit that one label must reach."""
        return self.floors["drawn"] * x[:, RAW - 2] / self.ref.photo["world_share"] + self.floors["seen"] * x[:, DRAWN:RAW - 2].norm(dim=1)


def photographs(ref, folder, npm, stickers, held_out):
    """What photographs are called, by the default labels and by names of classes."""
    words = meaning.Meaning(meaning.Glove(npm))
    confidence, scale = Confidence(ref), ref.scale()
    files = sorted(folder.glob("n*_*.jpg"))
    x = ref.images([ref.pixels(Image.open(f)) for f in files])
    offset = {o: c for c, o in enumerate(words.offsets)}
    truth = [offset[int(f.name[1:9])] for f in files]
    name = [f.stem.split("_", 1)[1].replace("_", " ") for f in files]
    labels = [s for g in ref.manifest["default_labels"].values() for s in g]
    vectors = ref.labels(labels)
    shares = [words.shares_of(s) or {} for s in labels]
    # The label that says most of the picture: of those that mean its class the one that means the fewest others.
    own = []
    for t in truth:
        fits = [i for i, s in enumerate(shares) if s.get(t, 0) > .25 * max(s.values(), default=1)]
        own.append(fits)
    have = [i for i, f in enumerate(own) if f]
    logits = scale * x[have] @ vectors.T
    p = (logits / confidence.temperature(len(labels))).softmax(1)
    top = p.topk(5).indices
    hit = torch.tensor([[int(t) in own[i] for t in row] for i, row in zip(have, top)])
    c, right = p.max(1).values, hit[:, 0].float()
    ece = sum(float((m.float().mean() * (c[m].mean() - right[m].mean()).abs())) for b in range(15) if (m := (c > b / 15) & (c <= (b + 1) / 15)).any())
    out = {"default_labels": {"labels": len(labels), "pictures": len(have), "top1": round(float(right.mean()), 4), "top5": round(float(hit.any(1).float().mean()), 4), "ece": round(ece, 4),
                              "confidence": round(float(c.mean()), 4),
                              "wrong": [f"{name[i]}: {labels[int(t[0])]} {float(q):.2f}" for i, t, q, h in zip(have, top, c, hit[:, 0]) if not h]}}
    rng = random.Random(4)
    hits = []
    for _ in range(10):
        some = rng.sample(range(len(files)), 100)
        v = ref.labels([name[i] for i in some])
        hits.append(float((x[some] @ v.T).argmax(1).eq(torch.arange(100)).float().mean()))
    out["hundred_class_names"] = {"top1": round(sum(hits) / 10, 4), "lowest of 10 draws": min(hits)}
    styles = ["real life photo", *[s for s in ref.manifest["default_labels"]["styles"]]]
    v = ref.labels(styles)
    out["real life photo wins"] = {"photographs": round(float((x @ v.T).argmax(1).eq(0).float().mean()), 4),
                                   "stickers": round(float((stickers @ v.T).argmax(1).eq(0).float().mean()), 4)}
    # Twenty labels, with and without the picture's own.
    told = {True: [], False: []}
    for i in have:
        others = [j for j in range(len(labels)) if j not in own[i] and shares[j]]
        for with_own in told:
            some = rng.sample(others, 20 - with_own) + ([own[i][0]] if with_own else [])
            told[with_own].append(bool((scale * vectors[some] @ x[i]).max() < confidence.floor(x[i:i + 1])))
    out["no_match_of_20"] = {"own label there": round(sum(told[True]) / len(have), 4), "not there": round(sum(told[False]) / len(have), 4)}
    # Words of no caption, each against 20 that have photographs.
    held = {}
    for w in held_out:
        mine = words.shares_of(w) or {}
        px = [i for i, t in enumerate(truth) if mine.get(t, 0) > .2 * max(mine.values(), default=1)]
        if not px:
            continue
        right = 0
        for i in px:
            others = rng.sample([j for j in range(len(labels)) if shares[j] and not shares[j].keys() & mine.keys()], 20)
            z = torch.cat([ref.labels([w]) @ x[i], vectors[others] @ x[i]])
            right += bool(z.argmax() == 0)
        held[w] = f"{right} of {len(px)}"
    out["held_out_words"] = held
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--model", type=Path, default=EMBEDDED)
    p.add_argument("--json", type=Path)
    p.add_argument("--per", type=int, default=5)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--npm", type=Path)
    p.add_argument("--photos", type=Path, help="measured only")
    a = p.parse_args()
    torch.set_num_threads(1)
    ref = Reference(a.model, fast=True)
    kinds = json.loads(Path(__file__).with_name("kinds.json").read_text())
    cap = captions.load(a.art, kinds)
    emoji, scale = cap.emoji, ref.scale()
    tw = {r["code"]: i for i, r in enumerate(json.loads((a.art / "sprites-evaluation.json").read_text()))}
    tr = {}
    for i, r in enumerate(json.loads((a.art / "sprites-training.json").read_text())):
        tr.setdefault(r["style"], {})[r["code"]] = i
    sets = [tw, tr["noto"], tr["fluent-emoji-flat"], tr["emojione"]]
    classes, all_ok = pick_classes(emoji, sets)
    names = [emoji[c]["name"] for c in classes]
    code = [emoji[c]["code"] for c in classes]
    txt = ref.labels(names)
    pt = ref.labels([(emoji[c]["pt"] or [emoji[c]["name"]])[0] for c in classes])
    out = {"image_size": ref.cfg["vision_cfg"]["image_size"], "logit_scale_exp": round(scale, 2), "classes": names}

    # 1. Held-out artwork.
    x = embed(ref, renders(a.art, "evaluation", [tw[c] for c in code], a.per, 11))
    truth = np.repeat(np.arange(len(code)), a.per)
    out["twemoji_100"], best = scores(x, txt, truth, scale, Confidence(ref).temperature(len(txt)))
    out["twemoji_100_portuguese"], _ = scores(x, pt, truth, scale)
    wrong = {}
    for t, b in zip(truth, best.tolist()):
        if t != b:
            wrong[(names[t], names[b])] = wrong.get((names[t], names[b]), 0) + 1
    out["twemoji_worst_pairs"] = [f"{t} -> {b}: {n}" for (t, b), n in sorted(wrong.items(), key=lambda kv: -kv[1])[:15]]
    # The same over every class with its own drawing.
    if not a.quick:
        xa = embed(ref, renders(a.art, "evaluation", [tw[emoji[c]["code"]] for c in all_ok], 1, 12))
        ta = ref.labels([emoji[c]["name"] for c in all_ok])
        out["twemoji_all"], _ = scores(xa, ta, np.arange(len(all_ok)), scale)

    # 2. Unseen renders of training styles.
    per_style, xs = {}, {}
    for style, have in tr.items():
        sel = [k for k, c in enumerate(code) if c in have]
        xs[style] = (sel, embed(ref, renders(a.art, "training", [have[code[k]] for k in sel], 2, 13)))
        per_style[style], _ = scores(xs[style][1], txt, np.repeat(sel, 2), scale)
    n = sum(v["pictures"] for v in per_style.values())
    out["training_styles_100"] = {"top1": round(sum(v["top1"] * v["pictures"] for v in per_style.values()) / n, 4),
                                  "top5": round(sum(v["top5"] * v["pictures"] for v in per_style.values()) / n, 4),
                                  "pictures": n, "by_style": {s: v["top1"] for s, v in per_style.items()}}

    # 3. Kinds of image, held-out generators and fonts.
    files, truth = [], []
    for k, kind in enumerate(kinds):
        fs = sorted((a.art / "kinds-evaluation" / kind["id"]).glob("*.png"))
        files += fs
        truth += [k] * len(fs)
    kx, kt = ref.images([ref.pixels(Image.open(f)) for f in files]), ref.labels([k["en"][0] for k in kinds])
    out["kinds"], best = scores(kx, kt, truth, scale)
    tt = np.asarray(truth)
    out["kinds_by_class"] = {k["en"][0]: round(float((best.numpy()[tt == i] == i).mean()), 2) for i, k in enumerate(kinds)}
    wrong = {}
    for t, b in zip(truth, best.tolist()):
        if t != b:
            key = (kinds[t]["en"][0], kinds[b]["en"][0])
            wrong[key] = wrong.get(key, 0) + 1
    out["kinds_worst_pairs"] = [f"{t} -> {b}: {n}" for (t, b), n in sorted(wrong.items(), key=lambda kv: -kv[1])[:12]]

    # 4. Retrieval: the same object in another style against another object in the same style.
    rng = random.Random(5)
    styles = {s: {k: v[1][2 * j] for j, k in enumerate(v[0])} for s, v in xs.items()}
    styles["twemoji"] = {k: x[k * a.per] for k in range(len(code))}
    colour = [s for s in styles if s not in ("fluent-emoji-high-contrast", "emojione-monotone", "streamline-emojis")]

    def triples(pool, need=None, n=5000):
        good = tot = 0
        while tot < n:
            s, t = rng.sample(pool, 2)
            if need and need not in (s, t):
                continue
            both = [k for k in styles[s] if k in styles[t]]
            k = rng.choice(both)
            o = rng.choice([q for q in styles[s] if q != k])
            good += float(styles[s][k] @ styles[t][k]) > float(styles[s][k] @ styles[s][o])
            tot += 1
        return round(good / tot, 4)

    out["retrieval_triples"] = {"all_styles": triples(list(styles)), "colour_styles": triples(colour),
                                "with_twemoji": triples(colour, "twemoji")}
    if a.photos:
        held_out = json.loads(Path(__file__).with_name("manifest.json").read_text())["held_out_words"]
        out["photographs"] = photographs(ref, a.photos, a.npm, x, held_out)
    text = json.dumps(out, indent=1, ensure_ascii=False)
    if a.json:
        a.json.write_text(text + "\n")
    print(json.dumps({k: v for k, v in out.items() if k != "classes"}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
