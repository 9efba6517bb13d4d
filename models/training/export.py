"""Writes omnizap-mini.safetensors (fp16) and its manifest: both image towers, the gate, the text tower.

    python export.py --drawn DIR --run DIR --gate FILE --out ../embedded

DIR of `--drawn` holds the exported file whose tower for drawings is taken, or `last.pt` of `train.py`.
"""
import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

import encoder
import space
from gate import DETAILS
from model import EMBEDDED, FILE, HERE, load_config, trained
from text import DRAWN, RAW, SCALE, SEEN

SEEN_SHARE, WORLD_SHARE = .85, .2


def text_tower(run, early, share):
    """The trained rows in the whole table of the tokenizer: all others keep their first meaning. Weights are averaged
    with those of an earlier moment of the same training, which had gone less far towards single drawings (Wortsman et
    al. 2022, arXiv:2109.01903)."""
    t = torch.load(run / "text.pt", weights_only=False, map_location="cpu")
    if early is not None:
        e = torch.load(early, weights_only=False, map_location="cpu")
        assert e["vocab"] == t["vocab"], "of another vocabulary"
        t["state"] = {k: share * v + (1 - share) * e["state"][k] for k, v in t["state"].items()}
    state = {"text." + k: v for k, v in t["state"].items()}
    small, table = state["text.token_embedding.weight"], t["start"].clone()
    for token, row in t["vocab"].items():
        table[int(token)] = small[row]
    table[0] = small[0]
    state["text.token_embedding.weight"] = table
    return state, t["classes"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--drawn", type=Path, default=EMBEDDED)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--early", type=Path, help="a text.pt of before, to average with")
    p.add_argument("--share", type=float, default=.7, help="of the later weights in that average")
    p.add_argument("--gate", type=Path, required=True)
    p.add_argument("--out", type=Path, default=EMBEDDED)
    a = p.parse_args()
    a.out.mkdir(exist_ok=True)
    state, seen = trained(a.drawn)
    net = encoder.load()
    for key, value in net.state_dict().items():
        if not key.startswith("_fc") and not key.endswith("num_batches_tracked"):
            state["visual.photographs." + key] = value
    state["visual.classifier.weight"], state["visual.classifier.bias"] = net._fc.weight.detach(), net._fc.bias.detach()
    g = torch.load(a.gate)
    state["visual.details.weight"] = torch.cat([g["details"], g["gate"][None]])
    state["visual.details.bias"] = torch.cat([g["details_bias"], g["gate_bias"][None]])
    words, state["visual.classes"] = text_tower(a.run, a.early, a.share)
    state |= words
    state["logit_scale"] = torch.tensor(math.log(SCALE))
    save_file({k: v.half().contiguous() for k, v in state.items()}, a.out / FILE)
    cfg = load_config()
    vision = cfg["vision_cfg"]
    assert (vision["drawn_dim"], cfg["embed_dim"]) == (DRAWN, RAW + DETAILS + 2)
    vision["photographs"] |= {"temperature": space.TEMPERATURE, "seen": SEEN, "details": DETAILS, "seen_share": SEEN_SHARE, "world_share": WORLD_SHARE}
    manifest = json.loads((HERE / "manifest.json").read_text())
    held_out = manifest.pop("held_out_words")
    worlds = manifest.pop("worlds")
    manifest = {"name": cfg["name"], "config": cfg, **manifest, "trained_on_renders": seen}
    (a.out / "omnizap-mini.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    size = (a.out / FILE).stat().st_size
    print(f"{size / 1e6:.2f} MB, {sum(v.numel() for v in state.values()) / 1e6:.2f} M numbers, {len(worlds)} words for worlds, {len(held_out)} words held out")


if __name__ == "__main__":
    main()
