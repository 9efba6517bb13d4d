"""A last, cheap lesson: the last stage and the prototypes on the stored output of the stages before.

    python late.py --run DIR --art DIR --collect I --seconds 60    # one process per core, I = 0, 1 ...
    python late.py --run DIR --art DIR --tune --seconds 90

Half of the pictures are kinds of image, which joined the run late. Batch norms keep their statistics.
Replaces `last.pt`; the one before stays as `joint.pt`.
"""
import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

import captions
import dwconv
from train import KIND_SLOTS, Batches, Trainee


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--collect", type=int)
    p.add_argument("--tune", action="store_true")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--lr", type=float, default=5e-4)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(3)
    d = torch.load(a.run / "last.pt", weights_only=False)
    kinds = json.loads(Path(__file__).with_name("kinds.json").read_text())
    cap = captions.load(a.art, kinds)
    net = Trainee(d["config"], cap.E + KIND_SLOTS)
    net.load_state_dict(d["ema"])
    net.to(memory_format=torch.channels_last)
    dwconv.install(net)
    net.train()
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.eval()
    trunk = net.visual.trunk
    n = len(trunk.stages) - 1
    start = time.time()
    if a.collect is not None:
        data = Batches(a.art, cap, 90_001 + a.collect, 64)
        out = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            while time.time() - start < a.seconds:
                x, first, second, share = data.next(128, .6)
                y = trunk.stem(x.contiguous(memory_format=torch.channels_last))
                for s in trunk.stages[:n]:
                    y = s(y)
                out.append((y.to(torch.bfloat16), first, second, share))
        torch.save(tuple(torch.cat(v) for v in zip(*out)), a.run / f"late-{a.collect}.pt")
        print(a.collect, len(out) * 128, "pictures")
        return
    parts = [torch.load(f, weights_only=False) for f in sorted(a.run.glob("late-*.pt"))]
    y, first, second, share = (torch.cat(v) for v in zip(*parts))
    params = [q for m in (trunk.stages[n], trunk.final_conv, trunk.head) for q in m.parameters()]
    opt = torch.optim.AdamW([{"params": params, "f": 1.}, {"params": [net.proto, net.proto_scale], "f": 2., "weight_decay": 0.}],
                            lr=a.lr, betas=(.9, .98), weight_decay=.05)
    step, mean = 0, []
    while (f := (time.time() - start) / a.seconds) < 1:
        for g in opt.param_groups:
            g["lr"] = a.lr * g["f"] * min(1, (step + 1) / 20) * (.5 + .5 * math.cos(math.pi * f)) + 1e-7
        i = torch.randint(len(y), (256,))
        with torch.autocast("cpu", torch.bfloat16):
            z = trunk.head(trunk.final_conv(trunk.stages[n](y[i].contiguous(memory_format=torch.channels_last))))
        z = F.normalize(z.float(), dim=-1)
        logits = net.scale() * z @ F.normalize(net.proto, dim=-1).T
        u, v = (F.cross_entropy(logits, t[i], reduction="none", label_smoothing=.02) for t in (first, second))
        loss = ((1 - share[i]) * u + share[i] * v).mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 5.0)
        opt.step()
        hit, obj = (logits.argmax(1) == first[i]).float(), first[i] < cap.E
        mean.append((loss.item(), hit[obj].mean().item(), hit[~obj].mean().item()))
        step += 1
        if step % 25 == 0:
            v = torch.tensor(mean[-25:]).mean(0)
            row = {"late_step": step, "pictures": len(y), "loss": round(v[0].item(), 4), "acc_objects": round(v[1].item(), 4),
                   "acc_kinds": round(v[2].item(), 4), "seconds": round(time.time() - start)}
            with open(a.run / "log-late.jsonl", "a") as log:
                print(json.dumps(row), file=log)
    (a.run / "last.pt").rename(a.run / "joint.pt")
    torch.save(d | {"ema": net.state_dict(), "seen": d["seen"] + len(y)}, a.run / "last.pt")


if __name__ == "__main__":
    main()
