"""Trains omnizap-mini. One process per core; resumes from the last checkpoint.

    python train.py --art DIR --run DIR --images 1500000 [--ranks 2] [--size 64] [--batch 160]

Loss: contrastive between pictures and captions with soft targets (a caption may fit many pictures
and the other way round), and both towers against one learned prototype per class, which gives every
step all classes as negatives. The prototypes are dropped at export.
"""
import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import captions
import compose
import dwconv
from model import MiniClip, load_config

VOCAB_ROWS = 8000
STYLE_WEIGHT = {"fluent-emoji-high-contrast": .35, "emojione-monotone": .35, "streamline-emojis": .6}
KIND_SLOTS = 100  # room for kinds of image, so that the list may grow while a run goes on


class Trainee(nn.Module):
    def __init__(self, cfg, classes):
        super().__init__()
        self.clip = MiniClip(cfg, VOCAB_ROWS)
        self.proto = nn.Parameter(torch.randn(classes, cfg["embed_dim"]) * .05)
        self.proto_scale = nn.Parameter(torch.tensor(math.log(12.0)))


def soft_ce(logits, target):
    return -(target * F.log_softmax(logits, -1)).sum(-1)


class Batches:
    """Composed drawings of objects, and renders of kinds of image."""

    def __init__(self, art, cap, seed, size):
        self.cap, self.size = cap, size
        self.rng = random.Random(seed)
        self.g = torch.Generator().manual_seed(seed)
        self.sprites = compose.Sprites(art)
        code = {e["code"]: i for i, e in enumerate(cap.emoji)}
        self.by_class = [dict() for _ in range(cap.E)]
        for i, r in enumerate(self.sprites.rows):
            self.by_class[code[r["code"]]].setdefault(r["style"], []).append(i)
        w = []
        for c, e in enumerate(cap.emoji):
            styles = len(self.by_class[c])
            # Objects first: flags and the many near-copies of people teach little for their number.
            rare = (.12 if e["group"] == "flags" else .25 if e["subgroup"] in ("family", "alphanum", "time", "keycap")
                    else .25 if e["subgroup"].startswith("person") else .5 if e["group"] == "symbols" else 1.0)
            w.append(0 if not styles else rare * (1 if styles > 2 else .6))
        self.weights = np.cumsum(w)
        self.kind_px = None
        f = Path(art) / "kinds-training.npy"
        if f.exists():
            self.kind_px = np.load(f, mmap_mode="r")
            rows = json.loads(f.with_suffix(".json").read_text())
            slot = {k["id"]: i for i, k in enumerate(cap.kinds)}
            self.kind_rows = [[] for _ in cap.kinds]
            self.kind_object = {}
            for i, r in enumerate(rows):
                self.kind_rows[slot[r["kind"]]].append(i)
                if r.get("code") in code:
                    self.kind_object[i] = code[r["code"]]

    def kinds(self, n):
        """Renders of kinds of image, cropped and coloured."""
        ks = [self.rng.randrange(self.cap.K) for _ in range(n)]
        ids = [self.rng.choice(self.kind_rows[k]) for k in ks]
        x = torch.from_numpy(np.stack([self.kind_px[i] for i in ids])).permute(0, 3, 1, 2).float().div_(255)
        g = self.g
        sc = compose.rand(g, n, lo=.62, hi=1.05)
        asp = torch.exp(torch.randn(n, generator=g) * .1)
        rot = torch.randn(n, generator=g) * .03
        room = (1 - sc).clamp(min=0)
        ty, tx = (compose.rand(g, n) * 2 - 1) * room, (compose.rand(g, n) * 2 - 1) * room
        th = torch.stack([torch.stack([sc * asp, -rot, tx], -1), torch.stack([rot, sc / asp, ty], -1)], 1)
        ratio = sc * x.shape[-1] / self.size
        y = torch.empty(n, 3, self.size, self.size)
        half = F.avg_pool2d(x, 2)
        for src, pick in ((x, ratio < 1.5), (half, ratio >= 1.5)):
            i = pick.nonzero()[:, 0]
            if len(i):
                grid = F.affine_grid(th[i], (len(i), 3, self.size, self.size), align_corners=False)
                y[i] = F.grid_sample(src[i], grid, align_corners=False, padding_mode="border")
        i = (compose.rand(g, n) < .6).nonzero()[:, 0]
        if len(i):
            y[i] = compose.jitter(g, y[i], .6)
        return y, ks, [self.kind_object.get(i) for i in ids]

    def next(self, n):
        cap, rng = self.cap, self.rng
        total = cap.E + KIND_SLOTS
        nk = n // 8 // 2 * 2 if self.kind_px is not None else 0
        m = n - nk
        cls = np.searchsorted(self.weights, [rng.random() * self.weights[-1] for _ in range(m)], side="right")
        idx = []
        for c in cls:
            styles = list(self.by_class[c])
            s = rng.choices(styles, [STYLE_WEIGHT.get(s, 1.0) for s in styles])[0]
            idx.append(rng.choice(self.by_class[c][s]))
        x = compose.finish(self.g, self.sprites.compose(self.g, np.array(idx), self.size))
        target = torch.zeros(n, total)
        target[torch.arange(m), torch.from_numpy(cls)] = 1.0
        said = list(cls[: m * 2 // 3])  # the prototypes teach the rest
        if nk:
            y, ks, objs = self.kinds(nk)
            x = torch.cat([x, y])
            for j, (k, o) in enumerate(zip(ks, objs)):
                target[m + j, cap.E + k] = 1.0 if o is None else .5
                if o is not None:
                    target[m + j, o] = .5
                said.append(cap.E + k)
        texts, owners = [], torch.zeros(len(said), total)
        for j, c in enumerate(said):
            s, t = cap.sample(int(c), rng)
            texts.append(t)
            for o, w in cap.of[s].items():
                owners[j, o] = w
        return x.clamp_(0, 1), target, texts, owners


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


def loss_of(net, x, target, tok, eot, owners):
    # The fused attention kernel's backward is ten times slower than plain matrix products here.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        img = net.clip.visual(x)
        t = net.clip.encode_text(tok, eot)
    i = F.normalize(img.float(), dim=-1)
    p = F.normalize(net.proto, dim=-1)
    ps = net.proto_scale.exp().clamp(max=40)
    classes = target.shape[1]
    smooth = .05
    l_img = soft_ce(ps * i @ p.T, target * (1 - smooth) + smooth / classes).mean()
    l_txt = soft_ce(ps * t @ p.T, owners * (1 - smooth) + smooth / classes).mean()
    # Pictures against captions: the share of the caption's meaning that the picture carries.
    m = target @ (owners / owners.amax(1, keepdim=True)).T
    logits = net.clip.scale() * i @ t.T
    a = m / m.sum(1, keepdim=True).clamp(min=1e-6)
    b = m.T / m.T.sum(1, keepdim=True).clamp(min=1e-6)
    l_clip = (soft_ce(logits, a).mean() + soft_ce(logits.T, b).mean()) / 2
    with torch.no_grad():
        acc = ((i @ p.T).argmax(1) == target.argmax(1)).float().mean()
        acc_t = (m.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()
    return l_img + .5 * l_txt + l_clip, (l_img, l_txt, l_clip, acc, acc_t)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--kinds", type=Path, default=Path(__file__).with_name("kinds.json"))
    p.add_argument("--images", type=int, default=1_500_000)
    p.add_argument("--batch", type=int, default=64, help="per rank")
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--save-seconds", type=float, default=150)
    a = p.parse_args()
    a.run.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("MINI_RANK", -1))
    if rank < 0 and a.ranks > 1:
        init = a.run / "rendezvous"
        init.unlink(missing_ok=True)
        env = {"OMP_NUM_THREADS": "1", "MINI_INIT": str(init)}
        ps = [subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, **env, "MINI_RANK": str(r)}) for r in range(a.ranks)]
        while all(q.poll() is None for q in ps):
            time.sleep(1)
        time.sleep(3)
        for q in ps:
            if q.poll() is None:
                q.terminate()
        sys.exit(max(abs(q.wait()) for q in ps))
    rank = max(rank, 0)
    torch.set_num_threads(1)
    if a.ranks > 1:
        dist.init_process_group("gloo", init_method="file://" + os.environ["MINI_INIT"], rank=rank, world_size=a.ranks)

    cfg = load_config()
    kinds = json.loads(a.kinds.read_text()) if a.kinds.exists() else []
    cap = captions.load(a.art, kinds)
    torch.manual_seed(a.seed)
    net = Trainee(cfg, cap.E + KIND_SLOTS)
    net.to(memory_format=torch.channels_last)
    named = [(n, q) for n, q in net.named_parameters()]
    decay = [q for n, q in named if q.ndim > 1 and "embedding" not in n and "proto" not in n]
    rest = [q for n, q in named if not (q.ndim > 1 and "embedding" not in n and "proto" not in n)]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": .05}, {"params": rest, "weight_decay": 0.}],
                            lr=a.lr, betas=(.9, .98), fused=True)
    state = {k: v.clone() for k, v in net.clip.state_dict().items()}  # the running average, which is what is exported
    vocab = captions.Vocabulary(VOCAB_ROWS)
    seen = step = 0
    ck = a.run / "last.pt"
    if ck.exists():
        d = torch.load(ck, weights_only=False)
        net.load_state_dict(d["net"])
        opt.load_state_dict(d["opt"])
        state, seen, step = d["ema"], d["seen"], d["step"]
        vocab = captions.Vocabulary(VOCAB_ROWS, d["vocab"])
    else:
        # The same rows on every rank: give them out before the first step.
        pass
    for names in cap.names + cap.words:
        for s, _ in names:
            vocab.encode(s)
    for t in captions.EN + captions.PT + ["this is an image of a picture"]:
        vocab.encode(t.format(""))
    dwconv.install(net)
    net.train()
    rng = random.Random(1000 * a.seed + 7 * rank + seen)
    data = Batches(a.art, cap, 1000 * a.seed + rank + seen * 13, a.size)
    log = open(a.run / "log.jsonl", "a") if rank == 0 else None
    start = saved = last = time.time()
    since, mean, rows_n = 0, np.zeros(6), 0
    params = [q for q in net.parameters() if q.requires_grad]
    while seen < a.images:
        x, target, texts, owners = data.next(a.batch)
        tok, eot = tokens(vocab, texts, rng)
        f = seen / a.images
        lr = a.lr * min(1, (step + 1) / 300) * (.5 + .5 * math.cos(math.pi * f) if f < 1 else 0) + 1e-6
        for gr in opt.param_groups:
            gr["lr"] = lr
        opt.zero_grad(set_to_none=True)
        loss, parts = loss_of(net, x.contiguous(memory_format=torch.channels_last), target, tok, eot, owners)
        loss.backward()
        if a.ranks > 1:
            flat = torch.cat([q.grad.reshape(-1) for q in params])
            dist.all_reduce(flat)
            flat /= a.ranks
            o = 0
            for q in params:
                q.grad.copy_(flat[o:o + q.numel()].view_as(q))
                o += q.numel()
        nn.utils.clip_grad_norm_(params, 5.0)
        opt.step()
        step += 1
        seen += a.batch * a.ranks
        since += a.batch * a.ranks
        rows_n += 1
        mean += [loss.item()] + [v.item() for v in parts]
        if rank == 0:
            k = .99 if f < .6 else .998  # the average must not lag behind a fast learner
            if step % 2 == 0:
                with torch.no_grad():
                    for n, v in net.clip.state_dict().items():
                        if v.is_floating_point():
                            state[n].lerp_(v, 1 - k * k)
                        else:
                            state[n].copy_(v)
            if step % 100 == 0:
                now = time.time()
                v = (mean / rows_n).round(4).tolist()
                row = {"step": step, "seen": seen, "size": a.size, "lr": round(lr, 6), "loss": v[0], "img": v[1], "txt": v[2], "clip": v[3],
                       "acc_proto": v[4], "acc_clip": v[5], "scale": round(net.clip.scale().item(), 2), "kinds": data.kind_px is not None,
                       "img_per_s": round(since / (now - last), 1), "elapsed": round(now - start)}
                print(json.dumps(row), file=log, flush=True)
                last, since, mean, rows_n = now, 0, np.zeros(6), 0
            if time.time() - saved > a.save_seconds or seen >= a.images:
                saved = time.time()
                torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "ema": state, "seen": seen, "step": step,
                            "vocab": vocab.rows, "args": vars(a) | {"art": "", "run": "", "kinds": ""}}, a.run / "tmp.pt")
                os.replace(a.run / "tmp.pt", ck)


if __name__ == "__main__":
    main()
