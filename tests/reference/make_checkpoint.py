"""Makes a checkpoint of random weights as open_clip publishes them: OUT.pt and OUT.safetensors.

    python make_checkpoint.py OUT [--model MobileCLIP-S1] [--seed 1]

A freshly initialised network hides errors: layer scales near 0 switch blocks off, batch norms are
the identity, and all pictures look alike. So every scale, shift and statistic is drawn anew, batch
statistics are first measured on pictures so that signals keep their size through the depth, and
the result is refused unless different pictures and different texts get clearly different vectors.
"""
import argparse
import itertools
import math
import sys

import open_clip
import torch
from safetensors.torch import save_file

from pictures import scene
from reference import preprocessing

LAYER_SCALES = ("gamma", "layer_scale")
TEXTS = ["a cat", "a dog on a red sofa", "happy birthday", "explicit content", "landscape"]


def randomise(model, generator):
    uniform = lambda tensor, low, high: tensor.uniform_(low, high, generator=generator)
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            uniform(module.weight, 0.6, 1.4)
            uniform(module.bias, -0.2, 0.2)
        if isinstance(module, torch.nn.Embedding):
            module.weight.normal_(0, 0.5, generator=generator)
        if isinstance(module, torch.nn.MultiheadAttention):
            # The pooled token is the same in every text: all that tells texts apart is what
            # attention brings to it.
            for weight in (module.in_proj_weight, module.out_proj.weight):
                weight.normal_(0, 1.5 * module.embed_dim**-0.5, generator=generator)
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last in LAYER_SCALES:
            sign = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.copy_(uniform(parameter, 0.1, 0.4) * sign)
        elif last == "bias" and parameter.abs().max() == 0:
            parameter.normal_(0, 0.05, generator=generator)
    model.logit_scale.fill_(math.log(100.0))


def measure_statistics(model, batch, generator):
    """Batch statistics of real activations, then moved so that folding them wrongly shows."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    model.encode_image(batch)
    model.eval()
    for norm in norms:
        factor = torch.empty_like(norm.running_var).uniform_(0.8, 1.25, generator=generator)
        norm.running_var.mul_(factor)
        shift = torch.empty_like(norm.running_mean).uniform_(-0.2, 0.2, generator=generator)
        norm.running_mean.add_(shift * norm.running_var.sqrt())


def largest_cosine(vectors):
    pairs = itertools.combinations(range(len(vectors)), 2)
    return max(float(vectors[a] @ vectors[b]) for a, b in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--model", default="MobileCLIP-S1")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    model = open_clip.create_model(arguments.model, pretrained=None).eval()
    transform = preprocessing(arguments.model)
    batch = torch.stack([transform(scene(seed)) for seed in range(101, 109)])
    tokens = open_clip.get_tokenizer(arguments.model)(TEXTS)
    with torch.no_grad():
        randomise(model, generator)
        measure_statistics(model, batch, generator)
        images = torch.nn.functional.normalize(model.encode_image(batch), dim=-1)
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
    alike = {"pictures": largest_cosine(images), "texts": largest_cosine(texts)}
    print("largest cosine between two different", ", ".join(f"{k}: {v:.3f}" for k, v in alike.items()))
    if max(alike.values()) > 0.98:
        sys.exit("different inputs look alike to this model: it would hide errors")
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    torch.save(state, f"{arguments.out}.pt")
    save_file(state, f"{arguments.out}.safetensors")
    print(f"wrote {arguments.out}.pt and {arguments.out}.safetensors, {len(state)} tensors")


if __name__ == "__main__":
    main()
