#!/usr/bin/env python3
"""Stickers that move, and what the program takes them for.

    cargo build
    tests/pictures/animated_stickers.py target/debug/omnizap [--keep FOLDER]

Ten things, each as GIF, WebP and APNG: they turn, grow, slide in or fade in, and begin with nothing, with
one colour all over, or for a moment with another thing. The program classifies each with `frames` as
"first", "content" and "sample", among its own labels. Prints the rate of each; ends with 1 where that of
"sample" is under 90 %. Wants Pillow (PyPI: pillow==12.3.0).
"""

import argparse
import collections
import io
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/load"))

from service import Service  # noqa: E402

SIDE = 256
FRAMES = 12
SAMPLES = ROOT / "models/embedded/samples"
LEAST = 0.9


def sample(name):
    image = Image.open(SAMPLES / name).convert("RGBA")
    image.thumbnail((SIDE, SIDE))
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.alpha_composite(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return canvas


def drawn(draw):
    """At four times the size, made smaller: smooth edges."""
    big = Image.new("RGBA", (4 * SIDE, 4 * SIDE))
    draw(ImageDraw.Draw(big), 4 * SIDE)
    return big.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def heart(draw, side):
    points = []
    for step in range(200):
        t = 2 * math.pi * step / 200
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((side / 2 + x * side / 37, side * 0.47 - y * side / 37))
    draw.polygon(points, fill="#dd2e44")


def star(draw, side):
    points = []
    for step in range(10):
        angle = math.pi * step / 5 - math.pi / 2
        radius = side * (0.48 if step % 2 == 0 else 0.22)
        points.append((side / 2 + radius * math.cos(angle), side * 0.53 + radius * math.sin(angle)))
    draw.polygon(points, fill="#ffac33")


def sun(draw, side):
    middle = side / 2
    for ray in range(8):
        angle = math.pi * ray / 4
        points = []
        for radius, turn in ((0.33, -0.28), (0.49, 0), (0.33, 0.28)):
            points.append((middle + side * radius * math.cos(angle + turn), middle + side * radius * math.sin(angle + turn)))
        draw.polygon(points, fill="#ffac33")
    draw.ellipse((side * 0.22, side * 0.22, side * 0.78, side * 0.78), fill="#ffac33")


def smiley(draw, side):
    at = lambda *box: tuple(side * share for share in box)
    draw.ellipse(at(0.02, 0.02, 0.98, 0.98), fill="#ffcc4d")
    for x in (0.28, 0.6):
        draw.ellipse(at(x, 0.28, x + 0.12, 0.48), fill="#664500")
    draw.chord(at(0.2, 0.35, 0.8, 0.88), 0, 180, fill="#664500")


def traffic_light(draw, side):
    at = lambda *box: tuple(side * share for share in box)
    draw.rounded_rectangle(at(0.3, 0.02, 0.7, 0.98), side * 0.1, fill="#292f33")
    for y, colour in ((0.08, "#dd2e44"), (0.37, "#ffcc4d"), (0.66, "#77b255")):
        draw.ellipse(at(0.37, y, 0.63, y + 0.26), fill=colour)


# What is seen, and the labels that name it.
THINGS = [
    ("cat", {"cat"}, lambda: sample("cat-sticker.webp")),
    ("dog", {"dog"}, lambda: sample("dog-sticker.webp")),
    ("pizza", {"pizza"}, lambda: sample("pizza-sticker.webp")),
    ("bar-chart", {"bar chart"}, lambda: sample("bar-chart.png")),
    ("qr-code", {"QR code", "qr code"}, lambda: sample("qr-code.png")),
    ("sun", {"sun"}, lambda: drawn(sun)),
    ("heart", {"heart", "love"}, lambda: drawn(heart)),
    ("star", {"star"}, lambda: drawn(star)),
    ("smiley", {"happy face"}, lambda: drawn(smiley)),
    ("traffic-light", {"traffic light"}, lambda: drawn(traffic_light)),
]


def placed(image, scale=1.0, turn=0.0, shift=0, alpha=1.0):
    image = image.rotate(turn, Image.Resampling.BICUBIC)
    side = max(8, round(SIDE * scale))
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    if alpha < 1:
        image.putalpha(image.getchannel("A").point(lambda value: round(value * alpha)))
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(image, ((SIDE - side) // 2 + shift, (SIDE - side) // 2))
    return canvas


def motion(kind, image):
    wave = [math.sin(2 * math.pi * step / FRAMES) for step in range(FRAMES)]
    match kind % 4:
        case 0:
            return [placed(image, turn=12 * it) for it in wave]
        case 1:
            return [placed(image, scale=0.85 + 0.12 * it) for it in wave]
        case 2:
            return [placed(image, shift=-round(SIDE * max(0.0, 1 - step / 4))) for step in range(FRAMES)]
        case _:
            return [placed(image, alpha=min(1.0, (step + 1) / 5)) for step in range(FRAMES)]


def begin(kind, other):
    """The first frame, and how long it is shown."""
    match kind % 3:
        case 0:
            return Image.new("RGBA", (SIDE, SIDE)), 120
        case 1:
            return Image.new("RGBA", (SIDE, SIDE), "white"), 120
        case _:
            return other, 60


def gif_frame(image):
    """Transparent or opaque, as GIF has it."""
    image = image.copy()
    image.putalpha(image.getchannel("A").point(lambda value: 255 * (value > 127)))
    return image


def files():
    """Yields (name, labels, bytes): the same ones at each run."""
    images = [make() for _, _, make in THINGS]
    for number, ((name, labels, _), image) in enumerate(zip(THINGS, images)):
        for place, (suffix, form) in enumerate([("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG")]):
            first, shown = begin(number + place, images[(number + 3) % len(images)])
            frames = [first, *motion(number + 2 * place, image)]
            durations = [shown] + [80] * FRAMES
            out = io.BytesIO()
            if form == "GIF":
                frames = [gif_frame(frame) for frame in frames]
            more = {"GIF": {"disposal": 2}, "WEBP": {"quality": 80, "minimize_size": False}, "PNG": {"disposal": 1}}
            frames[0].save(
                out, form, save_all=True, append_images=frames[1:], duration=durations, loop=0, **more[form]
            )
            yield f"{name}.{suffix}", labels, out.getvalue()


PIPELINE = """extends = "builtin:classify"
[pipeline]
name = "{frames}"
route = "POST /{frames}"
settings_route = "GET /{frames}/labels"
[defaults.with]
frames = "{frames}"
"""


def ask(port, route, name, data):
    boundary = "omnizap-stickers"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{route}",
        head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="omnizap, built")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the stickers")
    arguments = parser.parse_args()
    ways = ["first", "content", "sample"]
    right = collections.Counter()
    stickers = list(files())
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for name, _, data in stickers:
            (arguments.keep / name).write_bytes(data)
    with tempfile.TemporaryDirectory() as folder:
        for way in ways:
            (pathlib.Path(folder) / f"{way}.toml").write_text(PIPELINE.format(frames=way))
        service = Service(arguments.program, folder)
        try:
            for name, labels, data in stickers:
                line = [f"{name:20}"]
                for way in ways:
                    answer = ask(service.port, way, name, data)
                    is_right = answer["category"] in labels
                    right[way] += is_right
                    place = f"{answer.get('frame')}/{answer.get('frames_seen')}"
                    line.append(f"{way}: {'' if is_right else 'NOT '}{answer['category']} ({place})")
                print("  ".join(line))
        finally:
            service.process.terminate()
            service.process.wait(60)
    for way in ways:
        print(f"{way}: {right[way]} of {len(stickers)}, {right[way] / len(stickers):.0%}")
    return 0 if right["sample"] >= LEAST * len(stickers) else 1


if __name__ == "__main__":
    sys.exit(main())
