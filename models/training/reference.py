"""The exported model in fp32 PyTorch: what every other implementation is compared with."""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import open_clip
from model import HERE, MiniClip

EMBEDDED = HERE.parent / "embedded"


class Reference:
    def __init__(self, folder=EMBEDDED):
        folder = Path(folder)
        self.manifest = json.loads((folder / "omnizap-mini.json").read_text())
        self.cfg = self.manifest["config"]
        self.net = MiniClip(self.cfg)
        state = {k: v.float() for k, v in load_file(folder / "omnizap-mini.safetensors").items()}
        missing, unexpected = self.net.load_state_dict(state, strict=False)
        assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (missing, unexpected)
        self.net.eval()
        self.tok = open_clip.get_tokenizer("ViT-B-32")

    def pixels(self, im):
        """PIL image to (3, s, s) in 0..1: RGB, shortest edge bilinear (antialiased), centre crop."""
        s = self.cfg["vision_cfg"]["image_size"]
        im = im.convert("RGB")
        w, h = im.size
        if w <= h:
            nw, nh = s, max(s, int(s * h / w))
        else:
            nw, nh = max(s, int(s * w / h)), s
        im = im.resize((nw, nh), Image.BILINEAR)
        x, y = int(round((nw - s) / 2.0)), int(round((nh - s) / 2.0))
        return torch.from_numpy(np.asarray(im.crop((x, y, x + s, y + s))).copy()).permute(2, 0, 1).float() / 255

    @torch.no_grad()
    def images(self, px, batch=128):
        return torch.cat([self.net.encode_image(px[i:i + batch]) for i in range(0, len(px), batch)])

    @torch.no_grad()
    def texts(self, texts):
        """Tokens padded to 77 with 0, pooled at the end-of-text token (the largest id)."""
        ids = self.tok(texts, context_length=77)
        return F.normalize(self.net.text(ids), dim=-1)

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
        return float(self.net.scale())
