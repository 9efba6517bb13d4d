"""Pictures in any number, no two alike: shapes from seeds, and new colours for each picture.

A palette is 96 bytes of a file, so that a picture which nobody has seen, neither its bytes nor its
pixels, costs a few microseconds. Standard library alone.
"""

import random
import struct
import zlib

# Stickers are 512 x 512, most of them with nothing around a figure.
STICKER = 512, 512
PHOTO = 1024, 768
COLOURS = 32


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Shapes:
    """A figure of ellipses with a little grain, of which every palette makes another picture."""

    def __init__(self, seed, size=STICKER, see_through=True):
        chance = random.Random(seed)
        width, height = size
        rows = [bytearray(width) for _ in range(height)]
        for _ in range(24):
            x, y = chance.uniform(0.2, 0.8) * width, chance.uniform(0.2, 0.8) * height
            a, b = chance.uniform(0.03, 0.3) * width, chance.uniform(0.03, 0.3) * height
            colour = chance.randrange(1, COLOURS)
            for row in range(max(0, int(y - b)), min(height, int(y + b))):
                half = a * max(0.0, 1 - ((row - y) / b) ** 2) ** 0.5
                left, right = max(0, int(x - half)), min(width, int(x + half))
                rows[row][left:right] = bytes([colour]) * max(0, right - left)
        # Grain keeps the file as long as a sticker's is: 10 to 20 KB.
        for _ in range(width * height // 40):
            rows[chance.randrange(height)][chance.randrange(width)] = chance.randrange(1, COLOURS)
        pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 6)
        header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
        self.before = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        transparency = chunk(b"tRNS", b"\0") if see_through else b""
        self.after = transparency + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class Pictures:
    """As many as are asked for."""

    def __init__(self, seed, figures=200, size=STICKER, see_through=True):
        self.chance = random.Random(seed)
        self.figures = [Shapes(f"{seed} {at}", size, see_through) for at in range(figures)]

    def another(self):
        figure = self.chance.choice(self.figures)
        return figure.before + chunk(b"PLTE", self.chance.randbytes(3 * COLOURS)) + figure.after


def claims(width, height):
    """A PNG of a hundred bytes that says it is so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )
