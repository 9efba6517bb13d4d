#!/usr/bin/env python3
"""How long this project takes to decode pictures, compared with Pillow, in turns, in one run.

    cargo build --release -p omnizap-pictures --example decode_time
    tests/pictures/decode_time.py target/release/examples/decode_time PHOTO [--rounds N]

Makes JPEG (quality 90, 4:2:0), progressive JPEG, PNG and WebP of 1024x768 and 4000x3000 pixels of a photo and
prints for each the median time of both and their ratio; for JPEG also of scaled decoding, compared with
Pillow's full decoding. One thread each. Wants Pillow (PyPI: pillow==12.3.0).
"""

import argparse
import io
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from PIL import Image

FORMATS = {
    "jpeg": ("JPEG", {"quality": 90, "subsampling": "4:2:0"}),
    "progressive": ("JPEG", {"quality": 90, "subsampling": "4:2:0", "progressive": True}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"quality": 90, "method": 2}),
}
SIZES = {"1024x768": ((1024, 768), 10), "4000x3000": ((4000, 3000), 1)}
# The shorter side that a classifier of 224 pixels asks for.
SCALED_TO = 224


def by_pillow(content, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        Image.open(io.BytesIO(content)).convert("RGB")
    return (time.perf_counter() - start) * 1e3 / repeat


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the example `decode_time`, built")
    parser.add_argument("photo", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    args = parser.parse_args()
    photo = Image.open(args.photo).convert("RGB")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([args.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program,
    ):
        def by_us(path, repeat, scaled_to=""):
            program.stdin.write(f"{path}\t{repeat}\t{scaled_to}\n")
            program.stdin.flush()
            return json.loads(program.stdout.readline())

        for size_name, (size, repeat) in SIZES.items():
            resized = photo.resize(size, Image.Resampling.LANCZOS)
            for name in args.formats:
                form, options = FORMATS[name]
                path = pathlib.Path(folder, f"{name}_{size_name}")
                resized.save(path, form, **options)
                content = path.read_bytes()
                times = {"ours": [], "scaled": [], "pillow": []}
                for _ in range(args.rounds):
                    times["ours"].append(by_us(path, repeat)["ms"])
                    times["pillow"].append(by_pillow(content, repeat))
                    if form == "JPEG":
                        scaled = by_us(path, repeat, SCALED_TO)
                        times["scaled"].append(scaled["ms"])
                ours, pillow = statistics.median(times["ours"]), statistics.median(times["pillow"])
                text = f"{size_name} {name}: {ours:.2f} ms, Pillow {pillow:.2f} ms, ratio {ours / pillow:.2f}"
                if times["scaled"]:
                    ms = statistics.median(times["scaled"])
                    text += f"; scaled to {scaled['width']}x{scaled['height']}: {ms:.2f} ms, ratio {ms / pillow:.2f}"
                print(text, flush=True)
        program.stdin.close()


if __name__ == "__main__":
    main()
