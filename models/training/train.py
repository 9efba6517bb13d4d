"""Trains the image tower of omnizap-mini. One process per core; resumes from the last checkpoint.

    python train.py --art DIR --run DIR --renders 2000000 [--ranks 2] [--size 64] [--batch 128]

Loss: a plain softmax over all classes (every emoji, every kind of image) against one learned
prototype per class, with a scale of its own. The text tower is fitted afterwards to what this one sees
(`train_text.py`). The schedule follows the renders seen, so that a busy
machine is only slower.
"""
import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F

import captions
import compose
import dwconv
from model import Visual, autocast, build_trunk, load_config

STYLE_WEIGHT = {"fluent-emoji-high-contrast": .8, "emojione-monotone": .8, "streamline-emojis": .8}
# Objects that are something else in a mirror: play and reverse, left and right, letters, numbers.
SIDED = {"arrow", "av-symbol", "alphanum", "keycap", "math", "punctuation", "time", "zodiac", "currency", "sky-weather", "transport-sign"}
# Kinds of image that their colours help to tell; the others may come in any.
OWN_COLOURS = {"sky", "night_sky", "landscape", "map", "gradient", "blank"}
SMALL_UNTIL = .35  # of the renders are seen at three quarters of the side, which costs half
KIND_SLOTS = 100  # room for kinds of image, so that the list may grow while a run goes on


class Trainee(nn.Module):
    def __init__(self, cfg, classes):
        super().__init__()
        self.visual = Visual(build_trunk(cfg["vision_cfg"]["drawn"], cfg["vision_cfg"]["drawn_dim"]))
        self.proto = nn.Parameter(torch.randn(classes, cfg["vision_cfg"]["drawn_dim"]) * .05)
        self.proto_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def scale(self):
        return self.proto_scale.exp().clamp(max=80)


class Batches:
    """Composed drawings of objects, and renders of kinds of image."""

    def __init__(self, art, cap, seed, size, share=.5):
        self.cap, self.size, self.share = cap, size, share
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
                    else .15 if e["subgroup"].startswith("person") else 1.0)
            w.append(0 if not styles else rare * (1 if styles > 2 else .6))
        self.weights = np.cumsum(w)
        self.sided = torch.tensor([e["subgroup"] in SIDED or e["group"] == "flags" for e in cap.emoji])
        self.kind_px = None
        f = Path(art) / "kinds-training.npy"
        if f.exists():
            self.kind_px = np.load(f, mmap_mode="r")
            rows = json.loads(f.with_suffix(".json").read_text())
            slot = {k["id"]: i for i, k in enumerate(cap.kinds)}
            self.any_colour = [k["id"] not in OWN_COLOURS for k in cap.kinds]
            self.kind_of = [slot[r["kind"]] for r in rows]
            self.kind_object = {}
            for i, r in enumerate(rows):
                if r.get("code") in code:
                    self.kind_object[i] = code[r["code"]]

    def kinds(self, n, hard):
        """Renders of kinds of image, coloured; they were cut when they were made (`kinds.views`)."""
        ids = [self.rng.randrange(len(self.kind_of)) for _ in range(n)]
        ks = [self.kind_of[i] for i in ids]
        # The plain view is the one that a user's picture gets.
        views = [self.rng.choice([0, *range(self.kind_px.shape[1])]) for _ in range(n)]
        y = torch.from_numpy(np.stack([self.kind_px[i, v] for i, v in zip(ids, views)])).permute(0, 3, 1, 2).float().div_(255)
        if y.shape[-1] != self.size:
            y = F.interpolate(y, self.size, mode="bilinear", antialias=True, align_corners=False)
        g = self.g
        i = (compose.rand(g, n) < .6).nonzero()[:, 0]
        if len(i):
            y[i] = compose.jitter(g, y[i], .3 + .3 * hard)
        # A chart or a screenshot is one in any colours, and in the dark theme as well.
        free = torch.tensor([self.any_colour[k] for k in ks])
        i = (free & (compose.rand(g, n) < .2)).nonzero()[:, 0]
        if len(i):
            y[i] = y[i][:, torch.randperm(3, generator=g)]
        i = (free & (compose.rand(g, n) < .12)).nonzero()[:, 0]
        if len(i):
            y[i] = 1 - y[i]
        i = (compose.rand(g, n) < .25).nonzero()[:, 0]
        if len(i):
            y[i] = y[i].flip(3)
        return y, ks, [self.kind_object.get(i) for i in ids]

    def next(self, n, hard):
        """Pictures, class, second class and its share."""
        cap, rng = self.cap, self.rng
        nk = int(n * self.share) if self.kind_px is not None else 0
        m = n - nk
        cls = np.searchsorted(self.weights, [rng.random() * self.weights[-1] for _ in range(m)], side="right")
        idx = []
        for c in cls:
            styles = list(self.by_class[c])
            s = rng.choices(styles, [STYLE_WEIGHT.get(s, 1.0) for s in styles])[0]
            idx.append(rng.choice(self.by_class[c][s]))
        x = compose.finish(self.g, self.sprites.compose(self.g, np.array(idx), self.size, hard=hard, sided=self.sided[torch.tensor(cls)]), hard)
        first, second, share = list(cls), list(cls), [0.0] * m
        if nk:
            y, ks, objs = self.kinds(nk, hard)
            x = torch.cat([x, y])
            first += [cap.E + k for k in ks]
            second += [cap.E + k if o is None else o for k, o in zip(ks, objs)]
            share += [0.0 if o is None else .3 for o in objs]
        return x.clamp_(0, 1), torch.tensor(np.array(first)), torch.tensor(np.array(second)), torch.tensor(share)


def loss_of(net, x, first, second, share):
    with autocast():
        i = net.visual(x)
    i = F.normalize(i.float(), dim=-1)
    logits = net.scale() * i @ F.normalize(net.proto, dim=-1).T
    a = F.cross_entropy(logits, first, reduction="none", label_smoothing=.02)
    b = F.cross_entropy(logits, second, reduction="none", label_smoothing=.02)
    hit = (logits.detach().argmax(1) == first).float()
    obj = first < net.objects
    return ((1 - share) * a + share * b).mean(), hit[obj].mean(), hit[~obj].mean() if (~obj).any() else torch.tensor(0.)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--kinds", type=Path, default=Path(__file__).with_name("kinds.json"))
    p.add_argument("--config", type=Path, default=Path(__file__).with_name("config.json"))
    p.add_argument("--renders", type=float, default=2e6, help="to see in all, those before a stop counted")
    p.add_argument("--batch", type=int, default=128, help="per rank")
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--kinds-share", type=float, default=.5, help="of each batch, where art/kinds-training.npy is")
    p.add_argument("--ema", type=float, default=.99, help="of the average, per step; it starts anew when a run resumes")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--save-seconds", type=float, default=100)
    a = p.parse_args()
    a.run.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("MINI_RANK", -1))
    if rank < 0 and a.ranks > 1:
        init = a.run / "rendezvous"
        init.unlink(missing_ok=True)
        env = {"OMP_NUM_THREADS": "1", "MINI_INIT": str(init.resolve())}
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
        dist.init_process_group("gloo", init_method="file://" + os.environ["MINI_INIT"], rank=rank, world_size=a.ranks,
                                timeout=timedelta(hours=1))

    cfg = load_config(a.config)
    cap = captions.load(a.art, json.loads(a.kinds.read_text()))
    torch.manual_seed(a.seed)
    net = Trainee(cfg, cap.E + KIND_SLOTS)
    net.objects = cap.E
    net.to(memory_format=torch.channels_last)
    named = list(net.named_parameters())
    decay = [q for n, q in named if q.ndim > 1 and "proto" not in n]
    rest = [q for n, q in named if not (q.ndim > 1 and "proto" not in n)]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": .05}, {"params": rest, "weight_decay": 0.}],
                            lr=a.lr, betas=(.9, .98), fused=True)
    ema = {k: v.clone() for k, v in net.state_dict().items()}  # the running average, which is what is exported
    seen = step = 0
    spent = 0.0
    ck = a.run / "last.pt"
    if ck.exists():
        d = torch.load(ck, weights_only=False)
        net.load_state_dict(d["net"])
        opt.load_state_dict(d["opt"])
        seen, step, spent = d["seen"], d["step"], d["spent"]
        ema = {k: v.clone() for k, v in net.state_dict().items()}
    dwconv.install(net)
    net.train()
    data = Batches(a.art, cap, 1000 * a.seed + rank + seen * 13, a.size, a.kinds_share)
    log = open(a.run / "log.jsonl", "a") if rank == 0 else None
    saved = last = tick = time.time()
    since, mean, rows_n = 0, np.zeros(3), 0
    params = [q for q in net.parameters() if q.requires_grad]
    floats = [k for k, v in net.state_dict().items() if v.is_floating_point()]
    while seen < a.renders:
        f = seen / a.renders
        # Easy renders first, the hardest in the middle, a little milder at the end.
        hard = min(1, .15 + 2.4 * f) if f < .85 else .75
        data.size = a.size if f >= SMALL_UNTIL else a.size * 3 // 4
        x, first, second, share = data.next(a.batch, hard)
        lr = a.lr * min(1, (step + 1) / 400) * (.5 + .5 * math.cos(math.pi * f)) + 1e-6
        for gr in opt.param_groups:
            gr["lr"] = lr
        opt.zero_grad(set_to_none=True)
        loss, acc, acc_k = loss_of(net, x.contiguous(memory_format=torch.channels_last), first, second, share)
        loss.backward()
        now = time.time()
        spent += min(now - tick, 20)  # a pause is no training
        tick = now
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
        mean += [loss.item(), acc.item(), acc_k.item()]
        if rank == 0:
            if step % 4 == 0:
                k = a.ema ** 4
                with torch.no_grad():
                    sd = net.state_dict()
                    torch._foreach_lerp_([ema[n] for n in floats], [sd[n] for n in floats], 1 - k)
            if step % 100 == 0:
                v = (mean / rows_n).round(4).tolist()
                row = {"step": step, "seen": seen, "size": data.size, "lr": round(lr, 6), "hard": round(hard, 2), "loss": v[0],
                       "acc_objects": v[1], "acc_kinds": v[2], "scale": round(net.scale().item(), 2),
                       "kinds": data.kind_px is not None, "img_per_s": round(since / (now - last), 1), "minutes": round(spent / 60, 1)}
                print(json.dumps(row), file=log, flush=True)
                last, since, mean, rows_n = now, 0, np.zeros(3), 0
            if now - saved > a.save_seconds or seen >= a.renders:
                saved = now
                torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "ema": ema, "seen": seen, "step": step,
                            "spent": spent, "config": cfg}, a.run / "tmp.pt")
                os.replace(a.run / "tmp.pt", ck)


if __name__ == "__main__":
    main()
