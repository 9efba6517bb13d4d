"""Makes the goldens of the image preprocessing: what torchvision makes of Pillow images.

    pip install pillow==12.1.1 numpy torchvision==0.23.0
    python preprocessing.py fixtures/preprocessing.json

Ours are equal to the last bit, so that a hash of the pixels is all that is kept. Alpha is dropped
before, by `convert("RGB")`. Pictures are computed from their coordinates, in preprocessing.rs too.
"""
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

assert PIL.__version__ == "12.1.1", PIL.__version__

SIZES = [
    (1, 1), (2, 1), (1, 3), (7, 5), (50, 20), (20, 50), (64, 64), (223, 225), (255, 256), (256, 255), (256, 256),
    (257, 256), (256, 300), (300, 256), (259, 511), (640, 480), (480, 640), (613, 401), (1000, 50), (50, 1000),
    (1024, 1024), (1920, 1080), (1001, 999), (4000, 200), (200, 4000), (3000, 2), (2, 3000), (4000, 3000),
    (3024, 4032), (2500, 2499), (5000, 37),
]
MODES = {"Gray": 1, "GrayAlpha": 2, "Rgb": 3, "Rgba": 4}


def picture(width, height, channels):
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = [((x * (3 + c) + y * (5 + 2 * c) + x * y // (7 + c)) ^ (x * y * 13 // 11)) % 256 for c in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def main():
    cases, made = [], 0
    for i, (width, height) in enumerate(SIZES):
        layouts = list(MODES) if width * height < 70_000 else ["Rgb"]
        for layout in layouts:
            pixels = picture(width, height, MODES[layout])
            # The third dimension of Pillow's gray is none.
            image = Image.fromarray(pixels[..., 0] if layout == "Gray" else pixels,
                                    {"GrayAlpha": "LA"}.get(layout)).convert("RGB")
            side, filter = [(256, "BILINEAR"), (224, "BICUBIC"), (64, "BILINEAR")][(i + made) % 3]
            made += 1
            for resize, target in ("shortest", side), ("squash", (side, side)):
                # Straight to the square takes less care: every third picture will do.
                if resize == "squash" and i % 3:
                    continue
                square = np.asarray(CenterCrop(side)(Resize(target, InterpolationMode[filter])(image)))
                assert square.shape == (side, side, 3)
                digest = hashlib.sha256(square.tobytes()).hexdigest()[:16]
                cases.append([width, height, layout, side, filter.lower(), resize, digest])
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(sys.argv[1]).write_text(f"[\n{lines}\n]\n")
    print(len(cases), "cases")


main()
