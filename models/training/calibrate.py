"""Sets the logit scale of the exported model, so that its confidences are honest.

    python calibrate.py --art DIR [--model ../embedded]

The scale with the least negative log-likelihood on fresh renders of the training styles, each
against the names of 150 objects. Neither Twemoji nor the held-out kinds have a say.
"""
import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import captions
import compose
from reference import EMBEDDED, Reference


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--model", type=Path, default=EMBEDDED)
    a = p.parse_args()
    torch.set_num_threads(1)
    ref = Reference(a.model)
    cap = captions.load(a.art, [])
    sp = compose.Sprites(a.art)
    code = {e["code"]: i for i, e in enumerate(cap.emoji)}
    rng, g = random.Random(77), torch.Generator().manual_seed(77)
    own = {}
    for i, r in enumerate(sp.rows):
        if cap.emoji[code[r["code"]]]["group"] != "flags":
            own.setdefault(code[r["code"]], []).append(i)
    classes = rng.sample(sorted(own), 150)
    txt = ref.labels([cap.emoji[c]["name"] for c in classes])
    truth = torch.arange(len(classes)).repeat_interleave(6)
    idx = np.array([rng.choice(own[classes[t]]) for t in truth.tolist()])
    s = ref.cfg["vision_cfg"]["image_size"]
    x = torch.cat([compose.finish(g, sp.compose(g, idx[i:i + 90], s)) for i in range(0, len(idx), 90)])
    cos = ref.images(x.clamp(0, 1)) @ txt.T
    loss = {k: F.cross_entropy(k * cos, truth).item() for k in range(8, 61)}
    best = min(loss, key=loss.get)
    print(json.dumps({"logit_scale_exp": best, "nll": round(loss[best], 4), "top1": round((cos.argmax(1) == truth).float().mean().item(), 4)}))
    f = a.model / "omnizap-mini.safetensors"
    state = load_file(f)
    state["logit_scale"] = torch.tensor(math.log(best)).half()
    save_file(state, f)


if __name__ == "__main__":
    main()
