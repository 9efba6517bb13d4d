"""Fits the text tower of omnizap-mini to the pictures that its trained image tower has embedded.

    python train_text.py --art DIR --run DIR --minutes 8 [--threads 2]

The image tower stays as it is (LiT, Zhai et al. 2022, arXiv:2111.07991), so its embeddings are made
once and kept in `embeddings.pt`. Each true pair of picture and caption competes with the false ones of
its batch, both ways; a caption may be true of many pictures and a picture of many captions. The
default labels take part in every batch, so that a word for many drawings ("cat") holds its own
beside the names of kinds of image. Reads `last.pt` of the run and writes `text.pt` beside it.
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import captions
import dwconv
from model import HERE, MiniClip, load_config
from train import KIND_SLOTS, Batches, Trainee

VOCAB_ROWS = 8000
DEFAULTS_PER_STEP = 48  # of the default labels
EXTRA_PICTURES = 64  # of each batch: any, beside those that its captions are about
SAME_GROUP = .3  # of the captions are about a neighbour of the one before: cat and tiger, not cat and bus


def tokens(vocab, texts, rng):
    rows = [vocab.encode(t) for t in texts]
    n = max(map(len, rows))
    out = torch.zeros(len(rows), n, dtype=torch.long)
    for i, r in enumerate(rows):
        out[i, : len(r)] = torch.tensor(r)
        for j in range(1, len(r) - 1):  # teaches row 1 what "some word" is worth
            if rng.random() < .02:
                out[i, j] = 1
    return out, torch.tensor([len(r) - 1 for r in rows])


def embed(run, art, cap, cfg, seconds, size):
    """Embeddings of fresh renders with their classes; made once."""
    kept = run / "embeddings.pt"
    d = torch.load(run / "last.pt", weights_only=False)
    if kept.exists():
        e = torch.load(kept, weights_only=False)
        if e["seen"] == d["seen"]:
            return e
    net = Trainee(cfg, cap.E + KIND_SLOTS)
    net.load_state_dict(d["ema"])
    net.to(memory_format=torch.channels_last)
    dwconv.install(net)
    net.eval()
    data, out, start = Batches(art, cap, 90_001, size, .35), [], time.time()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        while time.time() - start < seconds:
            x, first, second, _ = data.next(256, .6)
            y = net.visual(x.contiguous(memory_format=torch.channels_last))
            out.append((F.normalize(y.float(), dim=-1), first, second))
    x, first, second = (torch.cat(v) for v in zip(*out))
    proto = F.normalize(net.proto.detach()[: cap.E + cap.K].float(), dim=-1)
    print(json.dumps({"embedded": len(x), "seconds": round(time.time() - start),
                      "by_prototype": round((x @ proto.T).argmax(1).eq(first).float().mean().item(), 4)}), flush=True)
    e = {"x": x, "first": first, "second": second, "seen": d["seen"]}
    torch.save(e, kept)
    return e


def competition(logits, true, ignored):
    """Mean over the true pairs of a row of -log p, each against the false pairs of that row only."""
    false = logits.masked_fill(true | ignored, float("-inf")).logsumexp(1, keepdim=True)
    loss = F.softplus(false - logits)
    n = true.sum(1)
    return ((loss * true).sum(1) / n.clamp(min=1))[n > 0].mean()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--kinds", type=Path, default=HERE / "kinds.json")
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--embed-seconds", type=float, default=120)
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--batch", type=int, default=192)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--lr", type=float, default=1.5e-3)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    rng = random.Random(1)
    cfg = load_config()
    cap = captions.load(a.art, json.loads(a.kinds.read_text()))
    e = embed(a.run, a.art, cap, cfg, a.embed_seconds, a.size)
    net = MiniClip(cfg, VOCAB_ROWS)
    del net.visual
    vocab = captions.Vocabulary(VOCAB_ROWS)
    with torch.no_grad():
        net.text.token_embedding.weight.normal_(std=.05)
        net.logit_scale.fill_(math.log(20))
    manifest = json.loads((HERE / "manifest.json").read_text())
    # A style that every drawing has, or none: nothing to learn here.
    defaults = [s for g in manifest["default_labels"].values() for s in g if s != "cartoon"]
    for names in cap.names + cap.words:
        for s, _ in names:
            vocab.encode(s)
    for t in captions.EN + captions.PT + ["this is an image of a picture", *defaults]:
        vocab.encode(t.format(""))

    classes = cap.E + cap.K
    of_class = [[] for _ in range(classes)]
    for i, c in enumerate(e["first"].tolist()):
        of_class[c].append(i)
    live = [c for c in range(classes) if of_class[c]]
    mean = torch.zeros(classes, cfg["embed_dim"]).index_add_(0, e["first"], e["x"])
    mean = F.normalize(mean, dim=-1)
    empty = torch.tensor([not rows for rows in of_class])
    meant = {}  # string -> the share of each class in what it means

    def meaning(s):
        if s not in meant:
            row = torch.zeros(classes)
            for c, w in cap.of.get(s, {}).items():
                row[c] = w if of_class[c] else 0
            meant[s] = row / row.sum().clamp(min=1e-6)
        return meant[s]

    def picture_of(s):
        """A picture that a string is true of, which need not be of the class it was drawn for."""
        owners = [o for o in cap.of.get(s, {}) if of_class[o]]
        if not owners:
            return []
        return [rng.choice(of_class[rng.choices(owners, [cap.of[s][o] for o in owners])[0]])]

    group, weight = {}, []
    for c in live:
        kind = c >= cap.E
        few = not kind and (cap.emoji[c]["group"] == "flags" or cap.emoji[c]["subgroup"].startswith("person"))
        weight.append(6. if kind else .35 if few else 1.)
        group.setdefault("kinds" if kind else cap.emoji[c]["subgroup"], []).append(c)
    params = list(net.parameters())
    opt = torch.optim.AdamW([{"params": [q for q in params if q.ndim > 1], "weight_decay": .01},
                             {"params": [q for q in params if q.ndim <= 1], "weight_decay": 0.}], lr=a.lr, betas=(.9, .98), fused=True)
    net.train()
    step, said, since, spent, tick = 0, 0, torch.zeros(3), 0.0, time.time()
    log = open(a.run / "log-text.jsonl", "a")

    def save():
        torch.save({"state": net.state_dict(), "vocab": vocab.rows, "captions": said}, a.run / "text.pt")

    while spent < a.minutes * 60:
        f = spent / (a.minutes * 60)
        for gr in opt.param_groups:
            gr["lr"] = a.lr * min(1, (step + 1) / 100) * (.5 + .5 * math.cos(math.pi * f)) + 1e-6
        texts, strings, picked, c = [], [], [], None
        for d in rng.choices(live, weight, k=a.batch):
            near = c is not None and rng.random() < SAME_GROUP
            c = rng.choice(group["kinds" if c >= cap.E else cap.emoji[c]["subgroup"]]) if near else d
            if rng.random() < .4:  # its first name, as labels are given
                s = cap.names[c][0][0]
                t = rng.choice(captions.EN).format(s)
            else:
                s, t = cap.sample(c, rng)
            strings.append(s)
            texts.append(t)
            picked += picture_of(s)
        for s in rng.sample(defaults, DEFAULTS_PER_STEP):
            strings.append(s)
            texts.append(rng.choice(manifest["templates"]).format(s))
            picked += picture_of(s)
        picked += [rng.choice(of_class[rng.choices(live, weight)[0]]) for _ in range(EXTRA_PICTURES)]
        x, first, second = e["x"][picked], e["first"][picked], e["second"][picked]
        shares = torch.stack([meaning(s) for s in strings])  # (texts, classes)
        true = shares[:, first].T > 0  # (pictures, texts)
        # The object in a picture of some kind: neither right nor wrong.
        maybe = (shares[:, second].T > 0) & ~true
        tok, eot = tokens(vocab, texts, rng)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            t = net.encode_text(tok, eot)
        scale = net.logit_scale.exp().clamp(max=60)
        logits = scale * x @ t.T
        picture, text = competition(logits, true, maybe), competition(logits.T, true.T, maybe.T)
        # The direction itself, which pulls a caption to where nothing has been drawn yet.
        known = shares.sum(1) > 0
        want = F.normalize(shares[known] @ mean, dim=-1)
        # A batch holds a tenth of the classes; the mean pictures of all of them compete as well.
        among_all = -(shares[known] * F.log_softmax((scale * t[known] @ mean.T).masked_fill(empty, -1e4), dim=1)).sum(1).mean()
        loss = picture + .5 * text + .5 * among_all + (1 - (t[known] * want).sum(-1)).mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 2.0)
        opt.step()
        step += 1
        said += len(texts)
        hit = true.gather(1, logits.masked_fill(maybe, float("-inf")).argmax(1, keepdim=True)).float().mean()
        since += torch.tensor([picture.item(), text.item(), hit.item()])
        now = time.time()
        spent += min(now - tick, 10)
        tick = now
        if step % 50 == 0:
            v = (since / 50).tolist()
            row = {"text_step": step, "captions": said, "loss_pictures": round(v[0], 4), "loss_texts": round(v[1], 4),
                   "acc": round(v[2], 4), "scale": round(scale.item(), 2), "minutes": round(spent / 60, 1)}
            print(json.dumps(row), file=log, flush=True)
            since.zero_()
        if step % 250 == 0:
            save()
    save()


if __name__ == "__main__":
    main()
