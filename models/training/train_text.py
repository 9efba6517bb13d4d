"""Fits the text tower of omnizap-mini to both worlds: drawings and photographs.

    python train_text.py --art DIR --run DIR --npm NODE_MODULES --minutes 18 [--threads 1]

Drawings and kinds of image: the image tower stays as it is (LiT, Zhai et al. 2022, arXiv:2111.07991), so fresh renders
are embedded once and kept in `embeddings.pt`. Each true pair of picture and caption competes with the false ones of
its batch, both ways; a caption may be true of many pictures and a picture of many captions. The default labels take
part in every batch, so that a word for many drawings ("cat") holds its own beside the names of kinds of image.

Photographs: no picture is needed. A noun's half is fitted to the vector that its classes give (`space.targets`).

Writes `text.pt`.
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import captions
import compose
import dwconv
import encoder
import meaning
import space
import words
from model import EMBEDDED, HERE, autocast, load_config, trained
from reference import Drawn
from text import DRAWN, DRAWN_LENGTH, SCALE, SEEN, SEEN_LENGTH, Text
from train import Batches

VOCAB_ROWS = 26_000
EXTRA_PICTURES = 64  # of each batch: any, beside those that its captions are about
SAME_GROUP = .3  # of the captions are about a neighbour of the one before: cat and tiger, not cat and bus
WORLD = {"photo": .47, "unknown": -.27, "drawing": .9}
SHARPNESS = 12.0  # of the competition of classes for a noun
RELATIVE = .5  # how well a drawing is known by a related word


def tokens(vocab, texts):
    rows = [vocab.encode(t) for t in texts]
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, r in enumerate(rows):
        out[i, : len(r)] = torch.tensor(r)
    return out, torch.tensor([len(r) - 1 for r in rows])


def as_stickers(art, cap, net):
    """Embeddings of every sprite as the service sees a sticker: whole, upright, on the grey that it puts behind what is
    transparent. With their classes, twice."""
    sprites = compose.Sprites(art)
    code = {e["code"]: c for c, e in enumerate(cap.emoji)}
    rows = [(i, code[r["code"]]) for i, r in enumerate(sprites.rows) if r["code"] in code]
    out = []
    for b in range(0, len(rows), 256):
        px = torch.from_numpy(np.stack([np.array(sprites.levels[0][i]) for i, _ in rows[b:b + 256]])).permute(0, 3, 1, 2).float() / 255
        px = F.interpolate(px, size=(64, 64), mode="bicubic", antialias=True, align_corners=False)
        x = (px[:, :3] + (1 - px[:, 3:]) * (128 / 255)).clamp(0, 1)
        out.append(F.normalize(net(x.contiguous(memory_format=torch.channels_last)).float(), dim=-1))
    classes = torch.tensor([c for _, c in rows])
    return torch.cat(out), classes, classes


def embed(run, art, cap, size, seconds, drawn, cfg):
    """Embeddings of fresh renders with their classes; made once."""
    kept = run / "embeddings.pt"
    if kept.exists():
        return torch.load(kept, weights_only=False)
    net = Drawn(drawn, cfg["vision_cfg"]["drawn"]).net
    net.to(memory_format=torch.channels_last)
    dwconv.install(net)
    data, out, start = Batches(art, cap, 90_001, size, .35), [], time.time()
    with torch.no_grad(), autocast():
        while time.time() - start < seconds:
            x, first, second, _ = data.next(256, .6)
            y = net(x.contiguous(memory_format=torch.channels_last))
            out.append((F.normalize(y.float(), dim=-1), first, second))
        stickers = as_stickers(art, cap, net)
    # Twice: there are far fewer of them than of the others.
    x, first, second = (torch.cat(v) for v in zip(*out, stickers, stickers))
    print(json.dumps({"embedded": len(x), "seconds": round(time.time() - start)}), flush=True)
    e = {"x": x, "first": first, "second": second}
    torch.save(e, kept)
    return e


def competition(logits, true, ignored):
    """Mean over the true pairs of a row of -log p, each against the false pairs of that row only."""
    false = logits.masked_fill(true | ignored, float("-inf")).logsumexp(1, keepdim=True)
    loss = F.softplus(false - logits)
    n = true.sum(1)
    return ((loss * true).sum(1) / n.clamp(min=1))[n > 0].mean()


class Seen:
    """What photographs say of a string: the target of its half, and whether they say anything."""

    def __init__(self, mean, rows, nouns):
        self.mean, self.rows = mean, rows
        self.table = {}
        wanted, strings = [], []
        for s in nouns:
            shares, known = mean.shares_of(s), 1.0
            if shares is None:
                shares, known = mean.relatives_of(s)
            if not shares:
                continue
            y, most = torch.zeros(1000), max(shares.values())
            for c, v in shares.items():
                y[c] = known * v / most
            strings.append(s)
            wanted.append(y)
        for s, t in zip(strings, space.targets(rows, torch.stack(wanted))):
            self.table[s] = SEEN_LENGTH * t

    def of(self, s):
        return self.table.get(s)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--npm", type=Path, required=True)
    p.add_argument("--drawn", type=Path, default=EMBEDDED, help="where the tower for drawings is: see export.py")
    p.add_argument("--kinds", type=Path, default=HERE / "kinds.json")
    p.add_argument("--minutes", type=float, default=18)
    p.add_argument("--embed-seconds", type=float, default=460)
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--batch", type=int, default=144)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--nouns", type=int, default=96, help="for photographs, of each batch")
    p.add_argument("--names", type=float, default=.45, help="of those are names of the encoder's classes")
    p.add_argument("--defaults", type=int, default=40, help="of the default labels, of each batch")
    p.add_argument("--kinds-weight", type=float, default=6, help="how often a kind of image is drawn, against an emoji")
    p.add_argument("--resume", action="store_true", help="go on from text.pt")
    a = p.parse_args()
    a.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    rng = random.Random(1)
    cfg = load_config()
    cap = captions.load(a.art, json.loads(a.kinds.read_text()))
    manifest = json.loads((HERE / "manifest.json").read_text())
    held_out = set(manifest["held_out_words"])
    e = embed(a.run, a.art, cap, a.size, a.embed_seconds, trained(a.drawn)[0], cfg)

    glove = meaning.Glove(a.npm)
    mean_of = meaning.Meaning(glove)
    photo = encoder.load()
    rows = space.class_embeddings(photo._fc.weight.detach(), mean_of.below)
    groups = manifest["default_labels"]
    styles = manifest["worlds"]  # label -> what it says of the worlds as such
    defaults = [s for g in groups.values() for s in g]
    names = sorted({w.lower() for o in mean_of.offsets for w in mean_of.wn.words[o]} - held_out)
    everyday = sorted(set(mean_of.everyday) - held_out)
    nouns = [n for n in mean_of.nouns(40_000) if n not in held_out]
    own = [n for n in nouns if mean_of.known(n)]
    strings = sorted(({s for s in cap.of} | set(defaults) | set(names) | set(everyday) | set(nouns)) - held_out)
    kept = a.run / "seen.pt"
    if kept.exists():
        seen = torch.load(kept, weights_only=False)
    else:
        seen = Seen(mean_of, rows, strings).table
        torch.save(seen, kept)
    related = [n for n in nouns if n in seen and n not in set(own)]
    print(json.dumps({"strings": len(strings), "seen": len(seen), "own": len(own), "related": len(related), "classes": len(names)}), flush=True)

    vocab = captions.Vocabulary(VOCAB_ROWS)
    start, whole_words = words.table(glove, vocab.tok)
    for s in [*defaults, *everyday, *names, *own]:
        vocab.encode(s)
    for s in (s for t in cap.names + cap.words for s, _ in t):
        vocab.encode(s)
    for t in captions.EN + captions.PT + captions.SEEN_EN + ["this is an image of a picture"]:
        vocab.encode(t.format(""))
    used = len(vocab.rows) + 2
    for s in related:
        vocab.encode(s)
    first_rows = torch.zeros(VOCAB_ROWS, words.DIM)
    for token, row in vocab.rows.items():
        first_rows[row] = start[token]
    net = Text(cfg["text_cfg"], VOCAB_ROWS)
    with torch.no_grad():
        net.token_embedding.weight.copy_(first_rows)
    if a.resume:
        d = torch.load(a.run / "text.pt", weights_only=False)
        vocab.rows = d["vocab"]
        for token, row in vocab.rows.items():
            first_rows[row] = start[token]
        net.load_state_dict(d["state"])
    print(json.dumps({"rows": len(vocab.rows), "of captions": used, "whole words": len(whole_words)}), flush=True)

    classes = cap.E + cap.K
    of_class = [[] for _ in range(classes)]
    for i, c in enumerate(e["first"].tolist()):
        of_class[c].append(i)
    live = [c for c in range(classes) if of_class[c]]
    mean = torch.zeros(classes, DRAWN).index_add_(0, e["first"], e["x"])
    mean = F.normalize(mean, dim=-1)
    empty = torch.tensor([not r for r in of_class])
    # What drawings of objects have in common, and kinds of image have not.
    objects = F.normalize(F.normalize(mean[: cap.E][~empty[: cap.E]].mean(0), dim=0) - F.normalize(mean[cap.E:][~empty[cap.E:]].mean(0), dim=0), dim=0)
    meant = {}

    def meaning_of(s):
        """The share of each class of drawings in what a string means."""
        if s not in meant:
            row = torch.zeros(classes)
            for c, w in cap.of.get(s, {}).items():
                row[c] = w if of_class[c] else 0
            meant[s] = row / row.sum().clamp(min=1e-6)
        return meant[s]

    # Words that have drawings, for those that have none.
    drawn_words = [s for s in cap.of if glove.of(s) is not None and meaning_of(s).max() > .3]
    drawn_vectors = np.stack([glove.of(s) for s in drawn_words])
    near = {}

    def relative(s):
        """The half for drawings of a word that has none: its nearest relatives', shorter."""
        if s not in near:
            near[s] = None
            v = glove.of(s)
            if v is not None:
                d = drawn_vectors @ v
                best = np.argsort(-d)[:4]
                best = best[d[best] > .55]
                if len(best):
                    w = torch.tensor(np.exp(8 * d[best]), dtype=torch.float32)
                    t = sum(x * F.normalize(meaning_of(drawn_words[b]) @ mean, dim=0) for x, b in zip(w / w.sum(), best))
                    near[s] = DRAWN_LENGTH * RELATIVE * F.normalize(t, dim=0)
        return near[s]

    def picture_of(s):
        """A picture that a string is true of, which need not be of the class it was drawn for."""
        owners = [o for o in cap.of.get(s, {}) if of_class[o]]
        if not owners:
            return []
        return [rng.choice(of_class[rng.choices(owners, [cap.of[s][o] for o in owners])[0]])]

    targets = {}

    def target(s):
        """(half for drawings or None where pictures decide, half for photographs, worlds)"""
        if s not in targets:
            style = styles.get(s)
            seen_half = torch.zeros(SEEN) if style or s not in seen else seen[s]
            drawn_half = None if meaning_of(s).sum() > 0 else relative(s)
            if style == "drawing":
                drawn_half = DRAWN_LENGTH * .6 * objects
            elif style:
                drawn_half = torch.zeros(DRAWN)
            world = torch.tensor([{"drawing": WORLD["drawing"]}.get(style, 0.0 if style is None and (drawn_half is None or drawn_half.any()) else WORLD["unknown"]),
                                  {"photo": WORLD["photo"]}.get(style, 0.0 if style is None and seen_half.any() else WORLD["unknown"])])
            if style == "photo":
                world[0] = -.6
            if drawn_half is None and style is None:
                drawn_target = torch.full((DRAWN,), float("nan"))
            else:
                drawn_target = torch.zeros(DRAWN) if drawn_half is None else drawn_half
            targets[s] = torch.cat([drawn_target, seen_half, world])
        return targets[s]

    group, weight = {}, []
    for c in live:
        kind = c >= cap.E
        few = not kind and (cap.emoji[c]["group"] == "flags" or cap.emoji[c]["subgroup"].startswith("person"))
        weight.append(a.kinds_weight if kind else .35 if few else 1.)
        group.setdefault("kinds" if kind else cap.emoji[c]["subgroup"], []).append(c)
    params = list(net.parameters())
    table = [net.token_embedding.weight]
    opt = torch.optim.AdamW([{"params": [q for q in params if q.ndim > 1 and q is not table[0]], "weight_decay": .01},
                             {"params": [q for q in params if q.ndim <= 1] + table, "weight_decay": 0.}], lr=a.lr, betas=(.9, .98), fused=True)
    net.train()
    step, said, since, spent, tick = 0, d["captions"] if a.resume else 0, torch.zeros(5), 0.0, time.time()
    log = open(a.run / "log-text.jsonl", "a")

    def save():
        torch.save({"state": net.state_dict(), "vocab": vocab.rows, "used": used, "start": start, "captions": said, "classes": rows}, a.run / "text.pt")

    while spent < a.minutes * 60:
        f = spent / (a.minutes * 60)
        for gr in opt.param_groups:
            gr["lr"] = a.lr * min(1, (step + 1) / 100) * (.5 + .5 * math.cos(math.pi * f)) + 1e-6
        texts, said_of, picked, c = [], [], [], None
        for d in rng.choices(live, weight, k=a.batch):
            close = c is not None and rng.random() < SAME_GROUP
            c = rng.choice(group["kinds" if c >= cap.E else cap.emoji[c]["subgroup"]]) if close else d
            if rng.random() < .5:  # its first name, as labels are given
                s = cap.names[c][0][0]
                t = rng.choice(captions.EN).format(s)
            else:
                s, t = cap.sample(c, rng)
            if s in held_out:
                continue
            said_of.append(s)
            texts.append(t)
            picked += picture_of(s)
        for s in rng.sample(defaults, a.defaults):
            said_of.append(s)
            texts.append(rng.choice(manifest["templates"]).format(s) if rng.random() < .7 else rng.choice(captions.EN).format(s))
            picked += picture_of(s)
        for pool in rng.choices((names, everyday, own, related), (a.names, *((1 - a.names) * q for q in (.37, .36, .27))), k=a.nouns):
            s = rng.choice(pool)
            said_of.append(s)
            texts.append(rng.choice(captions.SEEN_EN).format(s))
        picked += [rng.choice(of_class[rng.choices(live, weight)[0]]) for _ in range(EXTRA_PICTURES)]
        x, first, second = e["x"][picked], e["first"][picked], e["second"][picked]
        shares = torch.stack([meaning_of(s) for s in said_of])  # (texts, classes)
        true = shares[:, first].T > 0  # (pictures, texts)
        # The object in a picture of some kind: neither right nor wrong.
        maybe = (shares[:, second].T > 0) & ~true
        want = torch.stack([target(s) for s in said_of])
        tok, end = tokens(vocab, texts)
        # A quarter of the texts is read in the words' first meaning, so that words of no caption can be read.
        raw_rows = torch.rand(len(texts)) < .25
        emb = torch.where(raw_rows[:, None, None], first_rows[tok], net.token_embedding(tok))
        # Short texts apart from long ones: what is padding is computed as well.
        order = end.argsort()
        parts = []
        with autocast(), sdpa_kernel(SDPBackend.MATH):
            for part in order.chunk(4):
                n = int(end[part].max()) + 1
                parts.append(net(tok[part, :n], end[part], emb[part, :n]))
        t = torch.cat(parts)[order.argsort()]
        drawn = t[:, :DRAWN]
        by_pictures = want[:, 0].isnan()
        # Only texts that have drawings compete for drawings; what has none is told by its target.
        logits = SCALE * x @ drawn.T
        here = by_pictures.nonzero()[:, 0]
        picture = competition(logits[:, here], true[:, here], maybe[:, here])
        text = competition(logits.T[here], true.T[here], maybe.T[here])
        mine = shares[here]
        centre = F.normalize(mine @ mean, dim=-1)
        among_all = -(mine * F.log_softmax((SCALE * drawn[here] @ mean.T).masked_fill(empty, -1e4), dim=1)).sum(1).mean()
        length = drawn[here].norm(dim=-1)
        pull = (1 - F.cosine_similarity(drawn[here], centre, dim=-1)).mean() + 8 * (length - DRAWN_LENGTH).square().mean()
        given = (drawn[~by_pictures] - want[~by_pictures, :DRAWN]).square().sum(-1)
        seen_loss = (t[:, DRAWN:DRAWN + SEEN] - want[:, DRAWN:DRAWN + SEEN]).square().sum(-1)
        # Squares alone learn a thousand directions slowly: the classes compete as well.
        says, ought = (SHARPNESS / SEEN_LENGTH * v[:, DRAWN:DRAWN + SEEN] @ rows.T for v in (t, want))
        told = ought.amax(1) > .3 * SHARPNESS
        classes_loss = -(ought[told].softmax(1) * F.log_softmax(says[told], dim=1)).sum(1).mean()
        worlds = (t[:, -2:] - want[:, -2:]).square().sum(-1)
        loss = picture + .5 * text + .5 * among_all + pull + 6 * given.mean() + .6 * classes_loss + 60 * seen_loss.mean() + 4 * worlds.mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 4.0)
        opt.step()
        step += 1
        said += len(texts)
        hit = true[:, here].gather(1, logits[:, here].masked_fill(maybe[:, here], float("-inf")).argmax(1, keepdim=True)).float().mean()
        error = (seen_loss[-a.nouns:] / want[-a.nouns:, DRAWN:DRAWN + SEEN].square().sum(-1).clamp(min=1e-6)).median()
        since += torch.tensor([picture.item(), text.item(), hit.item(), error.item(), classes_loss.item()])
        now = time.time()
        spent += min(now - tick, 10)
        tick = now
        if step % 50 == 0:
            v = (since / 50).tolist()
            row = {"text_step": step, "captions": said, "loss_pictures": round(v[0], 4), "loss_texts": round(v[1], 4), "acc": round(v[2], 4),
                   "seen_error": round(v[3], 4), "loss_classes": round(v[4], 4), "minutes": round(spent / 60, 1)}
            print(json.dumps(row), file=log, flush=True)
            since.zero_()
        if step % 250 == 0:
            save()
    save()


if __name__ == "__main__":
    main()
