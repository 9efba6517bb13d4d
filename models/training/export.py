"""Writes omnizap-mini.safetensors (fp16, open_clip's key layout) and its manifest from a checkpoint.

    python export.py --run DIR --out ../embedded [--image-size 64]
"""
import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from captions import Vocabulary
from model import HERE, load_config

# A first value; `calibrate.py` sets the one that counts.
LOGIT_SCALE = 25.0


def full_state(run):
    """The averaged image tower and the text tower, with the whole tokenizer's table put back."""
    d = torch.load(run / "last.pt", weights_only=False, map_location="cpu")
    t = torch.load(run / "text.pt", weights_only=False, map_location="cpu")
    state = {k: v for k, v in d["ema"].items() if k.startswith("visual.") and not k.endswith("num_batches_tracked")}
    state |= t["state"]
    cfg = load_config()["text_cfg"]
    small = state["text.token_embedding.weight"]
    table = small[1].repeat(cfg["vocab_size"], 1)  # row 1: a token that training never saw
    for token, row in t["vocab"].items():
        table[int(token)] = small[row]
    table[0] = small[0]
    state["text.token_embedding.weight"] = table
    state["logit_scale"] = torch.tensor(math.log(LOGIT_SCALE))
    return state, d


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--out", type=Path, default=HERE.parent / "embedded")
    p.add_argument("--image-size", type=int)
    a = p.parse_args()
    a.out.mkdir(exist_ok=True)
    state, d = full_state(a.run)
    save_file({k: v.half().contiguous() for k, v in state.items()}, a.out / "omnizap-mini.safetensors")
    cfg = load_config()
    if a.image_size:
        cfg["vision_cfg"]["image_size"] = a.image_size
    manifest = json.loads((HERE / "manifest.json").read_text())
    manifest = {"name": cfg["name"], "config": cfg, **manifest, "trained_on_renders": d["seen"]}
    (a.out / "omnizap-mini.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    size = (a.out / "omnizap-mini.safetensors").stat().st_size
    print(f"{size / 1e6:.2f} MB, {sum(v.numel() for v in state.values()) / 1e6:.2f} M numbers, {d['seen']} renders seen")


if __name__ == "__main__":
    main()
