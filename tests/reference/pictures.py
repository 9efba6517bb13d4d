"""Thirty different pictures, of every kind and shape that the service must read, made from seeds.

    python pictures.py DIR

Not kept in the repository: the same versions (requirements.txt) make the same files.
"""
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def scene(seed, size=None):
    """A picture of its own size, colours and shapes for every seed, RGB."""
    random = np.random.default_rng(seed)
    width, height = size or (int(side) for side in random.integers(180, 700, 2))
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    a, b, c, d = random.uniform(1, 14, 4)
    waves = [np.sin(a * x + b * y + k) * np.cos(c * y - d * x * y + k) for k in random.uniform(0, 6, 3)]
    low, high = sorted(random.uniform(0, 255, 2))
    pixels = np.stack([low + (high - low) * (0.5 + 0.5 * wave) for wave in waves], axis=-1)
    pixels += random.normal(0, random.uniform(0, 20), pixels.shape)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(2, 9))):
        box = random.uniform(0, 1, 4) * [width, height, width, height]
        left, right = sorted(box[::2])
        top, bottom = sorted(box[1::2])
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = [draw.ellipse, draw.rectangle, draw.arc, draw.line][int(random.integers(4))]
        outline = {} if shape in (draw.arc, draw.line) else {"outline": (0, 0, 0)}
        if shape == draw.arc:
            shape((left, top, right + 1, bottom + 1), 20, 290, fill=colour, width=9)
        else:
            shape((left, top, right + 1, bottom + 1), fill=colour, width=4, **outline)
    return image


def see_through(seed):
    image = scene(seed)
    width, height = image.size
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    alpha = np.clip(1.6 - 3 * np.hypot(x - 0.4, y - 0.4), 0, 1) * 255
    image.putalpha(Image.fromarray(alpha.astype(np.uint8), "L"))
    return image


def png16(samples, colour):
    """A 16-bit PNG; Pillow writes no 16-bit colour."""
    chunk = lambda kind, data: (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def pictures():
    """File name -> (media type, bytes)."""
    made = {}

    def add(name, media_type, data):
        made[f"{len(made) + 1:02}_{name}"] = (media_type, data)

    def save(image, format, **options):
        out = io.BytesIO()
        image.save(out, format, **options)
        return out.getvalue()

    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg, png, webp, gif = "image/jpeg", "image/png", "image/webp", "image/gif"
    add("baseline_420.jpg", jpeg, save(scene(1), "JPEG", quality=75))
    add("baseline_444.jpg", jpeg, save(scene(2), "JPEG", quality=92, subsampling="4:4:4"))
    add("progressive_420.jpg", jpeg, save(scene(3), "JPEG", quality=80, progressive=True))
    add("progressive_422.jpg", jpeg, save(scene(4), "JPEG", subsampling="4:2:2", progressive=True))
    add("gray.jpg", jpeg, save(scene(5).convert("L"), "JPEG"))
    add("cmyk.jpg", jpeg, save(scene(6).convert("CMYK"), "JPEG", quality=90))
    add("exif_orientation_6.jpg", jpeg, save(scene(7), "JPEG", quality=85, exif=turned.tobytes()))
    add("rgb.png", png, save(scene(8), "PNG"))
    add("rgba.png", png, save(see_through(9), "PNG"))
    add("palette.png", png, save(scene(10).quantize(48), "PNG"))
    add("palette_transparent.png", png, save(scene(11).quantize(48), "PNG", transparency=3))
    add("gray_16.png", png, png16(np.asarray(scene(12).convert("L")).astype(np.uint16) * 257, 0))
    add("rgb_16.png", png, png16(np.asarray(scene(13)).astype(np.uint16) * 257, 2))
    add("lossy.webp", webp, save(scene(14), "WEBP", quality=75))
    add("lossless.webp", webp, save(scene(15), "WEBP", lossless=True))
    add("alpha.webp", webp, save(see_through(16), "WEBP", quality=80))
    first, second = scene(17), scene(18).resize(scene(17).size)
    add("animated.webp", webp, save(first, "WEBP", save_all=True, append_images=[second], quality=70))
    add("plain.gif", gif, save(scene(19).quantize(128), "GIF"))
    first, second = scene(20), scene(21).resize(scene(20).size)
    add("animated.gif", gif, save(first.quantize(64), "GIF", save_all=True,
                                  append_images=[second.quantize(64)]))
    add("rgb.bmp", "image/bmp", save(scene(22), "BMP"))
    add("lzw.tiff", "image/tiff", save(scene(23), "TIFF", compression="tiff_lzw"))
    # A PNG whose name and declared type say JPEG.
    add("renamed.jpg", jpeg, save(scene(24), "PNG"))
    # Shapes: enlarged, panoramas of 20:1, twelve megapixels.
    add("one_pixel.png", png, save(scene(25, (1, 1)), "PNG"))
    add("small.png", png, save(scene(26, (50, 20)), "PNG"))
    add("wide.png", png, save(scene(27, (4000, 200)), "PNG"))
    add("tall.jpg", jpeg, save(scene(28, (150, 3000)), "JPEG", quality=85))
    add("twelve_megapixels.jpg", jpeg, save(scene(29, (4000, 3000)), "JPEG", quality=85))
    add("twelve_megapixels.webp", webp, save(scene(30, (3000, 4000)), "WEBP", quality=60, method=0))
    add("exact_side.png", png, save(scene(31, (256, 256)), "PNG"))
    add("gray_alpha.png", png, save(see_through(32).convert("LA"), "PNG"))
    return made


def write(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = pictures()
    for name, (_, data) in made.items():
        (folder / name).write_bytes(data)
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{len(write(sys.argv[1]))} pictures in {sys.argv[1]}")
