"""omnizap-mini: a small CLIP with the towers and the key layout of MobileCLIP-S in open_clip.

The image tower is timm's own FastVit class (MobileOne stem, RepMixer stages, an attention
stage, SE final convolution, linear head) with small widths; the text tower is open_clip's own
TextTransformer. `config.json` beside this file holds every number.
"""
import json
import math
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from open_clip.transformer import TextTransformer
from timm.models.fastvit import FastVit, RepConditionalPosEnc

HERE = Path(__file__).resolve().parent


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


class Visual(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, x):
        return self.trunk(x)


class MiniClip(nn.Module):
    """`vocab_size` may be smaller than the tokenizer's while training: see `captions.Vocabulary`."""

    def __init__(self, cfg, vocab_size=None):
        super().__init__()
        t = cfg["text_cfg"]
        self.visual = Visual(build_trunk(cfg["vision_cfg"], cfg["embed_dim"]))
        self.text = TextTransformer(
            context_length=t["context_length"],
            vocab_size=vocab_size or t["vocab_size"],
            width=t["width"],
            heads=t["heads"],
            layers=t["layers"],
            mlp_ratio=t["mlp_ratio"],
            output_dim=cfg["embed_dim"],
            no_causal_mask=not t["causal"],
            pool_type=t["pool"],
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.max_scale = cfg["max_logit_scale"]

    def encode_image(self, x):
        return F.normalize(self.visual(x).float(), dim=-1)

    def encode_text(self, tokens, eot):
        """`tokens` may be cut to the longest of the batch: the causal mask makes this exact.
        `eot` is the position of the end-of-text token of each row."""
        t = self.text
        n = tokens.shape[1]
        x = t.token_embedding(tokens) + t.positional_embedding[:n]
        x = t.transformer(x, attn_mask=t.attn_mask[:n, :n])
        x = t.ln_final(x)
        x = x[torch.arange(len(tokens)), eot] @ t.text_projection
        return F.normalize(x.float(), dim=-1)

    def scale(self):
        return self.logit_scale.exp().clamp(max=self.max_scale)
