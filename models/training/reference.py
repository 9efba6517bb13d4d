"""The exported model in fp32 PyTorch: what every other implementation is compared with."""
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import load_file

import encoder
import open_clip
import text
from model import EMBEDDED, FILE, Visual, build_trunk


class Drawn:
    """The image tower for drawings and kinds of image: (n, 3, 64, 64) in 0..1 to (n, 256)."""

    def __init__(self, state, cfg):
        self.net = Visual(build_trunk(cfg, text.DRAWN))
        tower = {k.removeprefix("visual."): v.float() for k, v in state.items() if k.startswith("visual.trunk.")}
        missing, unexpected = self.net.load_state_dict(tower, strict=False)
        assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (missing, unexpected)
        self.net.eval()


class Reference:
    """Both towers of both worlds, on the half precision weights of the export. `fast`: the photograph encoder by
    ONNX Runtime, for measuring many pictures; the goldens are PyTorch's."""

    def __init__(self, folder=EMBEDDED, fast=False):
        folder = Path(folder)
        self.manifest = json.loads((folder / "omnizap-mini.json").read_text())
        self.cfg = self.manifest["config"]
        state = {k: v.float() for k, v in load_file(folder / FILE).items()}
        vision = self.cfg["vision_cfg"]
        self.side, self.photo = vision["image_size"], vision["photographs"]
        self.drawn = Drawn(state, vision["drawn"]).net
        net = EfficientNet.from_name("efficientnet-lite0")
        prefix = "visual.photographs."
        net.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, strict=False)
        net._fc.weight.data, net._fc.bias.data = state["visual.classifier.weight"], state["visual.classifier.bias"]
        self.encoder = encoder.Fast(net.eval()) if fast else encoder.Encoder(net.eval()).eval()
        self.net = net
        self.classes = state["visual.classes"]
        self.details, self.details_bias = state["visual.details.weight"], state["visual.details.bias"]
        self.text = text.Text(self.cfg["text_cfg"], self.cfg["text_cfg"]["vocab_size"])
        self.text.load_state_dict({k.removeprefix("text."): v for k, v in state.items() if k.startswith("text.")})
        self.text.eval()
        self.log_scale = state["logit_scale"]
        self.tok = open_clip.get_tokenizer("ViT-B-32")

    def pixels(self, im):
        """A PIL image as both towers take it: (3, 64, 64) in 0..1, shortest edge bilinear and the centre cut out;
        (3, 224, 224) bytes."""
        s = self.side
        im = im.convert("RGB")
        w, h = im.size
        size = (s, max(s, int(s * h / w))) if w <= h else (max(s, int(s * w / h)), s)
        small = im.resize(size, Image.BILINEAR)
        x, y = int(round((size[0] - s) / 2.0)), int(round((size[1] - s) / 2.0))
        small = np.asarray(small.crop((x, y, x + s, y + s))).copy()
        return torch.from_numpy(small).permute(2, 0, 1).float() / 255, encoder.cut(im)

    @torch.no_grad()
    def worlds(self, features):
        """The photographs' half from features (n, 1280): seen (n, 220), details (n, 96), gate (n, 1)."""
        shares = (self.net._fc(features) / self.photo["temperature"]).softmax(1)
        raw = features @ self.details.T + self.details_bias
        return shares @ self.classes, F.normalize(raw[:, :-1], dim=1), raw[:, -1:].sigmoid()

    @torch.no_grad()
    def join(self, drawn, features):
        """Embeddings of length 1 from both towers' outputs."""
        seen, details, gate = self.worlds(features)
        a, b = (1 - gate).sqrt(), gate.sqrt()
        world, share = self.photo["world_share"], self.photo["seen_share"]
        inside = math.sqrt(1 - world * world)
        missing = (1 - seen.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
        return torch.cat([F.normalize(drawn, dim=1) * a * inside, seen * b * inside * share, torch.cat([a, b], 1) * world,
                          details * b * inside * math.sqrt(1 - share * share), torch.zeros(len(drawn), 1),
                          missing * b * inside * share], 1)

    @torch.no_grad()
    def images(self, px, batch=64):
        out = []
        for i in range(0, len(px), batch):
            small, cuts = zip(*px[i:i + batch])
            out.append(self.join(self.drawn(torch.stack(small)), self.encoder(torch.stack(cuts))))
        return torch.cat(out)

    @torch.no_grad()
    def texts(self, texts):
        """Tokens padded to 77 with 0, pooled at the end-of-text token (the largest id)."""
        ids = self.tok(texts, context_length=77)
        end = ids.argmax(1)
        raw = self.text(ids[:, : int(end.max()) + 1], end)
        whole = text.whole(raw)
        zeros = torch.zeros(len(raw), self.photo["details"])
        return F.normalize(torch.cat([whole[:, :-1], zeros, whole[:, -1:], torch.zeros(len(raw), 1)], 1), dim=-1)

    def labels(self, labels, templates=None):
        """Averaged over the manifest's prompt templates, then normalised again."""
        templates = templates or self.manifest["templates"]
        out = []
        for i in range(0, len(labels), 64):
            part = labels[i:i + 64]
            e = self.texts([t.replace("{}", lab) for lab in part for t in templates])
            out.append(F.normalize(e.reshape(len(part), len(templates), -1).mean(1), dim=-1))
        return torch.cat(out)

    def scale(self):
        return min(float(self.log_scale.exp()), 100.0)
