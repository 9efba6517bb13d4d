"""Makes what `net/towers/mobilenet.rs` holds a network of inverted residual blocks against: a shrunk
EfficientNet-Lite with random weights, and the pooled features that PyTorch gives it in fp32.

    pip install torch==2.8.0 efficientnet-lite-pytorch==0.1.0 safetensors numpy
    python inverted_residual.py fixtures/inverted-residual.safetensors

TensorFlow's padding differs for even and odd sizes, so there are images of 40 and of 37 pixels a
side, `[2 * side * side, 3]` in channels-last order. Batch norms are random too.
"""
import sys

import torch
from efficientnet_lite_pytorch.model import EfficientNet
from efficientnet_lite_pytorch.utils import BlockDecoder, GlobalParams
from safetensors.torch import save_file

assert torch.__version__.startswith("2.8.0"), torch.__version__

# Channels are a quarter of what is written here. Each stage changes them, as in every published
# network: this implementation adds no residual to the first block of a stage even where it could.
BLOCKS = [
    "r1_k3_s11_e1_i32_o48",
    "r2_k5_s22_e6_i48_o80",
    "r1_k3_s22_e6_i80_o96",
    "r2_k3_s11_e4_i96_o112",
]


def network(side):
    torch.manual_seed(1)
    settings = GlobalParams(
        width_coefficient=0.25, depth_coefficient=1.0, image_size=side, dropout_rate=0.0, num_classes=2,
        batch_norm_momentum=0.99, batch_norm_epsilon=1e-3, drop_connect_rate=0.0, depth_divisor=4,
        min_depth=None, relu_fn="relu6", fix_head_stem=False, local_pooling=False, use_se=False)
    return EfficientNet(BlockDecoder.decode(BLOCKS), settings).eval()


def randomise(net):
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            # Signals keep their size through the depth, and some of them reach the cut at 6.
            fan = module.weight[0].numel()
            module.weight.normal_(0, (2 / fan) ** 0.5, generator=generator)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.8, 1.6, generator=generator)
            module.bias.uniform_(-0.5, 1.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.4, 2.5, generator=generator)


def features(net, images):
    hidden = net.extract_features(images)
    assert hidden.max() == 6 and (hidden > 0).float().mean() > 0.2, "the last activations say little"
    return hidden.mean(dim=(2, 3))


def main():
    with torch.no_grad():
        nets = {side: network(side) for side in (40, 37)}
        for net in nets.values():
            randomise(net)
        state = nets[40].half().state_dict()
        kept = {f"photo.{key}": value.clone() for key, value in state.items()
                if not key.endswith("num_batches_tracked") and not key.startswith("_fc")}
        for side, net in nets.items():
            net.load_state_dict({key: value.float() for key, value in state.items()})
            net.float()
            images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side)) * 2 - 1
            # The second is smooth and darker, so that the two get different features.
            images[1] = images[1].cumsum(-1) / side - 0.3
            kept[f"features.{side}"] = features(net, images)
            kept[f"image.{side}"] = images.permute(0, 2, 3, 1).reshape(-1, 3).contiguous()
    save_file(kept, sys.argv[1])


if __name__ == "__main__":
    main()
