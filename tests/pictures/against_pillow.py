#!/usr/bin/env python3
"""Pictures of any folder as this project and as Pillow show them: the same pixels, or not.

    cargo build --release -p omnizap-pictures --example decode
    tests/pictures/against_pillow.py target/release/examples/decode FOLDER [--show KIND]

Two ways are compared: `compat` with `convert("RGB")`, `default` with the picture turned by its
EXIF data and laid over #808080. Prints how many files fall in each kind; with --show the files of one:
same, other, both-refuse, only-pillow, only-ours. Wants Pillow (PyPI: pillow==12.3.0).
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import warnings

from PIL import Image, ImageOps

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = None


def over_gray(image):
    """Rounded to the nearest, as the stage does it."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    data, out = rgba.tobytes(), bytearray()
    for red, green, blue, alpha in zip(data[::4], data[1::4], data[2::4], data[3::4]):
        back = 0x80 * (255 - alpha) + 127
        out += bytes(((red * alpha + back) // 255, (green * alpha + back) // 255, (blue * alpha + back) // 255))
    return Image.frombytes("RGB", rgba.size, bytes(out))


def by_pillow(path, is_default):
    try:
        with Image.open(path) as image:
            image.load()
            if is_default:
                image = over_gray(ImageOps.exif_transpose(image))
            rgb = image.convert("RGB")
    except Exception as error:  # whatever a plugin of Pillow raises is a refusal
        return {"detail": f"{type(error).__name__}: {error}"}
    return {"size": list(rgb.size), "sha256": hashlib.sha256(rgb.tobytes()).hexdigest()}


def kind(ours, theirs):
    if "sha256" not in ours:
        return "only-pillow" if "sha256" in theirs else "both-refuse"
    if "sha256" not in theirs:
        return "only-ours"
    return "same" if (ours["size"], ours["sha256"]) == (theirs["size"], theirs["sha256"]) else "other"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the example `decode`, built")
    parser.add_argument("paths", nargs="+", type=pathlib.Path, help="files, or folders of them")
    parser.add_argument("--show", help="list the files of this kind")
    args = parser.parse_args()
    files = []
    for path in args.paths:
        files += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    counts = {"compat": {}, "default": {}}
    for start in range(0, len(files), 100):
        part = [str(file) for file in files[start:start + 100]]
        lines = subprocess.run([args.program, *part], capture_output=True, text=True, check=True).stdout.splitlines()
        for line in map(json.loads, lines):
            for way, count in counts.items():
                theirs = by_pillow(line["file"], way == "default")
                found = kind(line[way], theirs)
                count[found] = count.get(found, 0) + 1
                if found == args.show:
                    ours = line[way]
                    print(way, line["file"], ours.get("size") or ours["detail"], ours.get("cause") or "", "| Pillow:",
                          theirs.get("size") or theirs["detail"])
    for way, count in counts.items():
        print(f"{way}: " + ", ".join(f"{found} {number}" for found, number in sorted(count.items())))


if __name__ == "__main__":
    main()
