"""Makes what the tests hold the towers against: checkpoints with random weights, and the embeddings
that PyTorch computes with them in fp32.

    pip install torch==2.8.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 safetensors numpy pillow==12.1.1
    python reference.py fixtures fixtures          # shrunk models of each family, committed
    python reference.py fixtures fixtures siglip   # those of one family
    python reference.py presets /tmp/reference     # every published model at full size, 25 GB
    python reference.py presets /tmp/reference MobileCLIP-S1

A checkpoint is `NAME.safetensors` or `NAME.pt`, beside it `NAME.expected.safetensors` with images
`[n, side, side, 3]` of bytes, texts (joined by newlines, in the metadata) and both embeddings,
normalised. Freshly initialised weights hide errors, so that batch norms, layer scales and biases are
random too, and the script checks that different inputs get different embeddings.

MobileCLIP is here, the other families are in reference_clip.py.
"""
import argparse
import json
import re
from functools import partial
from pathlib import Path

import open_clip
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from open_clip.convert import convert_mobile_clip_state_dict
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from timm.layers import LayerNorm2d
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed

import reference_clip
from reference_common import OPENAI_MEAN, OPENAI_STD, TEXTS, expected, randomise, save_expected, spread, stored


# --- MobileCLIP-S0's text tower, which open_clip has not -----------------------------------------
# After https://github.com/apple/ml-mobileclip (mobileclip/text_encoder.py, modules/text/repmixer.py):
# convolutions along the text before and after the transformer; parameter names are Apple's.

class ConvNorm(nn.Sequential):
    def __init__(self, dim, kernel):
        super().__init__()
        self.add_module("conv", nn.Conv2d(dim, dim, (1, kernel), padding=(0, kernel // 2), groups=dim, bias=False))
        self.add_module("bn", nn.BatchNorm2d(dim))


class MixerBranches(nn.Module):
    def __init__(self, dim, kernel, conv):
        super().__init__()
        self.rbr_skip = nn.BatchNorm2d(dim)
        if conv:
            self.rbr_conv = nn.ModuleList([ConvNorm(dim, kernel)])

    def forward(self, x):
        y = self.rbr_skip(x)
        return y + self.rbr_conv[0](x) if hasattr(self, "rbr_conv") else y


class TextMixer(nn.Module):
    def __init__(self, dim, kernel):
        super().__init__()
        self.norm = MixerBranches(dim, kernel, conv=False)
        self.mixer = MixerBranches(dim, kernel, conv=True)
        self.layer_scale = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x):
        return x + self.layer_scale * (self.mixer(x) - self.norm(x))


class ConvFfn(nn.Module):
    def __init__(self, dim, kernel, hidden):
        super().__init__()
        self.conv = ConvNorm(dim, kernel)
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(self.conv(x))))


class ConvBlock(nn.Module):
    def __init__(self, dim, kernel=11):
        super().__init__()
        self.token_mixer = TextMixer(dim, kernel)
        self.convffn = ConvFfn(dim, kernel, 4 * dim)
        self.layer_scale = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x):
        x = x.transpose(1, 2).unsqueeze(2)
        x = self.token_mixer(x)
        x = x + self.layer_scale * self.convffn(x)
        return x.squeeze(2).transpose(1, 2)


class Encoder(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        attention = nn.Module()
        attention.qkv_proj = nn.Linear(dim, 3 * dim)
        attention.out_proj = nn.Linear(dim, dim)
        self.heads = heads
        self.pre_norm_mha = nn.Sequential(nn.LayerNorm(dim), attention)
        self.pre_norm_ffn = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        norm, attention = self.pre_norm_mha
        n, length, dim = x.shape
        qkv = attention.qkv_proj(norm(x)).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).reshape(n, length, dim)
        x = x + attention.out_proj(mixed)
        return x + self.pre_norm_ffn(x)


class HybridText(nn.Module):
    def __init__(self, dim, heads, layers, embed_dim):
        super().__init__()
        self.embedding_layer = nn.Embedding(49408, dim)
        self.positional_embedding = nn.Module()
        self.positional_embedding.pos_embed = nn.Module()
        self.positional_embedding.pos_embed.pos_embed = nn.Parameter(torch.randn(1, 1, 77, dim) * 0.1)
        blocks = [ConvBlock(dim)] + [Encoder(dim, heads) for _ in range(layers)] + [ConvBlock(dim)]
        self.transformer = nn.ModuleList(blocks)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.projection_layer = nn.Parameter(torch.randn(dim, embed_dim) * dim ** -0.5)

    def forward(self, tokens):
        x = self.embedding_layer(tokens) + self.positional_embedding.pos_embed.pos_embed[0]
        for block in self.transformer:
            x = block(x)
        x = self.final_layer_norm(x)
        return x[torch.arange(len(x)), tokens.argmax(-1)] @ self.projection_layer


class Clip(nn.Module):
    """A model with open_clip's names: `visual.trunk`, `text`, `logit_scale`."""

    def __init__(self, trunk, text):
        super().__init__()
        self.visual = nn.Module()
        self.visual.trunk = trunk
        self.text = text
        self.logit_scale = nn.Parameter(torch.ones([]))


class Towers:
    """Those of a model with these names."""

    def __init__(self, model):
        self.model = model

    def image(self, x):
        return self.model.visual.trunk(x)

    def text(self):
        return self.model.text(open_clip.tokenizer.SimpleTokenizer()(TEXTS))

    @torch.no_grad()
    def spread(self, x, share):
        trunk = self.model.visual.trunk
        head = trunk.head.fc if hasattr(trunk.head, "fc") else trunk.head
        seen = []
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        trunk(x)
        hook.remove()
        spread(seen[0], head.weight, head.bias, share)


# --- Apple's names -------------------------------------------------------------------------------

FASTVIT_TO_APPLE = [
    ("conv_kxk", "rbr_conv"), ("conv_scale", "rbr_scale"), ("identity", "rbr_skip"), ("final_conv", "conv_exp"),
    ("large_conv", "lkb_origin"), (".mlp.", ".convffn."), ("se.fc1", "se.reduce"), ("se.fc2", "se.expand"),
    ("stem.", "patch_embed."), (".gamma", ""),
]


def to_apple(model):
    """The state dict of a FastViT model under Apple's names; timm's own conversion undoes it."""
    out = {}
    for key, value in model.visual.trunk.state_dict().items():
        if key == "head.fc.bias":
            continue
        if key == "head.fc.weight":
            out["image_encoder.model.head.proj"] = value.T.contiguous()
            continue
        # Stage i is network[2 i], its downsampling network[2 i - 1]; a positional encoding takes a
        # place of its own before the stage, which here only the last has.
        match = re.match(r"stages\.(\d+)\.(.*)", key)
        if match:
            stage, rest = int(match[1]), match[2]
            place = 2 * stage
            if rest.startswith("downsample."):
                key = f"network.{place - 1}.{rest.removeprefix('downsample.')}"
            elif rest.startswith("pos_emb.pos_enc."):
                key = f"network.{place}.pe.{rest.removeprefix('pos_emb.pos_enc.')}"
            else:
                has_pe = any(k.startswith(f"stages.{stage}.pos_emb.") for k in model.visual.trunk.state_dict())
                key = f"network.{place + has_pe}.{rest.removeprefix('blocks.')}"
        for ours, apples in FASTVIT_TO_APPLE:
            key = key.replace(ours, apples)
        out["image_encoder.model." + key] = value
    text = model.text.state_dict()
    out.update({"text_encoder." + key: value for key, value in text.items()})
    out["logit_scale"] = model.logit_scale.detach()
    return out


def vit_to_apple(model):
    """The same for MobileCLIP-B."""
    pairs = [
        ("patch_embed.backbone.", "patch_emb."), (".conv.", ".block.conv."), (".bn.", ".block.norm."),
        ("norm1", "pre_norm_mha.0"), ("norm2", "pre_norm_ffn.0"), ("mlp.fc1", "pre_norm_ffn.1"),
        ("mlp.fc2", "pre_norm_ffn.4"), ("attn.qkv", "pre_norm_mha.1.qkv_proj"),
        ("attn.proj", "pre_norm_mha.1.out_proj"), ("blocks.", "transformer."),
    ]
    out = {}
    for key, value in model.visual.trunk.state_dict().items():
        if key == "head.bias":
            continue
        if key == "head.weight":
            key, value = "classifier.proj", value.T.contiguous()
        elif key == "pos_embed":
            key, value = "pos_embed.pos_embed.pos_embed", value.unsqueeze(0)
        elif key.startswith("norm."):
            key = "post_transformer_" + key
        for ours, apples in pairs:
            key = key.replace(ours, apples)
        out["image_encoder.model." + key] = value
    pairs = [
        ("text_projection", "projection_layer"), ("token_embedding", "embedding_layer"),
        ("ln_final", "final_layer_norm"), ("ln_1", "pre_norm_mha.0"), ("attn.in_proj_", "pre_norm_mha.1.qkv_proj."),
        ("attn.out_proj", "pre_norm_mha.1.out_proj"), ("ln_2", "pre_norm_ffn.0"), ("mlp.c_fc", "pre_norm_ffn.1"),
        ("mlp.c_proj", "pre_norm_ffn.4"), ("transformer.resblocks.", "transformer."),
    ]
    for key, value in model.text.state_dict().items():
        if key == "positional_embedding":
            key, value = "positional_embedding.pos_embed.pos_embed", value[None, None]
        for ours, apples in pairs:
            key = key.replace(ours, apples)
        out["text_encoder." + key] = value
    out["logit_scale"] = model.logit_scale.detach()
    return out


# --- full size -----------------------------------------------------------------------------------

def preset(name, seed):
    """A published model, its side, mean and std."""
    if name == "MobileCLIP-S0":
        trunk = timm.create_model("fastvit_mci0", num_classes=512, global_pool="avg")
        return Clip(trunk, HybridText(512, 8, 4, 512)), 256, (0, 0, 0), (1, 1, 1)
    model = open_clip.create_model(name, pretrained=None)
    big = name in ("MobileCLIP2-S3", "MobileCLIP2-S4", "MobileCLIP2-L-14")
    side = model.visual.image_size if isinstance(model.visual.image_size, int) else model.visual.image_size[0]
    return model, side, OPENAI_MEAN if big else (0, 0, 0), OPENAI_STD if big else (1, 1, 1)


PRESETS = ["MobileCLIP-S0", "MobileCLIP-S1", "MobileCLIP-S2", "MobileCLIP-B", "MobileCLIP2-S0", "MobileCLIP2-S2",
           "MobileCLIP2-B", "MobileCLIP2-S3", "MobileCLIP2-S4", "MobileCLIP2-L-14"]


def make_presets(out, names):
    for i, name in enumerate(PRESETS):
        if names and name not in names:
            continue
        print(name)
        model, side, mean, std = preset(name, i)
        # Forty blocks with larger ones amplify one bit of a pixel, and the rounding of either side, a hundredfold.
        randomise(model, i, layer_scales=(0.05, 0.2))
        if name == "MobileCLIP-S0":
            with torch.no_grad():
                model.visual.trunk.head.fc.bias.zero_()
        tensors = expected(Towers(model), side, mean, std, share=None)
        state = to_apple(model) if name == "MobileCLIP-S0" else model.state_dict()
        save_expected(out / f"{name}.expected.safetensors", tensors)
        save_file(stored(state, torch.float32), out / f"{name}.safetensors")
        torch.save(stored(state, torch.float32), out / f"{name}.pt")


# --- shrunk --------------------------------------------------------------------------------------

def small_fastvit(dims, layers, five=False):
    stages = len(dims)
    pe = partial(RepConditionalPosEnc, spatial_shape=(7, 7))
    attention = 2 if five else 1
    return FastVit(
        layers=layers, embed_dims=dims, mlp_ratios=(2,) * stages, lkc_use_act=True, num_classes=24,
        downsamples=(False,) + (True,) * (stages - 1),
        se_downsamples=(False,) * stages if five else (False,) * (stages - 2) + (True,) * 2,
        pos_embs=(None,) * (stages - attention) + (pe,) * attention,
        token_mixers=("repmixer",) * (stages - attention) + ("attention",) * attention,
        norm_layer=partial(LayerNorm2d, eps=1e-5) if five else nn.BatchNorm2d, stem_use_scale_branch=not five)


def fastvit_config(dims, layers, five=False):
    stages = len(dims)
    attention = 2 if five else 1
    return {
        "family": "fastvit_mci", "layers": list(layers), "embed_dims": list(dims), "mlp_ratios": [2] * stages,
        "downsamples": [False] + [True] * (stages - 1),
        "se_downsamples": [False] * stages if five else [False] * (stages - 2) + [True] * 2,
        "token_mixers": ["repmixer"] * (stages - attention) + ["attention"] * attention,
        "pos_embs": [None] * (stages - attention) + [{"spatial_shape": [7, 7]}] * attention,
        "stem_use_scale_branch": not five, "attention_norm": "layer" if five else "batch",
    }


def small_text(causal):
    return TextTransformer(width=6, heads=2, layers=2, output_dim=24, no_causal_mask=not causal)


def make_fixtures(out, names):
    """One model of each family, in half precision, with 64 or 32 pixels a side."""
    vit = dict(num_classes=24, depth=2, num_heads=2, global_pool="token")
    hybrid = VisionTransformer(
        img_size=32, patch_size=1, embed_dim=48, no_embed_class=True,
        embed_layer=partial(HybridEmbed, proj=False, backbone=ConvStem(
            channels=(12, 12, 48), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=nn.GELU)), **vit)
    plain = VisionTransformer(
        img_size=28, patch_size=14, embed_dim=40, pre_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-5), **vit)
    four, five = (8, 16, 32, 64), (4, 8, 16, 32, 64)
    vit_config = {"family": "vit", "layers": 2, "heads": 2, "mlp_ratio": 4}
    hybrid_config = vit_config | {"patch": "conv_stem", "width": 48, "pre_norm": False, "class_position": False,
                                  "norm_eps": 1e-6}
    plain_config = vit_config | {"patch": {"patch": 14}, "width": 40, "pre_norm": True, "class_position": True,
                                 "norm_eps": 1e-5}
    plain_image, openai = ((0., 0., 0.), (1., 1., 1.), "bilinear"), (OPENAI_MEAN, OPENAI_STD, "bilinear")
    bicubic = (OPENAI_MEAN, OPENAI_STD, "bicubic")
    families = [
        ("fastvit-four-stages", small_fastvit(four, (1, 2, 1, 2)), small_text(False), 64, plain_image,
         fastvit_config(four, (1, 2, 1, 2)), False, "safetensors", None),
        ("fastvit-five-stages", small_fastvit(five, (1, 1, 2, 1, 1), True), small_text(False), 64, openai,
         fastvit_config(five, (1, 1, 2, 1, 1), True), False, "pt", None),
        ("vit-hybrid-causal", hybrid, small_text(True), 32, plain_image, hybrid_config, True, "safetensors", None),
        ("vit-hybrid-apple", hybrid, small_text(True), 32, plain_image, hybrid_config, True, "pt", vit_to_apple),
        ("vit-plain", plain, small_text(False), 28, bicubic, plain_config, False, "bin", None),
        ("fastvit-apple", small_fastvit(four, (1, 1, 2, 1)), HybridText(6, 2, 1, 24), 64, plain_image,
         fastvit_config(four, (1, 1, 2, 1)), False, "pt", to_apple),
    ]
    for seed, (name, trunk, text, side, image, tower, causal, ending, rename) in enumerate(families):
        if names and name not in names:
            continue
        print(name)
        model = randomise(Clip(trunk, text), seed)
        with torch.no_grad():
            if rename:
                (trunk.head.fc if hasattr(trunk.head, "fc") else trunk.head).bias.zero_()
        mean, std, interpolation = image
        save_expected(out / f"{name}.expected.safetensors", expected(Towers(model), side, mean, std, True))
        state = rename(model) if rename else model.state_dict()
        if rename is not None:
            undo_and_compare(model, state)
        state = stored(state, torch.float16)
        path = out / f"{name}.{ending}"
        save_file(state, path) if ending == "safetensors" else torch.save(state, path)
        mixer = {"repmixer_kernel_size": 11} if isinstance(text, HybridText) else {}
        config = {
            "name": name, "embed_dim": 24,
            "vision_cfg": {"image_size": side, "mean": mean, "std": std, "interpolation": interpolation} | tower,
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 6, "heads": 2, "causal": causal,
                         "layers": 1 if mixer else 2} | mixer,
        }
        (out / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")


def undo_and_compare(model, apples):
    """Apple's names are right if open_clip and timm convert them back."""
    fastvit = "image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight" in apples
    back = convert_mobile_clip_state_dict(model, dict(apples), fastvit=fastvit)
    for key, value in model.state_dict().items():
        if key.startswith("visual.") or (key.startswith("text.") and not isinstance(model.text, HybridText)):
            assert torch.equal(back[key].reshape(value.shape), value), key


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["presets", "fixtures"])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--tokenizer", type=Path, help="a Gemma tokenizer.json, for SigLIP2 at full size")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if arguments.what == "presets":
        make_presets(arguments.out, arguments.names)
        reference_clip.make_presets(arguments.out, arguments.names, arguments.tokenizer)
    else:
        make_fixtures(arguments.out, arguments.names)
        reference_clip.make_fixtures(arguments.out, arguments.names)
