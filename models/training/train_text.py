"""Fits the text tower of omnizap-mini to the prototypes of a trained image tower.

    python train_text.py --art DIR --run DIR --minutes 8 [--threads 2]

A caption should say of every class how much of its meaning the class carries: softmax over the
prototypes against the caption's own shares. No picture is needed, so this takes minutes. Reads
`last.pt` of the run and writes `text.pt` beside it.
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
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

import captions
from model import MiniClip, load_config

VOCAB_ROWS = 8000


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


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--kinds", type=Path, default=Path(__file__).with_name("kinds.json"))
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--warm", action="store_true", help="start from text.pt")
    p.add_argument("--start", type=Path, help="start from the text tower of an exported model, turned to the new prototypes")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    rng = random.Random(1)
    cfg = load_config()
    cap = captions.load(a.art, json.loads(a.kinds.read_text()))
    emoji = json.loads((a.art / "sprites-training.json").read_text())
    drawn = {r["code"] for r in emoji}
    d = torch.load(a.run / "last.pt", weights_only=False)
    proto = F.normalize(d["ema"]["proto"].float(), dim=-1)[: cap.E + cap.K]
    net = MiniClip(cfg, VOCAB_ROWS)
    del net.visual
    vocab = captions.Vocabulary(VOCAB_ROWS)
    if a.warm:
        old = torch.load(a.run / "text.pt", weights_only=False)
        net.load_state_dict(old["state"])
        vocab = captions.Vocabulary(VOCAB_ROWS, old["vocab"])
    else:
        with torch.no_grad():
            net.text.token_embedding.weight.normal_(std=.05)
            net.logit_scale.fill_(math.log(20))
    for names in cap.names + cap.words:
        for s, _ in names:
            vocab.encode(s)
    for t in captions.EN + captions.PT + ["this is an image of a picture"]:
        vocab.encode(t.format(""))
    live = [c for c in range(cap.E) if cap.emoji[c]["code"] in drawn]
    weight = [.35 if cap.emoji[c]["group"] == "flags" or cap.emoji[c]["subgroup"].startswith("person") else 1. for c in live]
    live += list(range(cap.E, cap.E + cap.K))
    weight += [6.] * cap.K
    if a.start and not a.warm:
        old = load_file(a.start)
        table = old["text.token_embedding.weight"].float()
        with torch.no_grad():
            for k, v in net.state_dict().items():
                if k.startswith("text.") and k != "text.token_embedding.weight" and k in old:
                    v.copy_(old[k].float())
            for token, row in vocab.rows.items():
                net.text.token_embedding.weight[row] = table[int(token)]
            net.text.token_embedding.weight[0] = table[0]
            # A token that no caption has: its row is shared by most of the table.
            net.text.token_embedding.weight[1] = table[49405]
            feats, want = [], []
            keep, net.text.text_projection.data = net.text.text_projection.data, torch.eye(cfg["text_cfg"]["width"])
            for i in range(0, len(live), 128):
                part = [c for c in live[i:i + 128] for _ in range(2)]
                tok, eot = tokens(vocab, [rng.choice(captions.EN).format(cap.names[c][0][0]) for c in part], rng)
                feats.append(net.encode_text(tok, eot) * cfg["text_cfg"]["width"] ** .5)
                want.append(proto[part])
            x, y = torch.cat(feats), torch.cat(want)
            w = torch.linalg.solve(x.T @ x + 1e-2 * len(x) * torch.eye(x.shape[1]), x.T @ y)
            net.text.text_projection = nn.Parameter(w)
    params = list(net.parameters())
    opt = torch.optim.AdamW([{"params": [q for q in params if q.ndim > 1], "weight_decay": .01},
                             {"params": [q for q in params if q.ndim <= 1], "weight_decay": 0.}], lr=a.lr, betas=(.9, .98), fused=True)
    net.train()
    start, step, said = time.time(), 0, 0
    tick, spent, mean, hits = start, 0.0, 0.0, 0.0
    log = open(a.run / "log-text.jsonl", "a")
    while spent < a.minutes * 60:
        f = spent / (a.minutes * 60)
        for gr in opt.param_groups:
            gr["lr"] = a.lr * min(1, (step + 1) / 100) * (.5 + .5 * math.cos(math.pi * f)) + 1e-6
        texts, owners, own = [], torch.zeros(a.batch, len(proto)), []
        for j, c in enumerate(rng.choices(live, weight, k=a.batch)):
            if rng.random() < .4:  # its first name, as labels are given
                s = cap.names[c][0][0]
                t = rng.choice(captions.EN).format(s)
            else:
                s, t = cap.sample(c, rng)
            texts.append(t)
            own.append(c)
            for o, w in cap.of[s].items():
                owners[j, o] = w
        tok, eot = tokens(vocab, texts, rng)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            t = net.encode_text(tok, eot)
        scale = net.logit_scale.exp().clamp(max=60)
        logits = scale * t @ proto.T
        ce = -(owners * F.log_softmax(logits, -1)).sum(-1).mean()
        # The direction itself: towards the mean of what is meant.
        want = F.normalize(owners @ proto, dim=-1)
        loss = ce + 2 * (1 - (t * want).sum(-1)).mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 2.0)
        opt.step()
        step += 1
        said += a.batch
        mean += loss.item()
        hits += (owners.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean().item()
        now = time.time()
        spent += min(now - tick, 10)
        tick = now
        if step % 50 == 0:
            row = {"text_step": step, "captions": said, "loss": round(mean / 50, 4), "acc": round(hits / 50, 4),
                   "scale": round(scale.item(), 2), "minutes": round(spent / 60, 1)}
            print(json.dumps(row), file=log, flush=True)
            mean = hits = 0.0
        if step % 250 == 0:
            torch.save({"state": net.state_dict(), "vocab": vocab.rows, "captions": said}, a.run / "text.pt")
    torch.save({"state": net.state_dict(), "vocab": vocab.rows, "captions": said}, a.run / "text.pt")


if __name__ == "__main__":
    main()
