"""Renders the kinds of image that are not objects, with Pillow and numpy.

    python kinds.py --art DIR --set training|evaluation --per-kind N

Every kind has two generators written apart, with different layouts and, where there is text, other
fonts: `a_*` here for training, and those of `kinds_eval.py` (often matplotlib, pygments, python-barcode
or another codec) for the evaluation only. Pictures of objects use the training artwork in the first and Twemoji in the second.
"""
import argparse
import glob
import io
import json
import math
import random
import re
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

STORE = 64  # the side of what the model sees
VIEWS = 4  # cuts kept of each training picture
# Told by what was done to a picture, or by detail, and not by what it shows: these need more examples.
TWICE = {"pixel_art", "low_quality", "line_art", "code", "collage", "landscape", "handwriting", "board_game"}
R = random.Random()
ART = WORDS = None

F = "/usr/share/fonts/"
FONTS = {
    "a": {
        "sans": ["truetype/dejavu/DejaVuSans*.ttf", "truetype/liberation/LiberationSans-*.ttf", "truetype/roboto/unhinted/RobotoCondensed-*.ttf", "truetype/lato/Lato-[BR]*.ttf",
                 "truetype/quicksand/*.ttf", "opentype/cabin/Cabin-[BMR]*.otf"],
        "serif": ["truetype/dejavu/DejaVuSerif*.ttf", "truetype/liberation/LiberationSerif-*.ttf", "truetype/fonts-oldstandard/*.ttf", "truetype/vollkorn/Vollkorn-[BRM]*.ttf"],
        "mono": ["truetype/dejavu/DejaVuSansMono*.ttf", "truetype/firacode/*.ttf", "truetype/hack/*.ttf", "truetype/jetbrains-mono/*.ttf", "truetype/liberation/LiberationMono-*.ttf",
                 "opentype/fantasque-sans/LargeLineHeight/OTF/*.otf"],
        "hand": ["opentype/dancingscript/*.otf", "truetype/fifthhorseman/dkg.ttf", "truetype/kristi/*.ttf", "truetype/humor-sans/*.ttf", "opentype/bwht/*.otf",
                 "truetype/ecolier-court/*.ttf", "opentype/joscelyn/*.otf", "opentype/kaushanscript/*.otf", "truetype/klee/*.ttf", "truetype/tomsontalks/*.ttf"],
        "fat": ["opentype/league-spartan/LeagueSpartan-*.otf", "opentype/yanone-kaffeesatz/*-Bold.otf", "truetype/roboto/unhinted/RobotoCondensed-Bold.ttf", "truetype/lato/Lato-Black.ttf"],
        "display": ["opentype/lobster/*.otf", "truetype/comfortaa/*.ttf", "opentype/league-spartan/*.otf", "truetype/lato/Lato-Black.ttf", "opentype/yanone-kaffeesatz/*.otf"],
    },
    "b": {
        "sans": ["truetype/open-sans/OpenSans-[BRLS]*.ttf", "truetype/crosextra/*.ttf", "opentype/cantarell/*.otf", "fonts-go/Go-[BRM]*.ttf"],
        "serif": ["opentype/ebgaramond/EBGaramond12*.otf", "opentype/linux-libertine/LinLibertine_R*.otf"],
        "mono": ["truetype/inconsolata/*.otf", "truetype/anonymous-pro/*.ttf", "truetype/mononoki/*.ttf", "opentype/courier-prime/*.otf", "fonts-go/Go-Mono*.ttf"],
        "hand": ["truetype/femkeklaver/*.ttf", "truetype/breip/*.ttf", "truetype/rufscript/*.ttf"],
        "fat": ["opentype/bebas-neue/BebasNeue-Bold.otf", "truetype/open-sans/OpenSans-CondBold.ttf", "truetype/open-sans/OpenSans-ExtraBold.ttf"],
        "display": ["opentype/lobstertwo/*.otf", "opentype/play/*.otf", "opentype/bebas-neue/*.otf", "opentype/comic-neue/*Bold.otf"],
    },
}


@lru_cache(None)
def _files(which, family):
    out = [f for p in FONTS[which][family] for f in sorted(glob.glob(F + p))]
    assert out, (which, family)
    return out


@lru_cache(512)
def _font(path, size):
    return ImageFont.truetype(path, size)


def font(which, family, size, path=None):
    return _font(path or R.choice(_files(which, family)), int(size))


def words(n):
    return " ".join(R.choice(WORDS) for _ in range(n))


def rgb(lo=0, hi=255):
    return tuple(R.randint(lo, hi) for _ in range(3))


def hsv(h, s, v):
    import colorsys
    return tuple(int(255 * x) for x in colorsys.hsv_to_rgb(h % 1, s, v))


def palette(n):
    h, sp = R.random(), R.choice([.07, .15, 1 / n, .38])
    s, v = R.uniform(.35, .95), R.uniform(.55, .98)
    return [hsv(h + i * sp, min(1, s * R.uniform(.8, 1.1)), min(1, v * R.uniform(.75, 1.1))) for i in range(n)]


def paper():
    return R.choice([(255, 255, 255)] * 3 + [rgb(235, 255), rgb(15, 50), rgb(225, 250)])


def ink(bg):
    return rgb(0, 70) if sum(bg) > 380 else rgb(190, 255)


def canvas(bg=None, w=224, h=None):
    h = h or w
    bg = bg if bg is not None else paper()
    im = Image.new("RGB", (w, h), bg)
    return im, ImageDraw.Draw(im)


def size():
    w = R.randint(200, 280)
    return w, int(w * R.choice([1, 1, 1, .75, .8, 1.25]))


def sprite(px):
    i = R.randrange(len(ART[1]))
    r = ART[1][i]
    im = Image.fromarray(np.asarray(ART[0][i])).convert("RGBA")
    if r["mono"]:
        ch = R.choice([(0, 0, 0), rgb(0, 120)])
        im = Image.merge("RGBA", [*(Image.new("L", im.size, c) for c in ch), im.getchannel("A")])
    im = im.resize((px, px), Image.BICUBIC)
    if R.random() < .5:
        im = im.rotate(R.gauss(0, 12), Image.BICUBIC)
    return im, r["code"]


def smooth(w, h, cells=4, lo=0, hi=255):
    a = np.random.default_rng(R.getrandbits(32)).integers(lo, hi + 1, (cells, cells, 3)).astype(np.uint8)
    return Image.fromarray(a).resize((w, h), Image.BICUBIC)


def gradient(w, h, c0, c1, ang):
    y, x = np.mgrid[0:h, 0:w]
    t = x / w * math.cos(ang) + y / h * math.sin(ang)
    t = (t - t.min()) / (t.max() - t.min() + 1e-9)
    a = np.array(c0) * (1 - t[..., None]) + np.array(c1) * t[..., None]
    return Image.fromarray(a.astype(np.uint8))


def radial(w, h):
    y, x = np.mgrid[0:h, 0:w]
    t = np.clip(np.hypot(x / w - R.uniform(.3, .7), y / h - R.uniform(.3, .7)) * R.uniform(1, 1.8), 0, 1)[..., None]
    return Image.fromarray((np.array(rgb()) * (1 - t) + np.array(rgb()) * t).astype(np.uint8))


def scene(w, h, objects=1):
    """A background with one or more objects: what memes, collages and bad copies are made of."""
    r = R.random()
    bg = Image.new("RGB", (w, h), paper() if r < .3 else rgb()) if r < .5 else (
        gradient(w, h, rgb(), rgb(), R.uniform(0, 6.3)) if r < .68 else radial(w, h) if r < .84 else smooth(w, h, R.randint(2, 6)))
    code = None
    for k in range(objects):
        px = int(min(w, h) * (R.uniform(.6, .95) if objects == 1 else R.uniform(.3, .5)))
        im, code = sprite(px)
        x = (w - px) // 2 + int(R.uniform(-.1, .1) * w) if objects == 1 else R.randint(0, max(0, w - px))
        y = (h - px) // 2 + int(R.uniform(-.1, .1) * h) if objects == 1 else R.randint(0, max(0, h - px))
        bg.paste(im, (x, y), im)
    return bg, (code if objects == 1 else None)


def axes(d, x0, y0, x1, y1, c, f, ticks=True, grid=True, gc=(200, 200, 200)):
    if grid:
        for k in range(1, 6):
            y = y0 + (y1 - y0) * k / 6
            d.line([x0, y, x1, y], fill=gc)
    d.line([x0, y0, x0, y1], fill=c, width=2)
    d.line([x0, y1, x1, y1], fill=c, width=2)
    if ticks:
        for k in range(5):
            d.text((x0 - 18, y0 + (y1 - y0) * k / 5 - 4), str(R.randint(0, 99)), fill=c, font=f)
            d.text((x0 + (x1 - x0) * k / 5, y1 + 4), R.choice(WORDS)[:5], fill=c, font=f)


def chart_frame(which):
    w, h = size()
    im, d = canvas(None, w, h)
    bg = im.getpixel((0, 0))
    c = ink(bg)
    f = font(which, "sans", R.randint(8, 12))
    x0, y0, x1, y1 = R.randint(8, 34), R.randint(8, 36), w - R.randint(6, 30), h - R.randint(10, 30)
    if R.random() < .6:
        d.text((x0 + R.randint(0, 40), 3), words(R.randint(1, 3)), fill=c, font=font(which, "sans", R.randint(11, 17)))
        y0 = max(y0, 24)
    gc = tuple(int(.8 * b + .2 * k) for b, k in zip(bg, c))
    if R.random() < .35:  # a panel with a frame, ticks outside, grid both ways
        panel = R.choice([bg, bg, tuple(int(.92 * b + .08 * k) for b, k in zip(bg, c))])
        d.rectangle([x0, y0, x1, y1], fill=panel, outline=c if R.random() < .7 else gc)
        m, k = R.randint(3, 8), R.randint(3, 8)
        g = R.choice([None, gc, bg])
        for j in range(m + 1):
            x = x0 + (x1 - x0) * (j + .5) / (m + 1)
            if g:
                d.line([x, y0 + 1, x, y1 - 1], fill=g)
            d.line([x, y1, x, y1 + 3], fill=c)
            d.text((x, y1 + 4), str(j * R.choice([1, 2, 5])), fill=c, font=f, anchor="ma")
        for j in range(k + 1):
            y = y0 + (y1 - y0) * (j + .5) / (k + 1)
            if g:
                d.line([x0 + 1, y, x1 - 1, y], fill=g)
            d.line([x0 - 3, y, x0, y], fill=c)
            d.text((x0 - 4, y), str((k - j) * R.choice([1, 10])), fill=c, font=f, anchor="rm")
    elif R.random() < .88:
        axes(d, x0, y0, x1, y1, c, f, R.random() < .7, R.random() < .55, gc)
    return im, d, (x0, y0, x1, y1), c


def a_bar_chart():
    im, d, (x0, y0, x1, y1), c = chart_frame("a")
    n, groups = R.randint(3, 12), R.choice([1, 1, 1, 2, 3])
    cols = palette(max(groups, 1)) if groups > 1 or R.random() < .6 else palette(n)
    gap = R.uniform(.1, .5)
    horiz = R.random() < .25
    trend = R.choice([0, 0, 1, -1])
    for i in range(n):
        base = .15 + .8 * R.random() if not trend else .15 + .75 * ((i + .5) / n if trend > 0 else 1 - (i + .5) / n) * R.uniform(.8, 1.1)
        stack = R.random() < .15
        for g in range(groups):
            v = min(.98, base * R.uniform(.5, 1.1) if groups > 1 else base)
            col = cols[(g if groups > 1 else i) % len(cols)]
            if horiz:
                s = (y1 - y0) / n
                a = y0 + s * (i + gap / 2 + (1 - gap) * g / groups)
                d.rectangle([x0 + 1, a, x0 + 1 + (x1 - x0) * v, a + s * (1 - gap) / groups - 1], fill=col)
            else:
                s = (x1 - x0) / n
                a = x0 + s * (i + gap / 2 + (1 - gap) * g / groups)
                d.rectangle([a, y1 - (y1 - y0) * v, max(a, a + s * (1 - gap) / groups - 1), y1 - 1], fill=col, outline=c if stack else None)
    return im, None


def a_pie_chart():
    w, h = size()
    im, d = canvas(None, w, h)
    bg = im.getpixel((0, 0))
    c = ink(bg)
    n = R.randint(2, 8)
    v = [R.uniform(.3, 2) for _ in range(n)]
    cols = palette(n)
    r = min(w, h) * R.uniform(.28, .45)
    cx, cy = w / 2 + R.uniform(-.1, .1) * w, h / 2 + R.uniform(-.04, .08) * h
    a = R.uniform(0, 360)
    edge = R.choice([None, bg, bg, c])
    around = font("a", "sans", R.randint(8, 12)) if R.random() < .4 else None
    if around:
        r *= .85
    for k in range(n):
        b = a + 360 * v[k] / sum(v)
        off = r * .08 if R.random() < .12 else 0
        m = math.radians((a + b) / 2)
        ox, oy = off * math.cos(m), off * math.sin(m)
        d.pieslice([cx - r + ox, cy - r + oy, cx + r + ox, cy + r + oy], a, b, fill=cols[k], outline=edge, width=2)
        if R.random() < .5:
            t = f"{R.randint(2, 60)}%"
            d.text((cx + r * .62 * math.cos(m) - 8, cy + r * .62 * math.sin(m) - 5), t, fill=ink(cols[k]), font=font("a", "sans", 10))
        if around:
            d.text((cx + r * 1.12 * math.cos(m), cy + r * 1.12 * math.sin(m)), R.choice(WORDS)[:8], fill=c, font=around, anchor="lm" if math.cos(m) > 0 else "rm")
        a = b
    if R.random() < .35:
        q = r * R.uniform(.4, .7)
        d.ellipse([cx - q, cy - q, cx + q, cy + q], fill=bg)
    if R.random() < .5:
        f = font("a", "sans", 9)
        for k in range(n):
            d.rectangle([4, 6 + 13 * k, 12, 14 + 13 * k], fill=cols[k])
            d.text((15, 5 + 13 * k), R.choice(WORDS)[:7], fill=c, font=f)
    return im, None


def a_line_chart():
    im, d, (x0, y0, x1, y1), c = chart_frame("a")
    for col in palette(R.choice([1, 1, 2, 3, 4])):
        n = R.choice([8, 12, 20, 60, 120])
        t = np.linspace(0, 1, n)
        rg = np.random.default_rng(R.getrandbits(32))
        y = R.choice([
            lambda: np.cumsum(rg.normal(size=n)), lambda: np.sin(t * R.uniform(4, 25) + R.random() * 6) * (1 + R.choice([0, -.8]) * t),
            lambda: t ** R.uniform(.4, 3) + rg.normal(size=n) * .04, lambda: -t + rg.normal(size=n) * .12, lambda: np.exp(-t * 5) + rg.normal(size=n) * .02,
        ])()
        y = (y - y.min()) / (np.ptp(y) + 1e-6)
        lo, hi = sorted((R.uniform(0, .3), R.uniform(.6, 1)))
        p = [(x0 + (x1 - x0) * a, y1 - (y1 - y0) * (lo + (hi - lo) * b)) for a, b in zip(t, y)]
        if R.random() < .15:
            d.polygon([(x0, y1)] + p + [(x1, y1)], fill=tuple((k + 2 * b) // 3 for k, b in zip(col, im.getpixel((1, 1)))))
        d.line(p, fill=col, width=R.choice([1, 2, 2, 3, 4]), joint="curve")
        if n <= 20 and R.random() < .6:
            for a, b in p:
                d.ellipse([a - 3, b - 3, a + 3, b + 3], fill=col)
    return im, None


def a_scatter_plot():
    im, d, (x0, y0, x1, y1), c = chart_frame("a")
    for col in palette(R.choice([1, 1, 2, 3])):
        n = R.randint(15, 150)
        cx, cy, s, k = R.uniform(.3, .7), R.uniform(.3, .7), R.uniform(.06, .25), R.uniform(-1.2, 1.2)
        q = R.choice([1, 1.5, 1.5, 2, 2, 3, 4])
        mark = R.choice(["o", "o", "o", "s", "x", "t"])
        for _ in range(n):
            a = R.gauss(0, s)
            b = k * a + R.gauss(0, s * R.uniform(.3, 1))
            x, y = x0 + (x1 - x0) * (cx + a), y1 - (y1 - y0) * (cy + b)
            if x0 < x < x1 and y0 < y < y1:
                if mark == "x":
                    d.line([x - q, y - q, x + q, y + q], fill=col)
                    d.line([x - q, y + q, x + q, y - q], fill=col)
                elif mark == "t":
                    d.polygon([(x, y - q - 1), (x - q - 1, y + q), (x + q + 1, y + q)], fill=col)
                else:
                    (d.ellipse if mark == "o" else d.rectangle)([x - q, y - q, x + q, y + q], fill=col)
    return im, None


def a_table():
    w, h = size()
    im, d = canvas(None, w, h)
    bg = im.getpixel((0, 0))
    c = ink(bg)
    rows, cols = R.randint(4, 14), R.randint(2, 7)
    m = R.randint(0, 18)
    f = font("a", R.choice(["sans", "sans", "serif", "mono"]), min(14, max(7, (h - 2 * m) / rows * .6)))
    rh, cw = (h - 2 * m) / rows, (w - 2 * m) / cols
    head, zebra = R.choice(palette(3) + [bg]), R.random() < .4
    grid = R.choice(["all", "all", "rows", "all"])
    lc = tuple((2 * a + b) // 3 for a, b in zip(bg, c)) if R.random() < .6 else c
    for r in range(rows):
        y = m + r * rh
        if r == 0 and head != bg:
            d.rectangle([m, y, w - m, y + rh], fill=head)
        elif zebra and r % 2:
            d.rectangle([m, y, w - m, y + rh], fill=tuple((9 * a + b) // 10 for a, b in zip(bg, c)))
        for k in range(cols):
            t = R.choice(WORDS)[:max(2, int(cw / 7))] if r == 0 or k == 0 else str(R.randint(0, 9999))[:max(2, int(cw / 7))]
            d.text((m + k * cw + 4, y + rh * .15), t, fill=ink(head) if r == 0 and head != bg else c, font=f)
        d.line([m, y, w - m, y], fill=lc)
    d.line([m, h - m, w - m, h - m], fill=lc)
    if grid == "all":
        for k in range(cols + 1):
            d.line([m + k * cw, m, m + k * cw, h - m], fill=lc)
    return im, None


def lines(d, text, f, width):
    out, cur = [], ""
    for w in text.split():
        t = (cur + " " + w).strip()
        if d.textlength(t, font=f) > width and cur:
            out.append(cur)
            cur = w
        else:
            cur = t
    return out + [cur]


def a_text_image():
    w, h = size()
    r = R.random()
    im = Image.new("RGB", (w, h), rgb() if r < .5 else paper()) if r < .7 else gradient(w, h, rgb(), rgb(), R.uniform(0, 6))
    d = ImageDraw.Draw(im)
    c = ink(im.getpixel((w // 2, h // 2)))
    s = R.randint(18, 46)
    f = font("a", R.choice(["sans", "serif", "display", "fat"]), s)
    text = words(R.choice([1, 2, 3, 4, 6, 9]))
    if R.random() < .4:
        text = text.upper()
    ls = lines(d, text, f, w * .9)[: max(1, int(h * .9 / (s * 1.2)))]
    y = (h - len(ls) * s * 1.2) / 2
    for t in ls:
        d.text(((w - d.textlength(t, font=f)) / 2 if R.random() < .9 else 10, y), t, fill=c, font=f)
        y += s * 1.2
    return im, None


def scribble(d, x, y, s, c, width, slant, wd):
    """A word that no font has: loops and strokes between the lines, as a pen goes."""
    p = [(x, y + s * .6)]
    for _ in range(R.randint(3, 9) * 2):
        x += s * R.uniform(.08, .26)
        r = R.random()
        v = R.uniform(-.2, .1) if r < .15 else R.uniform(.8, 1.15) if r < .27 else R.uniform(.3, .7)
        p.append((x + slant * (.6 - v) * s, y + v * s))
        if R.random() < .3:
            p.append((p[-1][0] - s * R.uniform(.05, .2), p[-1][1] + s * R.uniform(-.1, .15)))
    q = [p[0]]
    for a, b, e in zip(p, p[1:], p[2:]):  # rounded corners
        for t in (.25, .5, .75):
            m0 = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            m1 = ((b[0] + e[0]) / 2, (b[1] + e[1]) / 2)
            q.append(((1 - t) ** 2 * m0[0] + 2 * t * (1 - t) * b[0] + t * t * m1[0], (1 - t) ** 2 * m0[1] + 2 * t * (1 - t) * b[1] + t * t * m1[1]))
    d.line(q, fill=c, width=wd, joint="curve")
    return x


def a_handwriting():
    w, h = size()
    bg = R.choice([(255, 255, 255)] * 3 + [rgb(225, 255), (250, 245, 220), (255, 250, 180)])
    im, d = canvas(bg, w, h)
    s = R.randint(13, 36)
    path = R.choice(_files("a", "hand") * 3 + _files("a", "sans")[:4])
    pen = R.random()  # a font as it is, a font letter by letter, a pen
    letters = pen < .5 or "hand" not in path and "kristi" not in path and "script" not in path and "humor" not in path
    f = font("a", "hand", s, path)
    c = R.choice([(20, 30, 120), (10, 10, 20), (40, 40, 50), (150, 20, 20), (20, 60, 160), rgb(0, 110)])
    rule = (170, 195, 230) if R.random() < .7 else rgb(190, 240)
    step = int(s * R.uniform(1.05, 1.4))
    r = R.random()
    if r < .3:
        for y in range(R.randint(5, 30), h, step):
            d.line([0, y, w, y], fill=rule)
    elif r < .45:
        g = R.randint(9, 24)
        for k in range(0, max(w, h), g):
            d.line([0, k, w, k], fill=rule)
            d.line([k, 0, k, h], fill=rule)
    y = R.randint(2, 30)
    left, ragged, slant = R.randint(2, 26), R.uniform(0, 14), R.uniform(-.1, .6)
    wd = R.choice([1, 1, 2, 2, 3])
    while y < h - s * .7:
        x = left + R.uniform(0, ragged)
        stop = w * (R.uniform(.4, 1.15) if R.random() < .3 else 1.1)
        dy = R.uniform(-.04, .04)
        while x < stop:
            if pen > .72:
                x = scribble(d, x, y, s, c, w, slant, wd) + s * R.uniform(.35, .6)
                continue
            word = words(1) + " "
            if letters:
                for ch in word:
                    d.text((x, y + R.gauss(0, s * .045) + dy * x), ch, fill=c, font=f)
                    x += d.textlength(ch, font=f) * R.uniform(.85, 1.02)
            else:
                d.text((x, y + R.uniform(-1.5, 1.5) + dy * x), word, fill=c, font=f)
                x += d.textlength(word, font=f)
        y += step * R.uniform(.95, 1.08)
        if R.random() < .05:
            break
    if R.random() < .5:  # slanted
        k = R.uniform(-.1, .35)
        im = im.transform(im.size, Image.AFFINE, (1, k, -k * h / 2, 0, 1, 0), Image.BICUBIC, fillcolor=bg)
    return im.rotate(R.gauss(0, 2), Image.BICUBIC, fillcolor=bg), None


def caption(im, which, y, text, s, fill=(255, 255, 255), stroke=(0, 0, 0)):
    d = ImageDraw.Draw(im)
    f = font(which, "fat", s)
    for t in lines(d, text, f, im.width * .95)[:2]:
        d.text(((im.width - d.textlength(t, font=f)) / 2, y), t, fill=fill, font=f, stroke_width=2 if stroke else 0, stroke_fill=stroke)
        y += s * 1.1


def a_meme():
    w, h = size()
    im, code = scene(w, h, R.choice([1, 1, 1, 2]))
    s = R.randint(20, 34)
    r = R.random()
    if r < .65:
        where = R.choice(["both", "both", "bottom", "top"])
        if where != "bottom":
            caption(im, "a", 4, words(R.randint(2, 4)).upper(), s)
        if where != "top":
            caption(im, "a", h - s * 1.5 - R.choice([0, s]), words(R.randint(2, 3)).upper(), s)
    else:
        out = Image.new("RGB", (w, h + int(s * 2.4)), (255, 255, 255))
        out.paste(im, (0, int(s * 2.4)))
        caption(out, "a", 3, words(R.randint(4, 7)), int(s * .8), (0, 0, 0), None)
        im = out
    return im, code


def a_chat():
    w, h = R.randint(170, 230), R.randint(210, 300)
    dark = R.random() < .35
    bg = R.choice([(229, 221, 213), (255, 255, 255), (240, 242, 245), rgb(215, 245)]) if not dark else R.choice([(15, 20, 25), (30, 30, 40), (11, 20, 26)])
    im, d = canvas(bg, w, h)
    me = R.choice([(220, 248, 198), (0, 132, 255), (37, 211, 102), rgb(80, 230)])
    you = (255, 255, 255) if not dark else (45, 50, 58)
    if you == bg:
        you = (232, 232, 236)
    f = font("a", "sans", R.randint(9, 13))
    y = R.randint(4, 14)
    faces = R.choice([0, 0, 1, 2])
    if R.random() < .5:
        hd = R.choice([(7, 94, 84), (255, 255, 255), (30, 30, 30), rgb()])
        d.rectangle([0, 0, w, 26], fill=hd)
        d.ellipse([6, 4, 24, 22], fill=rgb())
        d.text((30, 7), words(1), fill=ink(hd), font=f)
        y = 34
    while y < h - 20:
        mine = R.random() < .5
        mw = R.randint(int(w * .3), int(w * .7))
        ls = lines(d, words(R.randint(1, 9)), f, mw - 14)
        bw = max(d.textlength(t, font=f) for t in ls) + 16
        bh = len(ls) * 14 + 8
        x = w - bw - 6 if mine else 6
        col = me if mine else you
        if not mine and faces:
            x += 22
            d.ellipse([3, y + bh - 20, 21, y + bh - 2] if faces == 1 else [3, y, 21, y + 18], fill=palette(1)[0])
        d.rounded_rectangle([x, y, x + bw, y + bh], R.randint(4, 14), fill=col)
        for k, t in enumerate(ls):
            d.text((x + 8, y + 4 + 14 * k), t, fill=ink(col), font=f)
        y += bh + R.randint(4, 12)
    if R.random() < .6:
        d.rounded_rectangle([6, h - 22, w - 30, h - 4], 9, fill=you)
        d.ellipse([w - 25, h - 22, w - 6, h - 3], fill=me)
    return im, None


def a_terminal():
    w, h = size()
    bg = R.choice([(0, 0, 0), (12, 12, 12), (30, 30, 30), (48, 10, 36), (0, 43, 54), (20, 22, 40)])
    im, d = canvas(bg, w, h)
    s = R.randint(8, 13)
    f = font("a", "mono", s)
    cols = [(204, 204, 204)] * 5 + [(0, 220, 0), (80, 200, 255), (255, 200, 60), (255, 90, 90)]
    base = R.choice([(204, 204, 204), (0, 230, 0), (230, 230, 230), (255, 176, 0)])
    y = 4
    if R.random() < .45:
        d.rectangle([0, 0, w, 16], fill=rgb(50, 220))
        for k, c in enumerate([(255, 95, 86), (255, 189, 46), (39, 201, 63)]):
            d.ellipse([6 + 14 * k, 4, 14 + 14 * k, 12], fill=c)
        y = 20
    stop, coloured = h * R.uniform(.5, 1.1), R.choice([0, .1, .3])
    while y < min(h, stop):
        if R.random() < .35:
            p = R.choice(["$ ", "> ", "user@host:~$ ", "# ", "~ % ", "C:\\> "])
            d.text((4, y), p, fill=R.choice(cols), font=f)
            d.text((4 + d.textlength(p, font=f), y), words(R.randint(1, 3)), fill=base, font=f)
        elif R.random() < .85:
            d.text((4, y), R.choice(["", "-rw-r--r-- ", "[ok] ", "  ", "drwx ", "12:04 "]) + words(R.randint(1, 5)) + R.choice(["", " 1024", "/", ".txt"]), fill=R.choice(cols) if R.random() < coloured else base, font=f)
        y += s * 1.25
    if R.random() < .5:
        d.rectangle([8, y, 8 + s * .6, y + s], fill=base)
    return im, None


@lru_cache(None)
def sources():
    """Lines of this project's own source files."""
    here = Path(__file__).resolve().parent
    return [f.read_text().split("\n") for f in sorted([*here.glob("*.py"), *here.glob("*.c"), *here.parent.rglob("*.rs")]) if f.name != "kinds_eval.py"]


PIECES = re.compile(r"(?P<comment>(#|//|--).*)|(?P<string>\"[^\"]*\"?|'[^']*')|(?P<number>\b\d[\w.]*)|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<other>.)")
KEYWORDS = set("def return if else elif for fn let mut const static import from class while pub use impl struct enum match int float void in as with assert lambda "
               "self Self None True False not and or try except raise mod where async await type trait yield".split())


def real_code():
    """A stretch of real source, in the colours of some editor."""
    src = R.choice(sources())
    n = R.randint(6, 34)
    at = R.randrange(max(1, len(src) - n))
    text = [t.rstrip() for t in src[at:at + n]]
    short = min((len(t) - len(t.lstrip()) for t in text if t), default=0)
    text = [t[short:] for t in text]
    if R.random() < .3:
        text = [t.replace("    ", "  ") for t in text]
    s = R.randint(8, 17)
    f = font("a", "mono", s)
    lead = s * R.uniform(1.15, 1.5)
    cw = f.getlength("m")
    nums, pad = R.random() < .5, R.randint(3, 14)
    gutter = cw * R.randint(3, 4) + 6 if nums else 0
    wide = max(map(len, text)) * cw + gutter + 2 * pad
    if R.random() < .5:
        w, h = size()
    else:  # as large as the text asks, within bounds
        w, h = int(min(max(wide, 120), R.randint(220, 420))), int(min(max(n * lead + 2 * pad, 100), R.randint(200, 380)))
    dark = R.random() < .6
    bg = R.choice([(30, 30, 30), (40, 42, 54), (39, 40, 34), (0, 43, 54), (13, 17, 23), rgb(10, 60)]) if dark else R.choice(
        [(255, 255, 255), (255, 255, 255), (250, 250, 250), (253, 246, 227), rgb(236, 255), (240, 240, 240)])
    im, d = canvas(bg, w, h)
    v, h0 = ((.75, 1) if dark else (.25, .65)), R.random()
    colour = {k: hsv(h0 + R.random(), R.uniform(.3, 1), R.uniform(*v)) for k in ("string", "number", "keyword", "call")}
    base = ink(bg)
    colour["comment"] = R.choice([tuple((a + b) // 2 for a, b in zip(bg, base)), hsv(R.uniform(.25, .45), .6, .5 if not dark else .65)])
    for k in ("number", "call"):
        if R.random() < .35:
            colour[k] = base
    y, top = pad, 0
    if R.random() < .2:  # a window
        top = R.randint(14, 22)
        d.rectangle([0, 0, w, top], fill=tuple((9 * a + b) // 10 for a, b in zip(bg, base)))
        for k, c in enumerate([(255, 95, 86), (255, 189, 46), (39, 201, 63)]):
            d.ellipse([6 + 13 * k, top / 2 - 4, 14 + 13 * k, top / 2 + 4], fill=c)
        y += top
    if nums and R.random() < .45:
        d.rectangle([0, top, gutter - 2, h], fill=tuple((9 * a + b) // 10 for a, b in zip(bg, base)))
    first = R.choice([1, 1, at + 1])
    for k, line in enumerate(text):
        if y > h:
            break
        if nums:
            d.text((gutter - 4, y), str(first + k), fill=tuple((a + b) // 2 for a, b in zip(bg, base)), font=f, anchor="ra")
        for piece in PIECES.finditer(line):
            kind, t = piece.lastgroup, piece.group()
            if kind == "word":
                kind = "keyword" if t in KEYWORDS else "call" if line[piece.end():piece.end() + 1] == "(" else "word"
            if kind != "space":
                d.text((pad + gutter + piece.start() * cw, y), t, fill=colour.get(kind, base), font=f)
        y += lead
    return im, None


def a_code():
    if R.random() < .65:
        return real_code()
    w, h = size()
    dark = R.random() < .65
    bg = R.choice([(30, 30, 30), (40, 42, 54), (39, 40, 34), (0, 43, 54), (13, 17, 23)]) if dark else R.choice([(255, 255, 255), (250, 250, 250), (253, 246, 227)])
    im, d = canvas(bg, w, h)
    s = R.randint(8, 13)
    f = font("a", "mono", s)
    v = (.75, 1) if dark else (.3, .6)
    h0 = R.random()
    kw, st, fn, num, com = [hsv(h0 + R.random(), R.uniform(.35, .95), R.uniform(*v)) for _ in range(5)]
    base = ink(bg)
    if R.random() < .4:
        com = tuple((a + b) // 2 for a, b in zip(bg, base))
    if R.random() < .35:
        fn = base
    cw = d.textlength("m", font=f)
    x0 = 6
    nums = R.random() < .55
    lead, stop = R.uniform(1.15, 1.5), h * R.choice([.55, .75, 2, 2, 2])
    if nums:
        x0 = 30
        if R.random() < .4:
            d.rectangle([0, 0, 26, h], fill=tuple((9 * a + b) // 10 for a, b in zip(bg, ink(bg))))
    y, ind, k = 4, 0, R.randint(1, 200)
    K = ["def", "return", "if", "else", "for", "fn", "let", "const", "import", "class", "while", "pub", "int", "var", "function", "match", "void"]
    while y < h:
        if nums:
            d.text((4, y), str(k), fill=tuple((a + b) // 2 for a, b in zip(bg, base)), font=f)
        k += 1
        if R.random() > .12:
            x = x0 + ind * cw * 2
            if R.random() < .12:
                d.text((x, y), R.choice(["# ", "// "]) + words(R.randint(2, 4)), fill=com, font=f)
            else:
                for t, c in R.choice([
                    [(R.choice(K) + " ", kw), (R.choice(WORDS), fn), ("(" + R.choice(WORDS)[:5] + ")", base), (R.choice([":", " {", ""]), base)],
                    [(R.choice(WORDS), base), (" = ", base), ('"' + words(1) + '"', st), (R.choice([";", ""]), base)],
                    [(R.choice(K) + " ", kw), (R.choice(WORDS)[:6], base), (" = ", kw), (str(R.randint(0, 999)), num), (";", base)],
                    [(R.choice(WORDS) + ".", base), (R.choice(WORDS)[:7], fn), ("(", base), (R.choice(WORDS)[:5], base), (", ", base), (str(R.randint(0, 99)), num), (")", base)],
                    [(R.choice(["}", "end", ")", "return"]), kw)],
                ]):
                    d.text((x, y), t, fill=c, font=f)
                    x += d.textlength(t, font=f)
            ind = max(0, min(5, ind + R.choice([-1, 0, 0, 1, 1] if ind < 2 else [-1, -1, 0, 0, 1])))
        y += s * lead
        if y > stop:
            break
    return im, None


def a_document():
    w = R.randint(190, 240)
    h = int(w * R.uniform(1, 1.4))
    bg = R.choice([(255, 255, 255)] * 3 + [rgb(235, 252), (245, 240, 225)])
    im, d = canvas(bg, w, h)
    fam = R.choice(["serif", "serif", "sans"])
    s = R.randint(6, 10)
    f = font("a", fam, s)
    m = R.randint(8, 28)
    c = rgb(0, 60)
    y = m
    if R.random() < .65:
        t = words(R.randint(2, 4))
        g = font("a", fam, s * R.uniform(1.5, 2.2))
        d.text((m if R.random() < .5 else max(m, (w - d.textlength(t, font=g)) / 2), y), t, fill=c, font=g)
        y += s * 3
    cols = R.choice([1, 1, 1, 2])
    top = y
    for k in range(cols):
        y = top
        cw = (w - 2 * m - (cols - 1) * 8) / cols
        x = m + k * (cw + 8)
        while y < h - m:
            for t in lines(d, words(R.randint(10, 40)), f, cw):
                if y > h - m:
                    break
                d.text((x, y), t, fill=c, font=f)
                y += s * 1.3
            y += s * R.choice([0, .7, 1])
    return (im.rotate(R.gauss(0, 2), Image.BICUBIC, fillcolor=bg) if R.random() < .3 else im), None


def a_qr_code():
    import qrcode
    q = qrcode.QRCode(version=R.randint(1, 7), error_correction=R.randint(0, 3), border=R.randint(1, 4), box_size=8)
    q.add_data(words(R.randint(1, 4))[:20])
    q.make(fit=True)
    fg, bg = R.choice([((0, 0, 0), (255, 255, 255))] * 3 + [(rgb(0, 110), rgb(220, 255)), ((255, 255, 255), (0, 0, 0))])
    im = q.make_image(fill_color=fg, back_color=bg).convert("RGB")
    s = R.randint(150, 224)
    im = im.resize((s, s), Image.BOX)
    if R.random() < .4:
        w = R.randint(s, int(s * 1.5))
        o = Image.new("RGB", (w, w), rgb())
        o.paste(im, (R.randint(0, w - s), R.randint(0, w - s)))
        im = o
    if R.random() < .15:
        sp, _ = sprite(im.width // 5)
        im.paste(sp, ((im.width - sp.width) // 2,) * 2, sp)
    return im, None


def a_barcode():
    w = R.randint(180, 260)
    h = int(w * R.uniform(.5, 1))
    bg = R.choice([(255, 255, 255)] * 3 + [rgb(215, 255)])
    im, d = canvas(bg, w, h)
    x, m = R.randint(4, 30), R.randint(4, 40)
    u = R.uniform(1.2, 3)
    end = w - x
    c = R.choice([(0, 0, 0)] * 3 + [rgb(0, 80)])
    bottom = h - m - (14 if R.random() < .7 else 0)
    while x < end:
        a = u * R.randint(1, 4)
        d.rectangle([x, m, max(x, min(end, x + a) - 1), bottom], fill=c)
        x += a + u * R.randint(1, 3)
    if bottom < h - m:
        d.text((w * .2, bottom + 1), " ".join(str(R.randint(0, 9)) for _ in range(12)), fill=c, font=font("a", "mono", 11))
    return im, None


def a_logo():
    w, h = size()
    im, d = canvas(R.choice([(255, 255, 255), (255, 255, 255), paper(), rgb()]), w, h)
    bg = im.getpixel((0, 0))
    cols = [c for c in palette(4) if abs(sum(c) - sum(bg)) > 120] or [ink(bg)]
    c = cols[0]
    cx, cy, r = w / 2, h * R.uniform(.33, .45), min(w, h) * R.uniform(.18, .3)
    k = R.choice(["ring", "poly", "hole", "letters", "bars", "arcs", "shield", "dots", "wedge", "chevron"])
    if k == "ring":
        d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=c, width=R.randint(6, 18))
        d.ellipse([cx - r / 3, cy - r / 3, cx + r / 3, cy + r / 3], fill=cols[-1])
    elif k == "poly":
        n = R.randint(3, 7)
        a0 = R.random() * 6
        d.polygon([(cx + r * math.cos(a0 + 6.283 * i / n), cy + r * math.sin(a0 + 6.283 * i / n)) for i in range(n)], fill=c)
        d.text((cx, cy), R.choice(WORDS)[0].upper(), fill=bg, font=font("a", "display", r), anchor="mm")
    elif k == "hole":
        n, q = R.randint(3, 8), r * R.uniform(.35, .6)
        d.regular_polygon((cx, cy, r), n, R.randint(0, 90), fill=c)
        d.regular_polygon((cx, cy, q), R.choice([n, 3, 4, 6]), R.randint(0, 90), fill=bg)
    elif k == "dots":
        n, q = R.randint(3, 9), r * R.uniform(.3, .5)
        for i in range(n):
            t = 6.283 * i / n
            d.ellipse([cx + r * .7 * math.cos(t) - q, cy + r * .7 * math.sin(t) - q, cx + r * .7 * math.cos(t) + q, cy + r * .7 * math.sin(t) + q], fill=cols[i % len(cols)])
    elif k == "wedge":
        t = R.uniform(0, 360)
        d.pieslice([cx - r, cy - r, cx + r, cy + r], t, t + R.uniform(180, 320), fill=c)
        q = r * R.uniform(.2, .45)
        d.ellipse([cx + r * .4 - q, cy - q, cx + r * .4 + q, cy + q], fill=R.choice(cols + [bg]))
    elif k == "chevron":
        for i in range(R.randint(1, 3)):
            o, q = i * r * .55, r * R.uniform(.3, .5)
            d.polygon([(cx - r, cy + r * .4 + o), (cx, cy - r + o), (cx + r, cy + r * .4 + o), (cx + r, cy + r * .4 + q + o), (cx, cy - r + q + o), (cx - r, cy + r * .4 + q + o)], fill=cols[i % len(cols)])
    elif k == "letters":
        (d.rounded_rectangle if R.random() < .5 else d.ellipse)([cx - r, cy - r, cx + r, cy + r], fill=c)
        d.text((cx, cy), "".join(R.choice(WORDS)[0].upper() for _ in range(R.randint(1, 2))), fill=bg, font=font("a", "display", r), anchor="mm")
    elif k == "bars":
        for i in range(3):
            d.polygon([(cx - r + i * r * .7, cy + r), (cx - r + i * r * .7 + r * .4, cy + r), (cx - r * .6 + i * r * .7 + r * .4, cy - r), (cx - r * .6 + i * r * .7, cy - r)], fill=cols[i % len(cols)])
    elif k == "arcs":
        for i in range(3):
            q = r * (1 - .28 * i)
            d.arc([cx - q, cy - q, cx + q, cy + q], R.uniform(0, 360), R.uniform(400, 640), fill=cols[i % len(cols)], width=int(r * .16))
    else:
        d.polygon([(cx - r, cy - r), (cx + r, cy - r), (cx + r, cy + r * .2), (cx, cy + r * 1.2), (cx - r, cy + r * .2)], fill=c)
        d.text((cx, cy - r * .1), R.choice(WORDS)[0].upper(), fill=bg, font=font("a", "display", r), anchor="mm")
    name = R.choice(WORDS).split()[0][:9]
    name = R.choice([name.upper(), name.capitalize(), name])
    s = R.randint(22, 40)
    f = font("a", "display", s)
    while d.textlength(name, font=f) > w * .95 and s > 10:
        s -= 3
        f = font("a", "display", s)
    d.text((cx, h * .8), name, fill=c if R.random() < .6 else ink(bg), font=f, anchor="mm")
    return im, None


def a_pixel_art():
    if R.random() < .7:  # a whole picture in few cells
        im, code = scene(224, 224, R.choice([1, 1, 1, 2]))
        n = R.choice([R.randint(14, 40), R.randint(20, 36)])
        im = im.resize((n, n), R.choice([Image.BOX, Image.NEAREST, Image.BILINEAR, Image.LANCZOS]))
        r = R.random()
        if r < .4:
            im = im.quantize(R.choice([4, 6, 8, 12, 16, 24])).convert("RGB")
        elif r < .85:
            q, up = R.choice([24, 32, 48, 64, 85]), R.choice([0, .5])
            im = im.point(lambda v: min(255, int(v / q + up) * q))
        k = R.randint(6, 10)
        return im.resize((n * k, n * k), Image.NEAREST), code
    n = R.choice([16, 20, 24, 28, 32])
    bg = R.choice([(255, 255, 255), (0, 0, 0), rgb(), rgb(), paper()])
    im = Image.new("RGB", (n, n), bg)
    sp, code = sprite(int(n * R.uniform(.8, 1)))
    sp = sp.convert("RGBA")
    a = sp.getchannel("A").point(lambda v: 255 if v > 110 else 0)
    im.paste(sp.convert("RGB"), ((n - sp.width) // 2,) * 2, a)
    if R.random() < .6:
        im = im.quantize(R.choice([4, 6, 8, 12])).convert("RGB")
    if R.random() < .25:
        d = ImageDraw.Draw(im)
        d.rectangle([0, n - R.randint(2, 5), n, n], fill=rgb())
    return im.resize((224, 224), Image.NEAREST), code


def a_line_art():
    w = 224
    sp, code = sprite(R.randint(170, 220))
    im = Image.new("RGB", (w, w), (255, 255, 255))
    im.paste(sp, ((w - sp.width) // 2,) * 2, sp)
    r = R.random()
    if r < .3:  # where neighbours differ, as a fine pen would trace it
        k = R.choice([3, 3, 5])
        soft = im.filter(ImageFilter.GaussianBlur(R.uniform(.4, 1.2)))
        e = np.asarray(ImageChops.difference(soft.filter(ImageFilter.MaxFilter(k)), soft.filter(ImageFilter.MinFilter(k))), np.float32).max(2)
        m = Image.fromarray(np.where(e > R.uniform(24, 60), R.choice([0, 0, 50]), 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(R.uniform(.2, .9)))
    elif r < .65:  # thin: the borders between even areas, or the rim of a dark edge
        g = im.convert("L").filter(ImageFilter.ModeFilter(R.choice([3, 5, 7])))
        g = g.point(lambda v, q=R.choice([20, 32, 48]): v // q * q)
        a = np.asarray(g.filter(ImageFilter.MedianFilter(3)), np.int16)
        e = np.zeros((w, w), np.float32)
        e[1:] = np.abs(np.diff(a, axis=0)) > 0
        e[:, 1:] = np.maximum(e[:, 1:], np.abs(np.diff(a, axis=1)) > 0)
        m = Image.fromarray(np.where(e > 0, R.choice([0, 0, 60]), 255).astype(np.uint8))
        if R.random() < .3:
            m = m.filter(ImageFilter.MinFilter(3))
        if R.random() < .7:
            m = m.filter(ImageFilter.GaussianBlur(R.uniform(.3, .9)))
    else:
        e = np.zeros((w, w), np.float32)
        for ch in im.filter(ImageFilter.GaussianBlur(1)).split():
            gy, gx = np.gradient(np.asarray(ch).astype(np.float32))
            e = np.maximum(e, np.hypot(gx, gy))
        m = Image.fromarray(np.where(e > R.uniform(5, 14), 0, 255).astype(np.uint8))
        if R.random() < .3:
            m = m.filter(ImageFilter.MinFilter(3))
        m = m.filter(ImageFilter.GaussianBlur(R.uniform(.3, 1.1)))
    c, bg = R.choice([((0, 0, 0), (255, 255, 255))] * 3 + [(rgb(0, 90), rgb(230, 255)), ((255, 255, 255), rgb(0, 60))])
    return Image.composite(Image.new("RGB", (w, w), bg), Image.new("RGB", (w, w), c), m), code


def apart():
    """Two colours that nobody takes for one."""
    while True:
        a, b = rgb(), rgb()
        if sum(abs(p - q) for p, q in zip(a, b)) > 110:
            return a, b


def a_gradient():
    w, h = size()
    r = R.random()
    if r < .5:
        return gradient(w, h, *apart(), R.uniform(0, 6.3)), None
    if r < .75:
        (a, b), c = apart(), rgb()
        im = gradient(w, h // 2, a, b, math.pi / 2)
        o = Image.new("RGB", (w, h // 2 * 2))
        o.paste(im, (0, 0))
        o.paste(gradient(w, h // 2, b, c, math.pi / 2), (0, h // 2))
        return (o if R.random() < .5 else o.rotate(90)), None
    y, x = np.mgrid[0:h, 0:w]
    t = np.clip(np.hypot(x - w * R.uniform(.2, .8), y - h * R.uniform(.2, .8)) / max(w, h), 0, 1)[..., None]
    c0, c1 = apart()
    return Image.fromarray((np.array(c0) * (1 - t) + np.array(c1) * t).astype(np.uint8)), None


def fractal(w, h, octaves=5, seed=None, start=3):
    rg = np.random.default_rng(R.getrandbits(32))
    out, amp, tot = np.zeros((h, w), np.float32), 1.0, 0
    for o in range(octaves):
        n = start * 2 ** o
        a = Image.fromarray((rg.random((n, n)) * 255).astype(np.uint8)).resize((w, h), Image.BICUBIC)
        out += amp * np.asarray(a, np.float32) / 255
        tot += amp
        amp *= .55
    return out / tot


def cumulus(w, h):
    """How thick heaped clouds are, (h, w) in 0..1: many round puffs, flat below, and soft at the rim."""
    m = Image.new("L", (w, h))
    d = ImageDraw.Draw(m)
    for _ in range(R.randint(1, 9)):
        x, y, wide = R.uniform(-.05, 1.05) * w, R.uniform(-.05, 1) * h, R.uniform(.06, .24) * w
        flat = R.uniform(.3, .8)
        for _ in range(R.randint(5, 22)):
            q = R.uniform(.15, .5) * wide
            a = x + R.gauss(0, .6) * wide
            b = y - abs(R.gauss(0, .3)) * wide if R.random() < .5 else y + R.gauss(0, .2) * wide
            d.ellipse([a - q, b - q * flat, a + q, b + q * flat], fill=R.randint(120, 255))
    return np.asarray(m.filter(ImageFilter.GaussianBlur(R.uniform(1.5, 8))), np.float32) / 255


def a_sky():
    w, h = size()
    r = R.random()
    if r < .5:
        top, bot = R.choice([((60, 120, 210), (160, 205, 245)), ((90, 150, 230), (200, 225, 250)), ((40, 90, 180), (120, 180, 240)), ((250, 140, 80), (255, 210, 150)), ((150, 165, 185), (205, 212, 222)), ((240, 120, 130), (255, 200, 160))])
    elif r < .8:  # a blue of its own, paler towards the ground
        hue = R.uniform(.53, .63)
        top, bot = hsv(hue, R.uniform(.4, .85), R.uniform(.6, .98)), hsv(hue - R.uniform(0, .04), R.uniform(.05, .4), R.uniform(.9, 1))
    else:  # dusk
        top, bot = hsv(R.uniform(.6, .85), R.uniform(.2, .6), R.uniform(.4, .8)), hsv(R.uniform(-.02, .12), R.uniform(.2, .7), R.uniform(.9, 1))
    im = np.asarray(gradient(w, h, top, bot, math.pi / 2 + R.choice([0, 0, R.gauss(0, .2)])), np.float32)
    if R.random() < .45:
        t = np.clip((fractal(w, h, 5, start=R.choice([2, 3, 4])) - R.uniform(.42, .56)) * R.uniform(4, 9), 0, 1)
    else:
        t = cumulus(w, h)
        if R.random() < .4:  # broken up
            t = np.clip(t * (.5 + fractal(w, h, 5, start=4)), 0, 1)
    c = np.array(R.choice([(255, 255, 255), (255, 255, 255), (250, 250, 252), (240, 235, 235), (255, 225, 205)]))
    out = im * (1 - t[..., None]) + c * t[..., None]
    if R.random() < .3:  # shaded below
        low = np.roll(t, R.randint(-16, -5), 0) * t
        out *= 1 - (.18 * low)[..., None]
    return Image.fromarray(np.clip(out, 0, 255).astype(np.uint8)), None


def a_night_sky():
    w, h = size()
    im = gradient(w, h, rgb(0, 20), R.choice([(10, 15, 50), (30, 20, 60), (5, 10, 35), (25, 40, 80)]), math.pi / 2)
    if R.random() < .4:
        f = np.clip(fractal(w, h, 4) - .45, 0, 1)[..., None] * np.array(R.choice([(140, 90, 200), (80, 120, 220), (180, 120, 140)]))
        im = Image.fromarray(np.clip(np.asarray(im) + f, 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    for _ in range(R.randint(40, 200)):
        x, y, q, b = R.random() * w, R.random() * h, R.choice([.7, 1, 1, 1.5, 2.2]), R.randint(150, 255)
        d.ellipse([x - q, y - q, x + q, y + q], fill=(b, b, R.randint(b - 20, 255)))
    if R.random() < .3:
        x, y, q = R.random() * w, R.random() * h * .5, R.randint(10, 24)
        d.ellipse([x - q, y - q, x + q, y + q], fill=(245, 240, 215))
    return im, None


def ridge(w, high):
    """A line of hills by midpoint displacement (Fournier, Fussell and Carpenter 1982)."""
    y, amp, fall = [R.uniform(-.3, .3), R.uniform(-.3, .3)], 1.0, R.uniform(.45, .8)
    while len(y) < 100:
        z = []
        for a, b in zip(y, y[1:]):
            z += [a, (a + b) / 2 + R.uniform(-.5, .5) * amp]
        y, amp = z + [y[-1]], amp * fall
    return [(w * i / (len(y) - 1), high * v) for i, v in enumerate(y)]


def a_landscape():
    w, h = size()
    top, bot = R.choice([((90, 160, 235), (205, 230, 250)), ((250, 150, 90), (255, 220, 170)), ((120, 180, 240), (240, 240, 230)), ((90, 70, 130), (250, 160, 130))])
    im = gradient(w, h, top, bot, math.pi / 2)
    d = ImageDraw.Draw(im)
    if R.random() < .6:
        x, y, q = R.random() * w, h * R.uniform(.1, .35), R.randint(8, 22)
        d.ellipse([x - q, y - q, x + q, y + q], fill=(255, 230, 120))
    n = R.randint(2, 5)
    h0 = R.choice([.3, .35, .25, .6, .08])
    peaks, rough = R.random() < .5, R.random() < .5
    for k in range(n):
        base = h * (.45 + .5 * k / n)
        c = hsv(h0 + R.uniform(-.04, .04), R.uniform(.3, .7), .75 - .5 * k / n)
        if rough:
            p = [(0, h)] + [(x, base + y) for x, y in ridge(w, h * R.uniform(.04, .2))] + [(w, h)]
        elif peaks and k < n - 1:
            p = [(0, h), (0, base)]
            x = 0
            while x < w:
                x += R.uniform(.1, .25) * w
                p.append((x, base - R.uniform(.05, .3) * h if len(p) % 2 == 0 else base))
            p += [(w, h)]
        else:
            ph, fr, am = R.random() * 6, R.uniform(1, 3), h * R.uniform(.02, .08)
            p = [(0, h)] + [(x, base - am * math.sin(ph + fr * x / w * 6)) for x in range(0, w + 8, 8)] + [(w, h)]
        d.polygon(p, fill=c)
    for _ in range(R.choice([0, 0, 4, 9])):
        x, y, q = R.random() * w, h * R.uniform(.75, .98), R.randint(6, 14)
        d.rectangle([x - 1, y, x + 1, y + q], fill=(90, 60, 40))
        d.polygon([(x - q * .6, y + 2), (x + q * .6, y + 2), (x, y - q * 1.5)], fill=hsv(.35, .6, R.uniform(.25, .5)))
    return im, None


def a_collage():
    w, h = size()
    if R.random() < .5:  # cut in two again and again
        boxes, g = [(0, 0, w, h)], R.choice([0, 2, 4, 6, 8])
        for _ in range(R.randint(1, 5)):
            x0, y0, x1, y1 = boxes.pop(max(range(len(boxes)), key=lambda i: (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1])))
            t = R.choice([.5, .5, .33, .67])
            if (x1 - x0 > y1 - y0) == (R.random() < .85):
                x = int(x0 + (x1 - x0) * t)
                boxes += [(x0, y0, x, y1), (x, y0, x1, y1)]
            else:
                y = int(y0 + (y1 - y0) * t)
                boxes += [(x0, y0, x1, y), (x0, y, x1, y1)]
        im, _ = canvas(R.choice([(255, 255, 255), (0, 0, 0), rgb()]), w, h)
        for x0, y0, x1, y1 in boxes:
            if x1 - x0 > g + 20 and y1 - y0 > g + 20:
                im.paste(scene(x1 - x0 - g, y1 - y0 - g)[0], (x0 + g // 2, y0 + g // 2))
        return im, None
    n, m = R.choice([(2, 2), (2, 2), (3, 3), (3, 2), (2, 3), (1, 2), (1, 3), (2, 1)])
    g = R.randint(0, 7)
    im, _ = canvas(R.choice([(255, 255, 255), (0, 0, 0), rgb()]), w, h)
    cw, ch = (w - g * (n + 1)) // n, (h - g * (m + 1)) // m
    for i in range(n):
        for j in range(m):
            c, _ = scene(cw, ch)
            im.paste(c, (g + i * (cw + g), g + j * (ch + g)))
    return im, None


def a_outline_sticker():
    w = 224
    r = R.random()
    bg = Image.new("RGB", (w, w), rgb(0, 225)) if r < .6 else gradient(w, w, rgb(0, 220), rgb(0, 220), R.uniform(0, 6)) if r < .85 else smooth(w, w, 4, 0, 220)
    px = int(w * R.uniform(.6, .85))
    sp, code = sprite(px)
    full = Image.new("RGBA", (w, w))
    full.paste(sp, ((w - px) // 2 + R.randint(-12, 12), (w - px) // 2 + R.randint(-12, 12)))
    k = R.choice([7, 9, 11, 13, 15, 17])
    a = full.getchannel("A").point(lambda v: 255 if v > 60 else 0).filter(ImageFilter.MaxFilter(k)).filter(ImageFilter.GaussianBlur(1.2))
    if R.random() < .5:
        sh = ImageChops.offset(a, R.randint(2, 5), R.randint(2, 6)).filter(ImageFilter.GaussianBlur(4)).point(lambda v: v // 2)
        bg.paste((0, 0, 0), (0, 0), sh)
    bg.paste((255, 255, 255), (0, 0), a)
    bg.paste(full, (0, 0), full)
    return bg, code


def any_picture():
    r = R.random()
    if r < .7:
        return scene(224, 224)
    return R.choice([a_landscape, a_sky, a_collage, a_logo, a_text_image])()[0].resize((224, 224)), None


def a_blurry():
    im, code = any_picture()
    r = R.random()
    if r < .5:
        return im.filter(ImageFilter.GaussianBlur(R.uniform(4.5, 13))), code
    if r < .75:
        q = R.randint(10, 24)
        return im.resize((q, q), R.choice([Image.BILINEAR, Image.BOX])).resize((224, 224), R.choice([Image.BILINEAR, Image.BICUBIC])), code
    if r < .88:
        for _ in range(R.choice([1, 1, 2])):
            im = im.filter(ImageFilter.BoxBlur(R.uniform(5, 13)))
        return im, code
    k, a = R.randint(14, 34), R.uniform(-2, 2)  # the camera moved
    acc = np.zeros((224, 224, 3), np.float32)
    for t in np.linspace(-.5, .5, 13):
        acc += np.asarray(ImageChops.offset(im, int(k * t * math.cos(a)), int(k * t * math.sin(a))), np.float32)
    return Image.fromarray((acc / 13).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2)), code


def a_noisy():
    im, code = any_picture()
    a = np.asarray(im, np.float32)
    rg = np.random.default_rng(R.getrandbits(32))
    g = R.choice([1, 2, 2, 2, 3, 3, 4])
    sh = (224 // g + 1, 224 // g + 1, R.choice([1, 3]))
    if R.random() < .4:  # dead and hot pixels
        m = rg.random(sh).repeat(g, 0).repeat(g, 1)[:224, :224]
        q = R.uniform(.05, .2)
        return Image.fromarray(np.where(m < q, 0, np.where(m > 1 - q, 255, a)).astype(np.uint8)), code
    n = (rg.normal(size=sh) if R.random() < .6 else rg.uniform(-1.7, 1.7, size=sh)).repeat(g, 0).repeat(g, 1)[:224, :224]
    return Image.fromarray(np.clip(a + n * R.uniform(80 if g == 1 else 45, 130), 0, 255).astype(np.uint8)), code


def a_watermarked():
    im, code = any_picture()
    big = Image.new("RGBA", (448, 448))
    d = ImageDraw.Draw(big)
    t = R.choice(["SAMPLE", "PREVIEW", "stock", "DRAFT", "demo", "do not copy", "watermark", words(1), words(2), words(1).upper()])[:14]
    palest, solid = R.randint(60, 150), R.choice([(255, 255, 255), (255, 255, 255), (128, 128, 128), rgb(40, 130), (0, 0, 0)])
    several = [solid] if R.random() < .6 else [solid, R.choice([(255, 255, 255), (60, 60, 60), rgb()])]
    if R.random() < .8:
        s = R.randint(12, 36)
        f = font("a", R.choice(["sans", "sans", "serif", "fat"]), s)
        tw = d.textlength(t, font=f)
        sy, sx, shift = s * R.uniform(1.3, 3.2), tw + R.randint(6, 44), R.choice([0, .5, .5, .33])
        for k in range(int(448 / sy) + 1):
            x = -((k * shift) % 1) * sx
            while x < 448:
                d.text((x, k * sy), t, fill=R.choice(several) + (palest + 45,), font=f)
                x += sx
    else:
        f = font("a", "fat", R.randint(40, 64))
        for y in R.choice([(224,), (164, 284), (150, 224, 298)]):
            d.text((224, y), t, fill=solid + (palest + 40,), font=f, anchor="mm")
    if R.random() < .15:
        for k in (0, 1):
            d.line([(0, 448 * k), (448, 448 * (1 - k))], fill=solid + (palest + 20,), width=R.randint(2, 5))
    big = big.rotate(R.choice([30, 45, -30, 20, 35, 0, R.uniform(-45, 45)]), Image.BICUBIC).crop((112, 112, 336, 336))
    im.paste(big, (0, 0), big)
    return im, code


def codec(im, **kw):
    b = io.BytesIO()
    im.save(b, **kw)
    return Image.open(io.BytesIO(b.getvalue())).convert("RGB")


def a_low_quality():
    im, code = any_picture()
    s = R.randint(44, 128)
    im = im.resize((s, s), R.choice([Image.BILINEAR, Image.BICUBIC, Image.BOX]))
    for _ in range(R.choice([1, 2, 2])):
        im = codec(im, format="WEBP", quality=R.randint(0, 3)) if R.random() < .3 else codec(im, format="JPEG", quality=R.randint(1, 9), subsampling=R.choice([0, 2, 2]))
    return im.resize((224, 224), R.choice([Image.BILINEAR, Image.BILINEAR, Image.BICUBIC])), code


def bubble(d, x, y, w, h, f, c=(255, 255, 255)):
    (d.ellipse if R.random() < .5 else d.rectangle if R.random() < .3 else partial(d.rounded_rectangle, radius=min(w, h) * .4))(
        [x, y, x + w, y + h], fill=c, outline=(0, 0, 0), width=2)
    d.polygon([(x + w * .3, y + h * .9), (x + w * .5, y + h * .95), (x + w * .25, y + h * 1.3)], fill=c, outline=(0, 0, 0))
    for k, t in enumerate(lines(d, words(3), f, w * .75)[:2]):
        d.text((x + w * .5, y + h * (.38 + .28 * k)), t, fill=(0, 0, 0), font=f, anchor="mm")


def a_comic():
    w, h = size()
    im, d = canvas(R.choice([(255, 255, 255), (245, 240, 225)]), w, h)
    rows = R.choice([1, 2, 2, 3])
    g, y = R.randint(4, 8), 4
    f = font("a", R.choice(["sans", "hand"]), 9)
    rh = (h - g * (rows + 1)) // rows
    silent = 0  # panels without a bubble: a page of them would be a collage
    for _ in range(rows):
        x, cols = g, R.choice([1, 2, 2, 3])
        cw = (w - g * (cols + 1)) // cols
        for _ in range(cols):
            c = Image.new("RGB", (cw, rh), rgb(150, 255) if R.random() < .8 else (255, 255, 255))
            q = ImageDraw.Draw(c)
            if R.random() < .5:
                q.rectangle([0, rh * .7, cw, rh], fill=rgb())
            px = int(min(cw, rh) * R.uniform(.5, .75))
            for k in range(R.choice([1, 1, 2])):
                sp, _ = sprite(px)
                c.paste(sp, (R.randint(0, max(0, cw - px)), rh - px - 2), sp)
            silent += 1
            if R.random() < .85 or silent == 2:
                silent = 0
                bubble(q, R.randint(2, max(3, cw // 3)), 3, cw * .6, rh * .33, f)
            im.paste(c, (x, y))
            d.rectangle([x, y, x + cw, y + rh], outline=(0, 0, 0), width=2)
            x += cw + g
        y += rh + g
    return im, None


def arrow(d, a, b, c, wd=2):
    d.line([a, b], fill=c, width=wd)
    t = math.atan2(b[1] - a[1], b[0] - a[0])
    d.polygon([b, (b[0] - 9 * math.cos(t - .4), b[1] - 9 * math.sin(t - .4)), (b[0] - 9 * math.cos(t + .4), b[1] - 9 * math.sin(t + .4))], fill=c)


def a_diagram():
    w, h = size()
    im, d = canvas(None, w, h)
    c = ink(im.getpixel((0, 0)))
    f = font("a", "sans", R.randint(8, 11))
    if R.random() < .5:  # a tree, downwards or to the right
        right = R.random() < .35
        fill = R.choice([palette(3), [tuple(min(255, 190 + v // 4) for v in p) for p in palette(3)], [im.getpixel((0, 0))]])
        rows = [R.choice([1, 1, 2])]
        for _ in range(R.randint(1, 3)):
            rows.append(min(5, rows[-1] + R.randint(0, 2)))
        place = lambda i, k: ((k + .5) / len(rows), (i + .5) / rows[k]) if right else ((i + .5) / rows[k], (k + .5) / len(rows))  # noqa: E731
        bw, bh = (w / len(rows) * .3, h / max(rows) * .3) if right else (w / max(rows) * .38, h / len(rows) * R.uniform(.18, .28))
        bw, bh = min(bw, 48), min(bh, 26)
        elbow, head, wd = R.random() < .6, R.random() < .7, R.choice([1, 2, 2, 3])
        at = lambda i, k: (place(i, k)[0] * w, place(i, k)[1] * h)  # noqa: E731
        for k in range(1, len(rows)):
            for i in range(rows[k]):
                a, b = at(min(rows[k - 1] - 1, i * rows[k - 1] // rows[k]), k - 1), at(i, k)
                e = (b[0] - bw, b[1]) if right else (b[0], b[1] - bh)
                if elbow:
                    mid = [((a[0] + e[0]) / 2, a[1]), ((a[0] + e[0]) / 2, e[1])] if right else [(a[0], (a[1] + e[1]) / 2), (e[0], (a[1] + e[1]) / 2)]
                    d.line([a, *mid, e], fill=c, width=wd)
                    a = mid[1]
                if head or not elbow:
                    arrow(d, a, e, c, wd)
        for k, n in enumerate(rows):
            for i in range(n):
                x, y = at(i, k)
                col = R.choice(fill)
                (d.rectangle if R.random() < .6 else partial(d.rounded_rectangle, radius=5))([x - bw, y - bh, x + bw, y + bh], fill=col, outline=c, width=R.choice([1, 2]))
                d.text((x, y), R.choice(WORDS)[:max(3, int(bw / 3.5))], fill=ink(col), font=f, anchor="mm")
        return im, None
    cols, rows = R.choice([(1, 3), (1, 4), (2, 3), (3, 3), (3, 2), (2, 2), (2, 4)])
    pts = {}
    pal = palette(3) + [im.getpixel((0, 0))]
    for i in range(cols):
        for j in range(rows):
            if R.random() < .88:
                pts[i, j] = (w * (i + .5) / cols + R.uniform(-6, 6), h * (j + .5) / rows + R.uniform(-6, 6))
    bw, bh = w / cols * R.uniform(.28, .36), h / rows * R.uniform(.2, .3)
    for (i, j), p in pts.items():
        for q in ((i, j + 1), (i + 1, j), (i + 1, j + 1)):
            if q in pts and R.random() < (.9 if q == (i, j + 1) else .45):
                e = pts[q]
                v = (e[0] - p[0], e[1] - p[1])
                k = min(bw / (abs(v[0]) + 1e-6), bh / (abs(v[1]) + 1e-6), .5)
                arrow(d, p, (e[0] - v[0] * k, e[1] - v[1] * k), c)
    for p in pts.values():
        box = [p[0] - bw, p[1] - bh, p[0] + bw, p[1] + bh]
        col = R.choice(pal)
        r = R.random()
        if r < .45:
            d.rectangle(box, fill=col, outline=c, width=2)
        elif r < .75:
            d.rounded_rectangle(box, bh * .6, fill=col, outline=c, width=2)
        elif r < .87:
            d.ellipse(box, fill=col, outline=c, width=2)
        else:
            d.polygon([(p[0], box[1]), (box[2], p[1]), (p[0], box[3]), (box[0], p[1])], fill=col, outline=c)
        d.text(p, R.choice(WORDS)[:max(3, int(bw / 4))], fill=ink(col), font=f, anchor="mm")
    return im, None


def a_map():
    w, h = size()
    bg, road, edge, park, water = R.choice([((242, 239, 233), (255, 255, 255), (215, 210, 200), (200, 230, 180), (170, 211, 223)), ((229, 227, 223), (255, 255, 255), (200, 200, 200), (180, 215, 160), (160, 195, 255)), ((36, 47, 62), (56, 65, 78), (33, 42, 55), (38, 60, 63), (23, 38, 60))])
    im, d = canvas(bg, w, h)
    for col in (park, park, water):
        if R.random() < .75:
            cx, cy, r = R.random() * w, R.random() * h, R.uniform(.12, .35) * w
            d.polygon([(cx + r * R.uniform(.6, 1.2) * math.cos(a), cy + r * R.uniform(.6, 1.2) * math.sin(a)) for a in np.linspace(0, 6.28, 9)[:-1]], fill=col)
    if R.random() < .4:
        d.line([(x, h * .5 + h * .2 * math.sin(x / w * 5 + h)) for x in range(0, w + 10, 10)], fill=water, width=R.randint(8, 22))
    ang = R.uniform(0, 1.5)
    segs = []
    for k in range(R.randint(10, 22)):
        a = ang + (math.pi / 2 if k % 2 else 0) + R.gauss(0, .06)
        x, y = R.random() * w, R.random() * h
        segs.append(((x - 400 * math.cos(a), y - 400 * math.sin(a)), (x + 400 * math.cos(a), y + 400 * math.sin(a)), R.choice([2, 3, 3, 4, 7])))
    for a, b, k in segs:
        d.line([a, b], fill=edge, width=k + 2)
    for a, b, k in segs:
        d.line([a, b], fill=(250, 210, 120) if k == 7 and R.random() < .7 else road, width=k)
    f = font("a", "sans", 9)
    for _ in range(R.randint(0, 5)):
        d.text((R.random() * w, R.random() * h), words(1).title(), fill=ink(bg), font=f)
    if R.random() < .4:
        x, y = R.uniform(.3, .7) * w, R.uniform(.3, .7) * h
        d.polygon([(x, y + 18), (x - 8, y), (x + 8, y)], fill=(220, 50, 40))
        d.ellipse([x - 9, y - 10, x + 9, y + 6], fill=(220, 50, 40))
    return im, None


def a_sheet_music():
    w, h = size()
    im, d = canvas(R.choice([(255, 255, 255), (255, 255, 255), (252, 248, 235)]), w, h)
    sp = R.choice([4, 5, 6, 7, 8, 9, 11])
    y = R.randint(2, 40)
    c = (10, 10, 10)
    wl, bars, dense, pair = R.choice([1, 1, 2 if sp > 7 else 1]), R.choice([2, 3, 3, 4]), R.uniform(1.6, 3.4), R.random() < .25
    margin = R.randint(0, 16)
    row = 0
    while y + 4 * sp < h - 2:
        for k in range(5):
            d.line([margin, y + k * sp, w - margin, y + k * sp], fill=c, width=wl)
        for k in range(bars + 1):
            x = margin + (w - 2 * margin) * k / bars
            if 0 < k < bars or R.random() < .7:
                d.line([x, y, x, y + 4 * sp], fill=c, width=wl)
        x = margin + 4
        if R.random() < .7:  # a clef
            d.arc([x, y - sp, x + 2.2 * sp, y + 5 * sp], 30, 330, fill=c, width=2)
            d.line([x + sp, y - 1.2 * sp, x + sp, y + 5 * sp], fill=c, width=2)
            x += 3 * sp
            if R.random() < .4:
                g = font("a", "serif", sp * 2.2)
                for k in (0, 2):
                    d.text((x, y + k * sp), str(R.choice([2, 3, 4, 6, 8])), fill=c, font=g)
                x += 2 * sp
        last = None
        p = y + sp * R.randint(0, 8) / 2
        while x < w - margin - sp:
            p = min(y + 5 * sp, max(y - sp, p + sp * R.choice([-4, -2, -1, -1, 0, 1, 1, 2, 4]) / 2)) if R.random() < .7 else y + sp * R.randint(-1, 9) / 2
            r = sp * R.uniform(.45, .6)
            full = R.random() < .8
            d.ellipse([x - r * 1.2, p - r, x + r * 1.2, p + r], fill=c if full else (255, 255, 255), outline=c, width=1)
            up = p > y + 2 * sp
            tip = (x + r * 1.1, p - 3.3 * sp) if up else (x - r * 1.1, p + 3.3 * sp)
            if R.random() < .93:
                d.line([(tip[0], p), tip], fill=c, width=R.choice([1, 1, 2]) if sp > 5 else 1)
                k = 1 if up else -1
                if last and R.random() < .4 and last[1] == up:
                    d.line([last[0], tip], fill=c, width=max(2, sp // 2))
                elif full and R.random() < .25:
                    d.line([tip, (tip[0] + sp * .9, tip[1] + k * sp * 1.3)], fill=c, width=2)
            if R.random() < .1:
                d.text((x - sp * 1.8, p), R.choice("#b"), fill=c, font=font("a", "serif", sp * 1.6), anchor="mm")
            last = (tip, up)
            x += sp * dense * R.choice([1, 1, 1.5, 2])
        row += 1
        y += sp * (6.5 if pair and row % 2 else R.choice([7, 8, 9, 10]))
    return im, None


def a_receipt():
    w, h = R.randint(110, 160), R.randint(200, 260)
    im, d = canvas(R.choice([(255, 255, 255), (250, 250, 245), (240, 240, 240)]), w, h)
    s = R.randint(7, 9)
    f = font("a", "mono", s)
    c = rgb(0, 70)
    y = 6
    d.text((w / 2, y + 6), words(1).upper()[:14], fill=c, font=font("a", "mono", s + 4), anchor="mm")
    y += 20
    for _ in range(2):
        d.text((w / 2, y), words(2)[:20], fill=c, font=f, anchor="mm")
        y += s * 1.3
    while y < h - 50:
        if R.random() < .12:
            d.text((4, y), "-" * 40, fill=c, font=f)
        else:
            t = f"{R.randint(0, 99)}.{R.randint(0, 99):02d}"
            d.text((4, y), words(2)[:14], fill=c, font=f)
            d.text((w - 4 - d.textlength(t, font=f), y), t, fill=c, font=f)
        y += s * 1.3
    d.text((4, y), "TOTAL", fill=c, font=font("a", "mono", s + 3))
    t = f"{R.randint(10, 999)}.{R.randint(0, 99):02d}"
    g = font("a", "mono", s + 3)
    d.text((w - 4 - d.textlength(t, font=g), y), t, fill=c, font=g)
    if R.random() < .5:
        x = 12
        while x < w - 12:
            k = R.randint(1, 3)
            d.rectangle([x, h - 28, x + k - 1, h - 8], fill=c)
            x += k + R.randint(1, 3)
    o = Image.new("RGB", (int(w * R.uniform(1, 1.7)), h), rgb(40, 200))
    o.paste(im, ((o.width - w) // 2, 0))
    return o.rotate(R.gauss(0, 4), Image.BICUBIC, fillcolor=o.getpixel((0, 0))), None


def page():
    """A web page or a window: a bar, a headline, a row or grid of cards, a button."""
    w, h = (R.randint(220, 300), R.randint(160, 230)) if R.random() < .6 else (R.randint(120, 170), R.randint(220, 280))
    dark = R.random() < .4
    bg = rgb(12, 42) if dark else rgb(238, 255)
    im, d = canvas(bg, w, h)
    c = ink(bg)
    line = tuple((2 * a + b) // 3 for a, b in zip(bg, c))
    card = R.choice([bg, tuple((9 * a + b) // 10 for a, b in zip(bg, c)), (255, 255, 255) if not dark else (48, 50, 58)])
    acc = palette(1)[0]
    bar = R.randint(14, 34)
    d.rectangle([0, 0, w, bar], fill=R.choice([acc, card, line]))
    if R.random() < .4:
        d.rounded_rectangle([w * .2, 4, w * .85, bar - 4], 6, fill=bg)
    else:
        d.text((8, bar / 2), words(1)[:10].title(), fill=c, font=font("a", "sans", 11), anchor="lm")
    y = bar + R.randint(4, 14)
    if R.random() < .7:
        d.text((w / 2 if R.random() < .5 else w * .3, y), words(2)[:18].title(), fill=c, font=font("a", R.choice(["sans", "serif"]), R.randint(13, 22)), anchor="ma")
        y += 28
    f = font("a", "sans", R.randint(7, 10))
    n = R.randint(1, 4) if w > h else R.choice([1, 1, 1, 2])
    rows = R.randint(1, 2) if n > 1 else R.randint(3, 6)
    foot = R.choice([8, 34])
    cw, ch = (w - 8) / n, (h - y - foot) / rows
    wide = n == 1
    pal = palette(4)
    for r in range(rows):
        for k in range(n):
            x, yy = 4 + k * cw, y + r * ch
            d.rounded_rectangle([x + 2, yy + 2, x + cw - 3, yy + ch - 3], R.choice([0, 4, 7]), fill=card, outline=line if R.random() < .8 else None)
            if wide:
                q = ch * .6
                (d.ellipse if R.random() < .3 else d.rectangle)([x + 6, yy + ch * .2, x + 6 + q, yy + ch * .2 + q], fill=R.choice(pal))
                d.text((x + 14 + q, yy + ch * .2), words(1)[:12], fill=c, font=f)
                d.text((x + 14 + q, yy + ch * .2 + 11), words(3)[:22], fill=line, font=f)
            else:
                d.rectangle([x + 2, yy + 2, x + cw - 3, yy + ch * R.uniform(.4, .6)], fill=R.choice(pal))
                d.text((x + 7, yy + ch * .68), words(1)[:10], fill=c, font=f)
    if foot == 34:
        x = R.uniform(.3, .7) * w
        d.rounded_rectangle([x - 30, h - 27, x + 30, h - 7], R.choice([3, 10]), fill=acc)
        d.text((x, h - 17), words(1)[:7], fill=ink(acc), font=f, anchor="mm")
    elif R.random() < .4:
        d.ellipse([w - 40, h - 40, w - 8, h - 8], fill=acc)
    return im, None


def a_app_ui():
    if R.random() < .5:
        return page()
    wide = R.random() < .5
    w, h = (R.randint(220, 290), R.randint(170, 230)) if wide else (R.randint(130, 170), R.randint(220, 280))
    dark = R.random() < .3
    bg = rgb(18, 40) if dark else R.choice([(255, 255, 255), (245, 246, 248), (240, 240, 240)])
    im, d = canvas(bg, w, h)
    c = ink(bg)
    acc = palette(1)[0]
    f, g = font("a", "sans", 9), font("a", "sans", 12)
    d.rectangle([0, 0, w, 24], fill=acc if R.random() < .6 else tuple(max(0, k - 12) for k in bg))
    d.text((10, 5), words(1).title(), fill=c, font=g)
    x0 = 6
    if wide and R.random() < .6:
        x0 = 64
        d.rectangle([0, 24, 58, h], fill=tuple(max(0, k - 14) if not dark else k + 16 for k in bg))
        for k in range(6):
            d.text((6, 34 + 20 * k), R.choice(WORDS)[:8], fill=c, font=f)
    y = 32
    line = tuple((3 * a + b) // 4 for a, b in zip(bg, c))
    while y < h - 20:
        r = R.random()
        if r < .25:
            d.rounded_rectangle([x0 + 4, y, x0 + R.randint(50, 80), y + 18], 5, fill=acc)
            d.text((x0 + 12, y + 3), R.choice(WORDS)[:7], fill=ink(acc), font=f)
            y += 26
        elif r < .45:
            d.text((x0 + 4, y), R.choice(WORDS)[:10], fill=c, font=f)
            d.rounded_rectangle([x0 + 4, y + 12, w - 8, y + 28], 3, outline=line)
            y += 34
        elif r < .75:
            d.ellipse([x0 + 4, y, x0 + 22, y + 18], fill=rgb())
            d.text((x0 + 28, y), words(1), fill=c, font=f)
            d.text((x0 + 28, y + 10), words(3)[:24], fill=tuple((a + b) // 2 for a, b in zip(bg, c)), font=f)
            d.line([x0, y + 24, w, y + 24], fill=line)
            y += 28
        else:
            n = R.randint(2, 3)
            cw = (w - x0 - 8) / n
            for k in range(n):
                d.rounded_rectangle([x0 + 4 + k * cw, y, x0 + k * cw + cw - 2, y + 44], 4, fill=R.choice([rgb(), line]))
            y += 52
    if not wide:
        d.rectangle([0, h - 20, w, h], fill=tuple(max(0, k - 10) for k in bg))
        for k in range(4):
            d.ellipse([w * (k + .5) / 4 - 5, h - 15, w * (k + .5) / 4 + 5, h - 5], fill=acc if k == 0 else line)
    return im, None


def a_pattern():
    w, h = size()
    a, b, c = palette(3)
    if R.random() < .45:  # a cell repeated, straight, shifted or turned
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        t, p = R.choice([0, 0, 0, math.pi / 4, R.uniform(0, 3)]), R.uniform(10, 48)
        u, v = (x * math.cos(t) + y * math.sin(t)) / p, (y * math.cos(t) - x * math.sin(t)) / p
        u = u + (np.floor(v) % 2) * R.choice([0, 0, .5])
        fu, fv = u % 1 - .5, v % 1 - .5
        k = R.uniform(.18, .42)
        m = R.choice([
            lambda: fu ** 2 + fv ** 2 < k * k, lambda: abs(fu) + abs(fv) < k * 1.3, lambda: np.maximum(abs(fu), abs(fv)) < k, lambda: abs(fu) < k,
            lambda: (np.floor(u) + np.floor(v)) % 2 > 0, lambda: np.minimum(abs(fu), abs(fv)) < k * .4, lambda: (v + abs(fu) * R.choice([.7, 1.4])) % 1 < .5,
            lambda: (v + .18 * np.sin(u * 6.283)) % 1 < .5, lambda: (fu + fv) > 0, lambda: abs(np.hypot(fu, fv) - .33) < .1,
        ])()
        if R.random() < .5:
            b = R.choice([(255, 255, 255), (0, 0, 0), ink(a)])
        return Image.fromarray(np.where(m[..., None], np.array(a), np.array(b)).astype(np.uint8)), None
    if R.random() < .4:
        b = R.choice([(255, 255, 255), (0, 0, 0)])
    im, d = canvas(b, w, h)
    s = R.randint(14, 44)
    k = R.choice(["dots", "stripes", "tri", "hex", "zigzag", "waves", "sprites", "squares", "plaid"])
    if k == "stripes":
        sl = R.choice([0, 1, -1, 1000])
        for x in range(-h - s, w + h, s):
            d.line([(x, 0), (x + sl * h, h)] if sl != 1000 else [(0, x), (w, x)], fill=a, width=s // 2)
    elif k == "sprites":
        sp, _ = sprite(int(s * 1.2))
        for j, y in enumerate(range(-s, h, int(s * 1.5))):
            for x in range(-s + (j % 2) * int(s * .75), w, int(s * 1.5)):
                im.paste(sp, (x, y), sp)
    elif k == "plaid":
        for x in range(0, w, s):
            d.rectangle([x, 0, x + s // 3, h], fill=a)
        o = im.copy()
        for y in range(0, h, s):
            ImageDraw.Draw(o).rectangle([0, y, w, y + s // 3], fill=c)
        im = Image.blend(im, o, .5)
    else:
        for j, y in enumerate(range(-s, h + s, s)):
            for i, x in enumerate(range(-s, w + s, s)):
                q = x + (j % 2) * s / 2
                col = a if (i + j) % 2 or R.random() < .1 else c
                if k == "dots":
                    d.ellipse([q, y, q + s * .55, y + s * .55], fill=col)
                elif k == "tri":
                    d.polygon([(x, y + s), (x + s, y + s), (x + s / 2, y)], fill=col)
                elif k == "hex":
                    d.regular_polygon((q + s / 2, y + s / 2, s * .52), 6, fill=col)
                elif k == "squares":
                    d.rectangle([q, y, q + s * .6, y + s * .6], fill=col)
                elif k == "zigzag":
                    d.line([(x, y), (x + s / 2, y + s / 2), (x + s, y)], fill=a, width=max(2, s // 5))
                else:
                    d.arc([x, y, x + s, y + s], 0, 180, fill=a, width=max(2, s // 6))
    return im, None


def a_blank():
    c = R.choice([(255, 255, 255), (0, 0, 0), rgb(), rgb(), rgb(), rgb(200, 255)])
    a = np.asarray(Image.new("RGB", (64, 64), c), np.float32) + R.choice([0, 0, 1.5, 3]) * np.random.default_rng(R.getrandbits(32)).normal(size=(64, 64, 1))
    return Image.fromarray(np.clip(a, 0, 255).astype(np.uint8)), None


def a_board_game():
    n = R.choice([8, 8, 8, 10, 6])
    w = 224
    a, b = R.choice([((240, 217, 181), (181, 136, 99)), ((238, 238, 210), (118, 150, 86)), ((255, 255, 255), (60, 60, 60)), ((222, 227, 230), (140, 162, 173)), (rgb(190, 255), rgb(30, 140))])
    im, d = canvas(a, w, w)
    s = w / n
    kind = R.choice(["checkers", "chess", "none", "scattered", "scattered"])
    share, colours = R.uniform(.05, .45), R.choice([[(250, 250, 250), (20, 20, 20)], [(250, 250, 250), (20, 20, 20), rgb()], [rgb(150, 255), rgb(0, 120)]])
    f = _font(F + "truetype/dejavu/DejaVuSans.ttf", int(s * .85))
    for i in range(n):
        for j in range(n):
            if (i + j) % 2:
                d.rectangle([i * s, j * s, i * s + s - 1, j * s + s - 1], fill=b)
            if kind == "scattered":
                if R.random() < share:
                    q = s * R.choice([.1, .16, .2])
                    d.ellipse([i * s + q, j * s + q, (i + 1) * s - q, (j + 1) * s - q], fill=R.choice(colours), outline=R.choice([None, (90, 90, 90)]))
            elif R.random() < (.7 if j < 2 or j >= n - 2 else .15) and kind != "none":
                col = (250, 250, 250) if j > n / 2 else (20, 20, 20)
                if kind == "chess":
                    d.text((i * s + s / 2, j * s + s / 2), R.choice("♚♛♜♝♞♟"), fill=col, font=f, anchor="mm")
                elif (i + j) % 2:
                    d.ellipse([i * s + 3, j * s + 3, i * s + s - 4, j * s + s - 4], fill=R.choice([col]), outline=(120, 120, 120))
    if R.random() < .3:
        o = Image.new("RGB", (w + 24, w + 24), rgb(40, 120))
        o.paste(im, (12, 12))
        im = o
    return im, None


def setup(art, which):
    global ART, WORDS
    name = "training" if which == "training" else "evaluation"
    rows = json.loads((Path(art) / f"sprites-{name}.json").read_text())
    ART = np.load(Path(art) / f"sprites-{name}.npy", mmap_mode="r"), rows
    ws = set()
    for e in json.loads((Path(art) / "emoji.json").read_text()):
        for k in e["keywords_en"] + e["keywords_pt"]:
            if k.isascii() or all(ord(c) < 0x250 for c in k):
                if len(k) < 14 and " " not in k:
                    ws.add(k)
    WORDS = sorted(ws)


def views(im):
    """A picture as the model will see it, (VIEWS, STORE, STORE, 3): by the model's own preprocessing,
    and in cuts of other sizes and shapes. Each is made from the full picture in one step, because what
    tells noise, blocks and pixels apart does not survive being resampled twice."""
    out = []
    for k in range(VIEWS):
        src = im
        if k > 1 and R.random() < .3:
            src = im.rotate(R.gauss(0, 3), Image.BICUBIC, fillcolor=im.getpixel((1, 1)))
        w, h = src.size
        m = min(w, h)
        if k == 0:
            bw = bh = m
            x, y = (w - m) / 2, (h - m) / 2
        elif max(w, h) < 1.6 * m and R.random() < .3:  # squeezed
            x, y, bw, bh = 0, 0, w, h
        else:
            side, shape = m * R.uniform(.62, 1), math.exp(R.gauss(0, .12))
            bw, bh = min(w, side * shape), min(h, side / shape)
            x, y = R.uniform(0, w - bw), R.uniform(0, h - bh)
        out.append(np.asarray(src.resize((STORE, STORE), Image.BILINEAR, (x, y, x + bw, y + bh))))
    return np.stack(out)


def render(job):
    art, which, kind, i = job
    if ART is None:
        setup(art, which)
    for attempt in range(20):
        R.seed(f"{which}/{kind}/{i}/{attempt}")
        try:
            if which == "training":
                im, code = globals()["a_" + kind]()
            else:
                import kinds_eval
                im, code = kinds_eval.render(kind)
            break
        except ValueError:  # a shape of no size: draw again
            continue
    im = im.convert("RGB")
    if which == "training":
        return kind, code, views(im)
    b = io.BytesIO()
    im.save(b, "PNG")
    return kind, code, b.getvalue()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--art", type=Path, required=True)
    p.add_argument("--set", choices=["training", "evaluation"], default="training")
    p.add_argument("--per-kind", type=int, default=300)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--preview", type=Path)
    a = p.parse_args()
    kinds = json.loads(Path(__file__).with_name("kinds.json").read_text())
    js = [(a.art, a.set, k["id"], i) for i in range(2 * a.per_kind) for k in kinds
          if i < a.per_kind or a.set == "training" and k["id"] in TWICE]
    rows = []
    if a.preview:
        setup(a.art, a.set)
        sheet = Image.new("RGB", (12 * 100, len(kinds) * 100 // 2))
        for n, k in enumerate(kinds):
            for i in range(6):
                im = render((a.art, a.set, k["id"], i))[2]
                im = Image.fromarray(im[i % VIEWS]) if a.set == "training" else Image.open(io.BytesIO(im))
                sheet.paste(im.resize((98, 98)), ((n % 2 * 6 + i) * 100, n // 2 * 100))
        sheet.save(a.preview)
        return
    out = a.art / f"kinds-{a.set}"
    if a.set == "evaluation":
        out.mkdir(exist_ok=True)
    else:
        px = np.lib.format.open_memmap(out.with_suffix(".part.npy"), "w+", np.uint8, (len(js), VIEWS, STORE, STORE, 3))
    with ProcessPoolExecutor(a.workers) as pool:
        for n, (kind, code, im) in enumerate(pool.map(render, js, chunksize=8)):
            rows.append({"kind": kind, "code": code})
            if a.set == "training":
                px[n] = im
            else:
                (out / kind).mkdir(exist_ok=True)
                (out / kind / f"{n:05}.png").write_bytes(im)
    if a.set == "training":
        px.flush()
        out.with_suffix(".part.npy").replace(out.with_suffix(".npy"))
    out.with_suffix(".json").write_text(json.dumps(rows))
    print(len(rows), "renders of", len(kinds), "kinds")


if __name__ == "__main__":
    import kinds  # one copy of the module's state, shared with kinds_eval

    kinds.main()
