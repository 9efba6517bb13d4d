"""Makes the goldens in verify.rs.

    pip install open_clip_torch==3.3.0 pillow==12.1.1 numpy torchvision
"""
import hashlib

import numpy as np
import open_clip
import PIL
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

assert PIL.__version__ == "12.1.1" and open_clip.__version__ == "3.3.0"

texts = ["a photo of a cat", "uma figurinha de um cachorro feliz 😀", "红色的汽车 &amp; more", ""]
ids = open_clip.tokenizer.SimpleTokenizer()(texts).numpy().astype("<u4")
print("tokens", hashlib.sha256(ids.tobytes()).hexdigest())

width, height = 613, 401
y, x = np.mgrid[0:height, 0:width]
checker = (x // 2 + y // 3) % 2 * 60
picture = np.stack([(x * 255 // width) // 2 + checker, (y * 255 // height) // 2 + checker, x * y % 251], -1)
picture = Image.fromarray((picture % 256).astype(np.uint8))
SHORTEST = [(64, "BILINEAR"), (224, "BILINEAR"), (224, "BICUBIC"), (256, "BILINEAR"), (256, "BICUBIC")]
SQUASHED = [(224, "BICUBIC"), (256, "BICUBIC")]
for side, filter, target in [(*case, case[0]) for case in SHORTEST] + [(*case, (case[0],) * 2) for case in SQUASHED]:
    square = CenterCrop(side)(Resize(target, InterpolationMode[filter])(picture))
    print(target, filter, hashlib.sha256(np.asarray(square).tobytes()).hexdigest())
