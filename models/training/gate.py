"""Fits the gate between the worlds, and the details of photographs, to the features of `photographs.py`.

    python gate.py --features FILE --out FILE

The gate is a logistic regression on the photograph encoder's 1280 features; a third of the sources (a wallpaper with
all its cuts, a kind of image, ...) is held out for the numbers printed, then all are used. The details are the first
principal components of photographs' features, evened out.
"""
import argparse
import collections
import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F

DETAILS = 96
STRENGTH = 2e-3  # of the penalty on the gate's weights
SHARPNESS = 2.0  # the penalty makes the gate timid, and what leaks of one world is noise in the other
EVENED = .5  # a component is divided by this power of its variance


def fit(x, y, weight, steps=400):
    """Logistic regression by L-BFGS on standardised features: weight (1280,) and bias on raw ones."""
    mean, std = x.mean(0), x.std(0) + .05
    x = (x - mean) / std
    w, b = torch.zeros(x.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
    opt = torch.optim.LBFGS([w, b], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = (weight * F.binary_cross_entropy_with_logits(x @ w + b, y, reduction="none")).sum() + STRENGTH * w.square().sum()
        loss.backward()
        return loss

    opt.step(closure)
    w, b = w.detach(), b.detach()
    return w / std, b - (mean / std * w).sum()


def even(y, group):
    """Each world weighs half, each source in it alike by the root of its number."""
    n = collections.Counter(group)
    w = torch.tensor([n[g] ** -.5 for g in group])
    for side in (0, 1):
        w[y == side] /= 2 * w[y == side].sum()
    return w


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--features", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    d = torch.load(a.features)
    x, y, group = d["x"], d["photo"].float(), d["group"]
    groups = sorted(set(group))
    held = set(random.Random(3).sample(groups, len(groups) // 3))
    test = torch.tensor([g in held or g == "drawings" and i % 2 == 0 for i, g in enumerate(group)])
    w, b = fit(x[~test], y[~test], even(y[~test], [g for g, t in zip(group, test) if not t]))
    z = x[test] @ w + b
    wrong = (z > 0).float() != y[test]
    where = collections.Counter(g for g, q in zip([g for g, t in zip(group, test) if t], wrong) if q)
    print(json.dumps({"held out": int(test.sum()), "photographs": int(y[test].sum()), "wrong photographs": int((wrong & (y[test] == 1)).sum()),
                      "wrong others": int((wrong & (y[test] == 0)).sum()), "mostly": where.most_common(6)}))
    w, b = fit(x, y, even(y, group))
    photos = x[y == 1]
    mean = photos.mean(0)
    _, s, v = torch.linalg.svd(photos - mean, full_matrices=False)
    components = v[:DETAILS] / (s[:DETAILS, None] / len(photos) ** .5) ** (2 * EVENED)
    torch.save({"gate": SHARPNESS * w, "gate_bias": SHARPNESS * b, "details": components, "details_bias": -components @ mean}, a.out)


if __name__ == "__main__":
    main()
