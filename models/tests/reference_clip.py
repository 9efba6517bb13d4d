"""References of the families beside MobileCLIP: open_clip's own CLIP, CLIP under transformers' names
(TinyCLIP), SigLIP2. Run by reference.py.
"""
import json
from functools import partial

import open_clip
import torch
import torch.nn as nn
import transformers
from open_clip.model import CLIP
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import LayerNorm, TextTransformer
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from transformers import CLIPConfig, CLIPModel

import reference_tokenizer
from reference_common import OPENAI_MEAN, OPENAI_STD, TEXTS, clear, expected, randomise, save_expected, spread, stored

assert transformers.__version__ == "5.24.0", transformers.__version__

INCEPTION = (0.5, 0.5, 0.5)


def seen_by(module, run):
    """What goes into a module."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run()
    hook.remove()
    return seen[0]


def shift(rows, bias, share, limit=0.9):
    """Takes a share of what all embeddings have in common out of the bias that is added to them last."""
    shares = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95) if share is None else (share,)
    share = next((share for share in shares if clear(rows - share * rows.mean(0), limit)), shares[-1])
    bias -= share * rows.mean(0)


class OpenClip:
    """open_clip's own image tower, and its text tower at the root."""

    def __init__(self, model):
        self.model = model

    def image(self, x):
        return self.model.encode_image(x)

    def text(self):
        return self.model.encode_text(open_clip.tokenizer.SimpleTokenizer()(TEXTS))

    @torch.no_grad()
    def spread(self, x, share):
        visual = self.model.visual
        projection, visual.proj = visual.proj, None
        features = visual(x)
        visual.proj = projection
        spread(features, projection.T, None, share)


class Transformers:
    """CLIP as transformers has it."""

    def __init__(self, model):
        self.model = model

    def image(self, x):
        return self.model.visual_projection(self.model.vision_model(x).pooler_output)

    def text(self):
        tokens = open_clip.tokenizer.SimpleTokenizer()(TEXTS)
        return self.model.text_projection(self.model.text_model(tokens).pooler_output)

    @torch.no_grad()
    def spread(self, x, share):
        head = self.model.visual_projection
        spread(seen_by(head, lambda: self.image(x)), head.weight, None, share)


class SigLip:
    """timm's image tower with attention pooling, open_clip's text tower, a tokenizer in a folder."""

    def __init__(self, model, tokenizer, context):
        self.model = model
        self.tokenizer = HFTokenizer(str(tokenizer), context_length=context, clean="canonicalize")

    def image(self, x):
        return self.model.visual.trunk(x)

    def text(self):
        return self.model.text(self.tokenizer(TEXTS))

    @torch.no_grad()
    def spread(self, x, share):
        # There is no projection: what all images have in common goes with the last bias. So it does for texts,
        # most of whose last tokens are padding, where the network is large; but no more than needed, for with
        # the rest grows what half precision does to the table of tokens.
        shift(self.image(x), self.model.visual.trunk.attn_pool.mlp.fc2.bias, share)
        if share is None:
            shift(self.text(), self.model.text.text_projection.bias, share, limit=0.99)


class SigLipModel(nn.Module):
    """A model with open_clip's names: `visual.trunk`, `text`, `logit_scale`, `logit_bias`."""

    def __init__(self, trunk, text):
        super().__init__()
        self.visual = nn.Module()
        self.visual.trunk = trunk
        self.text = text
        self.logit_scale = nn.Parameter(torch.ones([]))
        self.logit_bias = nn.Parameter(torch.ones([]))


def save(out, name, ending, towers, tensors, dtype):
    state = stored(towers.model.state_dict(), dtype)
    path = out / f"{name}.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    save_expected(out / f"{name}.expected.safetensors", tensors)


# --- full size -----------------------------------------------------------------------------------

def tiny_clip(patch):
    tower = dict(hidden_size=512, intermediate_size=2048, num_attention_heads=8, hidden_act="quick_gelu",
                 projection_dim=512)
    return CLIPModel(CLIPConfig(
        text_config=tower | dict(num_hidden_layers=6), projection_dim=512,
        vision_config=tower | dict(num_hidden_layers=12, image_size=224, patch_size=patch)))


def preset(name, tokenizer):
    """A published model, its side, mean and std."""
    if name.startswith("TinyCLIP"):
        return Transformers(tiny_clip(int(name.split("-")[3]))), 224, OPENAI_MEAN, OPENAI_STD
    model = open_clip.create_model(name, pretrained=None)
    side = model.visual.image_size
    side = side if isinstance(side, int) else side[0]
    if "SigLIP2" in name:
        return SigLip(model, tokenizer, 64), side, INCEPTION, INCEPTION
    return OpenClip(model), side, OPENAI_MEAN, OPENAI_STD


PRESETS = ["ViT-B-32", "ViT-B-32-256", "ViT-B-16", "ViT-L-14", "TinyCLIP-ViT-40M-32-Text-19M",
           "TinyCLIP-ViT-39M-16-Text-19M", "ViT-B-32-SigLIP2-256", "ViT-B-16-SigLIP2"]


def make_presets(out, names, gemma):
    for i, name in enumerate(PRESETS):
        if names and name not in names:
            continue
        print(name)
        if "SigLIP2" in name:
            # Any tokenizer with no more entries than the table will do.
            if gemma is None:
                reference_tokenizer.save(out, 3000)
            else:
                reference_tokenizer.copy(gemma, out)
        towers, side, mean, std = preset(name, out)
        randomise(towers.model, 100 + i, patches_too=False)
        tensors = expected(towers, side, mean, std, share=None)
        for ending in "safetensors", "pt":
            save(out, name, ending, towers, tensors, torch.float32)


# --- shrunk --------------------------------------------------------------------------------------

def small_clip(quick):
    return CLIP(
        24, vision_cfg=dict(layers=2, width=24, head_width=12, patch_size=8, image_size=32),
        text_cfg=dict(context_length=77, vocab_size=49408, width=4, heads=2, layers=2), quick_gelu=quick)


def small_transformers():
    tower = dict(num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu", projection_dim=24)
    return CLIPModel(CLIPConfig(
        text_config=tower | dict(hidden_size=4, intermediate_size=16), projection_dim=24,
        vision_config=tower | dict(hidden_size=24, intermediate_size=96, image_size=32, patch_size=8)))


def small_siglip(tanh, vocabulary):
    gelu = partial(nn.GELU, approximate="tanh")
    trunk = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, class_token=False, global_pool="map",
        num_classes=0, act_layer=gelu if tanh else None)
    text = TextTransformer(
        context_length=16, vocab_size=vocabulary, width=24, heads=2, layers=2, output_dim=24, no_causal_mask=True,
        pool_type="last", proj_bias=True, act_layer=gelu, norm_layer=partial(LayerNorm, eps=1e-6))
    return SigLipModel(trunk, text)


def make_fixtures(out, names):
    """One model of each family, in half precision, with 32 pixels a side."""
    vit = {"family": "vit", "patch": {"patch": 8}, "width": 24, "layers": 2, "heads": 2, "mlp_ratio": 4,
           "pre_norm": True, "class_position": True, "norm_eps": 1e-5}
    text = {"context_length": 77, "vocab_size": 49408, "width": 4, "heads": 2, "causal": True, "layers": 2}
    quick = {"act": "quick_gelu"}
    clip = {"image_size": 32, "mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic"}
    tokenizer = out / "siglip"
    vocabulary = reference_tokenizer.save(tokenizer, 500)
    siglip = {"image_size": 32, "mean": INCEPTION, "std": INCEPTION, "interpolation": "bicubic",
              "resize_mode": "squash"}
    siglip_vit = {"family": "vit", "patch": {"patch": 8}, "width": 24, "layers": 2, "heads": 2, "mlp_ratio": 4,
                  "pre_norm": False, "pool": "map", "class_position": False, "norm_eps": 1e-6}
    siglip_text = {"context_length": 16, "vocab_size": vocabulary, "tokenizer": "file", "width": 24, "heads": 2,
                   "causal": False, "layers": 2, "act": "gelu_tanh", "pool": "last", "norm_eps": 1e-6,
                   "proj_bias": True, "half_precision_tokens": True}
    tanh = {"act": "gelu_tanh"}
    families = [
        ("vit-openclip", OpenClip(small_clip(False)), "safetensors", clip, vit, text),
        ("vit-openclip-quick", OpenClip(small_clip(True)), "bin", clip, vit | quick, text | quick),
        ("siglip", SigLip(small_siglip(False, vocabulary), tokenizer, 16), "safetensors", siglip, siglip_vit,
         siglip_text),
        ("siglip-tanh", SigLip(small_siglip(True, vocabulary), tokenizer, 16), "bin", siglip, siglip_vit | tanh,
         siglip_text),
        ("vit-transformers", Transformers(small_transformers()), "safetensors", clip, vit | quick, text | quick),
    ]
    for seed, (name, towers, ending, image, tower, text_tower) in enumerate(families):
        if names and name not in names:
            continue
        print(name)
        randomise(towers.model, 101 + seed, patches_too=False)
        if isinstance(towers, SigLip):
            # Above the 100 at which CLIP clamps.
            towers.model.logit_scale.data.fill_(4.75)
        tensors = expected(towers, 32, image["mean"], image["std"], True)
        save(out, name, ending, towers, tensors, torch.float16)
        config = {"name": name, "embed_dim": 24, "vision_cfg": image | tower, "text_cfg": text_tower}
        if isinstance(towers, SigLip):
            config["logit_bias"] = True
        (out / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")
