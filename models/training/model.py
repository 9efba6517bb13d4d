"""The image tower for drawings: timm's own FastVit class (MobileOne stem, RepMixer stages, an attention stage, SE final
convolution, linear head) with small widths and the key layout of MobileCLIP-S in open_clip. `config.json` beside
this file holds every number.
"""
import json
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import load_file
from timm.models.fastvit import FastVit, RepConditionalPosEnc

HERE = Path(__file__).resolve().parent
EMBEDDED = HERE.parent / "embedded"
FILE = "omnizap-mini.safetensors"


def autocast():
    """bf16 where the processor computes in it; elsewhere it would be ten times as slow as fp32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def load_config(path=HERE / "config.json"):
    return json.loads(Path(path).read_text())


def build_trunk(cfg, embed_dim):
    pos_embs = tuple(
        None if p is None else partial(RepConditionalPosEnc, spatial_shape=tuple(p["spatial_shape"]))
        for p in cfg["pos_embs"]
    )
    trunk = FastVit(
        layers=tuple(cfg["layers"]),
        embed_dims=tuple(cfg["embed_dims"]),
        mlp_ratios=tuple(cfg["mlp_ratios"]),
        downsamples=tuple(cfg["downsamples"]),
        se_downsamples=tuple(cfg["se_downsamples"]),
        token_mixers=tuple(cfg["token_mixers"]),
        pos_embs=pos_embs,
        repmixer_kernel_size=cfg["repmixer_kernel_size"],
        down_patch_size=cfg["down_patch_size"],
        down_stride=cfg["down_stride"],
        lkc_use_act=cfg["lkc_use_act"],
        stem_use_scale_branch=cfg["stem_use_scale_branch"],
        cls_ratio=cfg["cls_ratio"],
        # 1e-5, timm's default, is for deep towers and long schedules: with it (or 0.1) and timm's 0.02
        # for every weight, the blocks stay asleep for the first hundred thousand pictures.
        layer_scale_init_value=0.5,
        num_classes=embed_dim,
        global_pool=cfg["pool"],
    )
    for name, m in trunk.named_modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)) and name.endswith(("mlp.fc1", "mlp.fc2", "qkv", "token_mixer.proj")):
            fan_in = m.weight[0].numel()
            nn.init.trunc_normal_(m.weight, std=(1.4 if name.endswith("fc2") else 1.0) * fan_in**-0.5)
    return trunk


def trained(folder):
    """The tower's keys `visual.trunk.*` and how many renders it has seen: from the checkpoint of `train.py`, or
    from an exported model."""
    if (folder / "last.pt").exists():
        d = torch.load(folder / "last.pt", weights_only=False, map_location="cpu")
        state, seen = d["ema"], d["seen"]
    else:
        state = load_file(folder / FILE)
        seen = json.loads((folder / "omnizap-mini.json").read_text())["trained_on_renders"]
    return {k: v for k, v in state.items() if k.startswith("visual.trunk.") and not k.endswith("num_batches_tracked")}, seen


class Visual(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, x):
        return self.trunk(x)
