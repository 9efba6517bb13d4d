"""What the scripts that make references share: inputs, random weights, and the embeddings that PyTorch
computes with them in fp32."""
import math

import numpy as np
import open_clip
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

assert torch.__version__.startswith("2.8.0"), torch.__version__
assert open_clip.__version__ == "3.3.0", open_clip.__version__
assert timm.__version__ == "1.0.31", timm.__version__

TEXTS = [
    "a photo of a cat",
    "uma figurinha de um cachorro feliz",
    "红色的汽车",
    "",
    "a very long description " * 30,
    "café &amp; croissants, 1984 😀",
]
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


# --- random weights ------------------------------------------------------------------------------

@torch.no_grad()
def randomise(model, seed, layer_scales=(0.1, 0.4), patches_too=True):
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, std, mean=0.0):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std + mean)

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            normal(module.running_mean, 0.3)
            uniform(module.running_var, 0.5, 1.5)
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if "layer_scale" in name:
            uniform(parameter, *layer_scales)
        elif last == "logit_scale":
            parameter.fill_(math.log(80.0))
        elif last == "logit_bias":
            parameter.fill_(-12.5)
        elif "bias" in last:
            normal(parameter, 0.1)
        elif parameter.ndim == 1:
            uniform(parameter, 0.7, 1.3)
        elif "embed" in name and (patches_too or "patch" not in name) or last in ("cls_token", "latent"):
            normal(parameter, 0.5)
        else:
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            if last in ("text_projection", "projection_layer", "proj"):
                fan_in = parameter.shape[0]
            normal(parameter, fan_in ** -0.5)
    return model.eval()


def clear(rows, limit=0.9):
    """Whether embeddings of different inputs can be told apart."""
    rows = F.normalize(rows, dim=-1)
    return (rows @ rows.T)[~torch.eye(len(rows), dtype=bool)].max() < limit


@torch.no_grad()
def spread(features, weight, bias, share):
    """Takes a share of what all images have in common out of a projection `[out, in]` of features. Averaged
    over random features, different images look alike; a projection that sees their differences lets no error
    hide. Without a share, the smallest that tells the images apart: the more is taken, the more the rounding
    of both sides weighs, and with it what is compared is chance."""
    mean = features.mean(0)
    mean /= mean.norm()
    common = (weight @ mean)[:, None] * mean
    if bias is not None:
        bias *= 0.1
    if share is None:
        for share in (0.0, 0.5, 0.7, 0.8, 0.9, 0.95):
            if clear(F.linear(features, weight - share * common, bias)):
                break
    weight -= share * common


# --- inputs and outputs --------------------------------------------------------------------------

def images(side, n=3):
    """Pictures that differ in colour, in coarse shape and in fine texture."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:side, 0:side] / side
    out = []
    for i in range(n):
        colour = np.array([[230, 60, 40], [30, 90, 220], [120, 200, 90]][i])
        waves = [np.sin(2 * np.pi * (fx * x + fy * y) + phase) for fx, fy, phase in rng.uniform(0, 6, (3, 3))]
        picture = np.stack(waves, -1) * 60 + colour + rng.normal(0, 20, (side, side, 3))
        out.append(np.clip(picture, 0, 255).astype(np.uint8))
    return np.stack(out)


@torch.no_grad()
def expected(towers, side, mean, std, round_to_half=False, share=0.95):
    """`towers` has `model`, `image(x)`, `text()` and `spread(x, share)`."""
    pixels = images(side)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    towers.spread(x, share)
    if round_to_half:
        half(towers.model)
    image = F.normalize(towers.image(x), dim=-1)
    text = F.normalize(towers.text(), dim=-1)
    for name, rows in ("image", image), ("text", text):
        assert rows.isfinite().all(), name
        cosines = (rows @ rows.T)[~torch.eye(len(rows), dtype=bool)]
        assert cosines.max() < 0.995, f"{name} embeddings hardly differ: {cosines.max()}"
    noisy = x + torch.randint(-1, 2, x.shape) / 255
    moved = F.normalize(towers.image(noisy), dim=-1)
    noise = (moved * image).sum(-1).min()
    print(f"  cosines: images {(image @ image.T)[0, 1:].tolist()}, one bit of noise {noise:.6f}")
    if share is None:
        assert noise > 0.999, "the network amplifies rounding: what would be compared is chance"
    scale = towers.model.logit_scale.exp()
    # CLIP clamps the factor, SigLIP, which has a bias beside it, does not.
    if getattr(towers.model, "logit_bias", None) is None:
        scale = scale.clamp(max=100)
    return {
        "images": torch.from_numpy(pixels), "image_features": image.contiguous(), "text_features": text.contiguous(),
        "logit_scale": scale.reshape(1).detach(),
    }


def half(model):
    """The weights as half precision keeps them."""
    with torch.no_grad():
        for tensor in list(model.parameters()) + list(model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return model


def stored(state, dtype):
    return {k: (v.to(dtype) if v.is_floating_point() else v).detach().clone().contiguous() for k, v in state.items()}


def save_expected(path, tensors):
    save_file(tensors, path, metadata={"texts": "\n".join(TEXTS)})
