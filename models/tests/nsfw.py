"""Holds the classifier of unsafe pictures against the original, nsfwjs' MobileNetV2Mid run from its
npm package by TensorFlow.js.

    pip install pillow==12.1.1 numpy safetensors
    npm install --ignore-scripts nsfwjs@4.3.0 @tensorflow/tfjs@4.22.0
    python nsfw.py goldens NODE_MODULES fixtures/nsfw.safetensors   # made pictures, committed
    cargo build --workspace --example nsfw_classes
    python nsfw.py compare NODE_MODULES PICTURE..                   # largest difference, false alarms

The original takes two to three seconds a picture. The pictures of the goldens, `image.N [height,
width, 3]`, are in their file already, beside `classes [n, 5]`: six of some 16 pixels a side, which are
noise to an eye and were found by gradient ascent, so that every class has a large share of
some, and six of formulas, in all shapes.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
CLASSES = ["drawing", "hentai", "neutral", "porn", "sexy"]

def listed(pictures, folder):
    """Writes pictures as raw RGB; the lines that name them."""
    lines = []
    for i, pixels in enumerate(pictures):
        place = Path(folder) / f"{i}.rgb"
        place.write_bytes(np.ascontiguousarray(pixels).tobytes())
        lines.append(f"{pixels.shape[1]} {pixels.shape[0]} {place}\n")
    return "".join(lines)


def ask(command, lines):
    answered = subprocess.run(command, input=lines, check=True, stdout=subprocess.PIPE, text=True)
    return np.array([json.loads(line) for line in answered.stdout.splitlines()])


def original(npm, lines):
    return ask(["node", str(HERE / "nsfw.cjs"), str(npm)], lines)


def goldens(npm, place):
    kept = load_file(place)
    pictures = [kept[f"image.{i}"] for i in range(sum(name.startswith("image.") for name in kept))]
    with tempfile.TemporaryDirectory() as folder:
        kept["classes"] = original(npm, listed(pictures, folder)).astype(np.float32)
    assert kept["classes"].max(0).min() > 0.3, "the pictures are too much alike"
    save_file(kept, place)


def opened(place):
    image = Image.open(place)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "#808080"), image)
    return np.asarray(image.convert("RGB"))


def compare(npm, program, places):
    with tempfile.TemporaryDirectory() as folder:
        lines = listed([opened(place) for place in places], folder)
        theirs = original(npm, lines)
        ours = ask([str(program)], lines)
    apart = np.abs(theirs - ours)
    score = lambda classes: classes[:, 1] + classes[:, 3]
    alarms = [int((score(classes) >= 0.6).sum()) for classes in (theirs, ours)]
    worst = apart.max(1).argmax()
    print(f"{len(places)} pictures, largest difference {apart.max():.2e} ({places[worst].name}); "
          f"nsfw at 0.6: original {alarms[0]}, ours {alarms[1]}")
    for place, row in zip(places, ours):
        if score(row[None])[0] >= 0.6:
            print(f"  {place.name}: " + ", ".join(f"{name} {share:.2f}" for name, share in zip(CLASSES, row)))
    if apart.max() > 1e-3:
        sys.exit("ours is not the original")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["goldens", "compare"])
    parser.add_argument("npm", type=Path)
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--program", type=Path, default=HERE.parents[1] / "target/debug/examples/nsfw_classes")
    arguments = parser.parse_args()
    if arguments.what == "goldens":
        goldens(arguments.npm, arguments.places[0])
    else:
        compare(arguments.npm, arguments.program, arguments.places)
