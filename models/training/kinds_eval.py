"""The held-out generators of the kinds of image: never used in training, see `kinds.py`.

Charts come from matplotlib, code from pygments, barcodes from python-barcode, the rest from layouts
written apart from the training ones, with fonts and artwork (Twemoji) that training never saw.
"""
import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

import kinds as K
from kinds import R, codec, font, hsv, ink, lines, words

SIDE = 256


def rng():
    return np.random.default_rng(R.getrandbits(32))


def figure(draw):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    style = R.choice(["default", "ggplot", "bmh", "seaborn-v0_8-whitegrid", "dark_background", "fivethirtyeight", "Solarize_Light2", "grayscale"])
    with plt.style.context(style):
        fig = plt.figure(figsize=(R.uniform(3, 4.2), R.uniform(2.8, 3.6)), dpi=80)
        draw(plt, fig)
        if R.random() < .6 and fig.axes:
            fig.axes[0].set_title(words(2))
        b = io.BytesIO()
        fig.savefig(b, format="png")
        plt.close(fig)
    return Image.open(b).convert("RGB")


def bar_chart():
    def go(plt, fig):
        ax = fig.add_subplot()
        n, g = R.randint(3, 10), R.choice([1, 1, 2, 3])
        v = rng().uniform(1, 10, (g, n))
        x = np.arange(n)
        r = R.random()
        if r < .25:
            ax.barh(x, v[0])
        elif r < .45 and g > 1:
            b = np.zeros(n)
            for row in v:
                ax.bar(x, row, bottom=b)
                b += row
        else:
            for k, row in enumerate(v):
                ax.bar(x + .8 * k / g, row, .8 / g)
    return figure(go)


def pie_chart():
    def go(plt, fig):
        ax = fig.add_subplot()
        n = R.randint(3, 7)
        ax.pie(rng().uniform(1, 5, n), labels=[words(1)[:8] for _ in range(n)] if R.random() < .6 else None,
               autopct="%d%%" if R.random() < .5 else None, explode=[.1] + [0] * (n - 1) if R.random() < .3 else None,
               wedgeprops={"width": .45} if R.random() < .3 else {}, startangle=R.randint(0, 180))
    return figure(go)


def line_chart():
    def go(plt, fig):
        ax = fig.add_subplot()
        for _ in range(R.choice([1, 1, 2, 3])):
            n = R.choice([10, 30, 100])
            t = np.linspace(0, 10, n)
            y = R.choice([lambda: np.cumsum(rng().normal(size=n)), lambda: np.sin(t * R.uniform(.6, 2)), lambda: t ** R.uniform(.5, 2), lambda: np.exp(-t / 2) * np.cos(t * 2)])()
            ax.plot(t, y, R.choice(["-", "-", "--", "-o" if n < 40 else "-"]))
        ax.grid(R.random() < .5)
    return figure(go)


def scatter_plot():
    def go(plt, fig):
        ax = fig.add_subplot()
        for _ in range(R.choice([1, 2, 3])):
            n = R.randint(20, 120)
            x = rng().normal(R.uniform(-2, 2), 1, n)
            ax.scatter(x, R.uniform(-1, 1) * x + rng().normal(0, R.uniform(.4, 1.2), n), s=R.choice([8, 15, 30]), marker=R.choice("ooos^x"))
    return figure(go)


def table():
    w, h = 320, R.randint(200, 300)
    im = Image.new("RGB", (w, h), "white")
    d = ImageDraw.Draw(im)
    rows, cols = R.randint(5, 12), R.randint(3, 6)
    f = font("b", "sans", 11)
    cw = [R.uniform(.6, 1.4) for _ in range(cols)]
    cw = [c / sum(cw) * w for c in cw]
    sheet = R.random() < .4
    if sheet:
        d.rectangle([0, 0, w, h / (rows + 1)], fill=(235, 235, 235))
    for r in range(rows + 1):
        y, x = h * r / (rows + 1), 0
        for k, c in enumerate(cw):
            d.rectangle([x, y, x + c, y + h / (rows + 1)], outline=(150, 150, 150))
            t = "ABCDEFGH"[k] if r == 0 and sheet else words(1)[:int(c / 8)] if r == 0 or k == 0 else f"{R.uniform(0, 500):.1f}"
            d.text((x + c - 4, y + h / (rows + 1) / 2), t, fill=(20, 20, 20), font=f, anchor="rm")
            x += c
    return im


def text_image():
    im = Image.new("RGB", (SIDE, SIDE), R.choice(["white", "black", hsv(R.random(), .6, .7), hsv(R.random(), .2, .95)]))
    d = ImageDraw.Draw(im)
    c = ink(im.getpixel((0, 0)))
    s = R.randint(24, 44)
    f = font("b", R.choice(["sans", "serif", "display"]), s)
    ls = lines(d, words(R.randint(2, 6)), f, 230)[:5]
    for k, t in enumerate(ls):
        d.text((14, 128 + (k - len(ls) / 2) * s * 1.15), t, fill=c, font=f)
    return im


def handwriting():
    im = Image.new("RGB", (SIDE, SIDE), R.choice(["white", (252, 250, 240), (245, 248, 255)]))
    d = ImageDraw.Draw(im)
    s = R.randint(18, 30)
    f = font("b", "hand", s)
    if R.random() < .3:
        for x in range(0, SIDE, 16):
            d.line([x, 0, x, SIDE], fill=(220, 230, 240))
            d.line([0, x, SIDE, x], fill=(220, 230, 240))
    y = 10
    while y < SIDE - s:
        d.text((10 + R.uniform(-2, 6), y), words(4), fill=R.choice([(10, 10, 60), (30, 30, 30)]), font=f)
        y += s * 1.25
    return im


def obj(px):
    sp, _ = K.sprite(px)
    return sp


def picture():
    """A Twemoji object on a plain, radial or striped background."""
    r = R.random()
    if r < .5:
        im = Image.new("RGB", (SIDE, SIDE), R.choice(["white", hsv(R.random(), R.random(), R.uniform(.3, 1))]))
    elif r < .8:
        im = ImageOps.colorize(Image.radial_gradient("L"), hsv(R.random(), .5, 1), hsv(R.random(), .7, .6))
    else:
        im = ImageOps.colorize(Image.linear_gradient("L").rotate(R.choice([0, 90])), hsv(R.random(), .5, 1), hsv(R.random(), .7, .4))
    px = R.randint(150, 230)
    sp = obj(px)
    im.paste(sp, (R.randint(0, SIDE - px), R.randint(0, SIDE - px)), sp)
    return im


def meme():
    im = picture().resize((300, 300))
    d = ImageDraw.Draw(im)
    s = R.randint(28, 42)
    f = font("b", "fat", s)
    for y, anchor in ((6, "ma"), (294, "md")) if R.random() < .7 else ((294, "md"),):
        t = "\n".join(lines(d, words(R.randint(2, 4)).upper(), f, 290)[:2])
        d.multiline_text((150, y), t, fill="white", font=f, anchor=anchor, stroke_width=3, stroke_fill="black", align="center")
    return im


def chat():
    w, h = 220, 320
    bg, mine, yours = R.choice([("white", (0, 122, 255), (229, 229, 234)), ((30, 33, 36), (88, 101, 242), (47, 49, 54)), ((236, 229, 221), (210, 245, 190), "white"), ((14, 22, 33), (43, 82, 120), (24, 37, 51))])
    im = Image.new("RGB", (w, h), bg)
    d = ImageDraw.Draw(im)
    f = font("b", "sans", 12)
    y = 10
    while y < h - 30:
        me = R.random() < .5
        ls = lines(d, words(R.randint(1, 7)), f, 120)
        bw, bh = max(d.textlength(t, font=f) for t in ls) + 18, 16 * len(ls) + 8
        x = w - bw - 8 if me else 34
        if not me:
            d.ellipse([6, y + bh - 22, 28, y + bh], fill=hsv(R.random(), .5, .8))
        col = mine if me else yours
        d.rounded_rectangle([x, y, x + bw, y + bh], 12, fill=col)
        for k, t in enumerate(ls):
            d.text((x + 9, y + 4 + 16 * k), t, font=f, fill=ink(im.getpixel((int(x + bw / 2), int(y + 2)))))
        y += bh + 8
    return im


def terminal():
    im = Image.new("RGB", (320, 240), R.choice(["black", (40, 44, 52), (1, 36, 86), (24, 24, 24)]))
    d = ImageDraw.Draw(im)
    f = font("b", "mono", R.randint(11, 14))
    y = 6
    fg = R.choice([(220, 220, 220), (0, 255, 65), (240, 240, 240)])
    for _ in range(R.randint(8, 20)):
        if R.random() < .3:
            d.text((6, y), R.choice(["root@srv:/# ", "me:~$ ", "PS C:\\> ", "$ "]) + words(2), font=f, fill=fg)
        else:
            d.text((6, y), R.choice(["", "  ", "INFO ", "WARN ", "total "]) + words(R.randint(1, 6)), font=f, fill=R.choice([fg, fg, (240, 200, 80)]))
        y += 16
    return im


CODE = ['''import os
from pathlib import Path

class Loader:
    """Reads items."""
    def __init__(self, root, limit=10):
        self.root = Path(root)
        self.items = []

    def run(self):
        for k, p in enumerate(self.root.iterdir()):
            if k > 10:
                break
            self.items.append(p.name)
        return len(self.items)
''', '''fn main() -> Result<(), Error> {
    let mut total: u64 = 0;
    for line in stdin().lines() {
        let n = line?.trim().parse::<u64>()?;
        total += n; // sum
    }
    println!("total: {}", total);
    Ok(())
}

struct Point { x: f32, y: f32 }
''', '''function load(url, done) {
  const items = [];
  fetch(url).then((r) => r.json()).then((data) => {
    for (const item of data) {
      if (!item.hidden) items.push(item.name);
    }
    done(null, items); /* ready */
  }).catch((err) => done(err));
}
export default { load, version: "1.2.0" };
''', '''SELECT name, count(*) AS n
FROM orders o JOIN users u ON u.id = o.user_id
WHERE o.total > 100 AND u.country = 'BR'
GROUP BY name ORDER BY n DESC LIMIT 20;

CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  country CHAR(2)
);
''']
LEX = ["python", "rust", "javascript", "sql"]


def code():
    from pygments import highlight
    from pygments.formatters import ImageFormatter
    from pygments.lexers import get_lexer_by_name
    k = R.randrange(len(CODE))
    ls = CODE[k].split("\n")
    cut = R.randint(0, 4)
    b = highlight("\n".join(ls[cut:] + ls[:R.randint(3, 9)]), get_lexer_by_name(LEX[k]), ImageFormatter(
        style=R.choice(["monokai", "default", "vs", "native", "nord", "gruvbox-dark", "friendly", "dracula", "one-dark"]),
        font_name=R.choice(K._files("b", "mono")), font_size=R.randint(12, 16), line_numbers=R.random() < .5))
    im = Image.open(io.BytesIO(b)).convert("RGB")
    return im.crop((0, 0, min(im.width, 380), min(im.height, 340)))


def document():
    im = Image.new("RGB", (300, 380), "white")
    d = ImageDraw.Draw(im)
    f, g = font("b", "serif", 11), font("b", R.choice(["serif", "sans"]), 18)
    d.text((150, 30), words(3).title(), fill="black", font=g, anchor="mm")
    y = 54
    while y < 350:
        for t in lines(d, words(R.randint(15, 45)), f, 244):
            if y < 350:
                d.text((28, y), t, fill=(25, 25, 25), font=f)
            y += 14
        y += 10
    return im


def qr_code():
    import qrcode
    from qrcode.image.styledpil import StyledPilImage
    from qrcode.image.styles.moduledrawers.pil import CircleModuleDrawer, GappedSquareModuleDrawer, RoundedModuleDrawer, SquareModuleDrawer
    q = qrcode.QRCode(version=R.randint(2, 6), border=R.randint(2, 5))
    q.add_data("https://" + words(1) + ".example/" + str(R.randint(0, 9999)))
    q.make(fit=True)
    im = q.make_image(image_factory=StyledPilImage, module_drawer=R.choice([SquareModuleDrawer, RoundedModuleDrawer, GappedSquareModuleDrawer, CircleModuleDrawer])()).convert("RGB")
    return im if R.random() < .7 else ImageOps.expand(im, R.randint(10, 60), hsv(R.random(), .5, .8))


def barcode():
    import barcode as bc
    from barcode.writer import ImageWriter
    kind, n = R.choice([("ean13", 12), ("code128", 12), ("code39", 8), ("ean8", 7), ("upca", 11)])
    im = bc.get(kind, "".join(str(R.randint(0, 9)) for _ in range(n)), writer=ImageWriter()).render({"write_text": R.random() < .7, "font_path": R.choice(K._files("b", "sans")), "module_height": R.uniform(10, 22)})
    return im.convert("RGB")


def logo():
    bg = R.choice(["white", "white", hsv(R.random(), .7, .5), (20, 20, 25)])
    im = Image.new("RGB", (SIDE, SIDE), bg)
    d = ImageDraw.Draw(im)
    c = hsv(R.random(), .8, .8)
    c2 = hsv(R.random(), .8, .9)
    k = R.randint(0, 3)
    if k == 0:
        for i in range(5):
            a = i * 1.2566
            d.ellipse([128 + 40 * math.cos(a) - 24, 95 + 40 * math.sin(a) - 24, 128 + 40 * math.cos(a) + 24, 95 + 40 * math.sin(a) + 24], fill=c if i % 2 else c2)
    elif k == 1:
        d.regular_polygon((128, 95, 62), 6, fill=c)
        d.regular_polygon((128, 95, 30), 6, fill=bg, rotation=30)
    elif k == 2:
        d.pieslice([68, 35, 188, 155], 30, 330, fill=c)
        d.ellipse([150, 80, 178, 108], fill=c2)
    else:
        d.polygon([(128, 30), (190, 150), (150, 150), (128, 100), (106, 150), (66, 150)], fill=c)
    t = words(1).split()[0][:8]
    d.text((128, 205), R.choice([t.upper(), t.title()]), fill=ink(im.getpixel((0, 0))), font=font("b", "display", 36), anchor="mm")
    return im


def pixel_art():
    n = R.choice([18, 22, 26, 30])
    im = picture().resize((n, n), Image.BOX if R.random() < .5 else Image.NEAREST)
    im = ImageOps.posterize(im, R.choice([2, 3]))
    k = 256 // n
    return im.resize((n * k, n * k), Image.NEAREST)


def line_art():
    sp = obj(230)
    im = Image.new("RGB", (SIDE, SIDE), "white")
    im.paste(sp, (13, 13), sp)
    g = ImageOps.autocontrast(im.convert("L").filter(ImageFilter.SMOOTH).filter(ImageFilter.CONTOUR))
    return g.point(lambda v: 0 if v < 215 else 255).filter(ImageFilter.SMOOTH).crop((3, 3, 253, 253)).convert("RGB")


def gradient():
    base = R.choice([Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.linear_gradient("L").rotate(45, Image.BICUBIC).crop((50, 50, 206, 206)), Image.radial_gradient("L")])
    return ImageOps.colorize(base, hsv(R.random(), R.uniform(.3, 1), R.uniform(.4, 1)), hsv(R.random(), R.uniform(.3, 1), R.uniform(.4, 1)), mid=R.choice([None, hsv(R.random(), .6, .9)])).resize((SIDE, SIDE))


def sky():
    im = ImageOps.colorize(Image.linear_gradient("L"), *R.choice([((70, 130, 220), (190, 220, 250)), ((100, 170, 240), (225, 240, 255)), ((130, 110, 180), (255, 190, 140))]))
    m = Image.new("L", (SIDE, SIDE))
    d = ImageDraw.Draw(m)
    for _ in range(R.randint(3, 7)):
        x, y = R.random() * SIDE, R.uniform(0, .9) * SIDE
        for _ in range(R.randint(8, 18)):
            a, b, r = x + R.gauss(0, 26), y + R.gauss(0, 8), R.uniform(8, 24)
            d.ellipse([a - r, b - r * .7, a + r, b + r * .7], fill=R.randint(170, 255))
    im.paste((255, 255, 255), (0, 0), m.filter(ImageFilter.GaussianBlur(R.uniform(4, 9))))
    return im


def night_sky():
    a = np.zeros((SIDE, SIDE, 3), np.float32) + np.array(hsv(R.uniform(.6, .75), .7, .12))
    g = rng()
    n = R.randint(80, 300)
    ys, xs = g.integers(0, SIDE, n), g.integers(0, SIDE, n)
    a[ys, xs] = 255
    big = np.zeros_like(a)
    big[ys[: n // 4], xs[: n // 4]] = 255
    big = np.asarray(Image.fromarray(big.astype(np.uint8)).filter(ImageFilter.MaxFilter(3)), np.float32)
    return Image.fromarray(np.clip(np.maximum(a, big), 0, 255).astype(np.uint8))


def landscape():
    im = ImageOps.colorize(Image.linear_gradient("L"), *R.choice([((120, 190, 250), (230, 245, 255)), ((255, 170, 110), (255, 235, 200))]))
    d = ImageDraw.Draw(im)
    for k in range(R.randint(2, 4)):
        y = 110 + k * 36
        g = rng()
        rough = np.cumsum(g.normal(size=65))
        rough -= np.linspace(rough[0], rough[-1], 65)
        amp = R.uniform(3, 9)
        d.polygon([(0, SIDE)] + [(x * 4, y - amp * rough[x]) for x in range(65)] + [(SIDE, SIDE)], fill=hsv(R.choice([.33, .3, .58, .1]), R.uniform(.25, .6), .8 - .16 * k))
    if R.random() < .5:
        d.ellipse([190, 20, 226, 56], fill=(255, 240, 160))
    return im


def collage():
    im = Image.new("RGB", (SIDE, SIDE), R.choice(["white", "black", (230, 220, 200)]))
    lay = R.choice([[(0, 0, 2, 1), (0, 1, 1, 1), (1, 1, 1, 1)], [(0, 0, 1, 2), (1, 0, 1, 1), (1, 1, 1, 1)], [(0, 0, 1, 1), (1, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 1)]])
    for x, y, w, h in lay:
        p = ImageOps.fit(picture(), (w * 128 - 6, h * 128 - 6))
        im.paste(p, (x * 128 + 3, y * 128 + 3))
    return im


def outline_sticker():
    im = Image.new("RGB", (SIDE, SIDE), hsv(R.random(), R.uniform(.2, .9), R.uniform(.2, .8)))
    sp = obj(R.randint(160, 200))
    a = ImageOps.expand(sp.getchannel("A"), 28)
    o = Image.new("L", a.size)
    r = R.randint(6, 9)
    for k in range(24):
        o.paste(255, (int(r * math.cos(k * .2618)), int(r * math.sin(k * .2618))), a)
    x = (SIDE - o.width) // 2
    im.paste("white", (x, x), o)
    im.paste(sp, (x + 28, x + 28), sp)
    return im


def blurry():
    im = picture()
    return im.filter(ImageFilter.BoxBlur(R.uniform(9, 15))) if R.random() < .6 else im.resize((14, 14), Image.BOX).resize((SIDE, SIDE), Image.BICUBIC)


def noisy():
    a = np.asarray(picture()).copy()
    g = rng()
    if R.random() < .5:
        m = g.random((128, 128)).repeat(2, 0).repeat(2, 1)
        q = R.uniform(.12, .3)
        a[m < q / 2] = 0
        a[m > 1 - q / 2] = 255
    else:
        n = g.uniform(-1, 1, (128, 128, 3)).repeat(2, 0).repeat(2, 1) * R.uniform(90, 150)
        a = np.clip(a + n, 0, 255).astype(np.uint8)
    return Image.fromarray(a)


def watermarked():
    im = picture().convert("RGBA")
    o = Image.new("RGBA", im.size)
    d = ImageDraw.Draw(o)
    t = R.choice(["COPYRIGHT", "stockpics", "PROOF", "trial version"])
    f = font("b", "sans", R.randint(20, 30))
    for y in range(-20, 300, R.randint(46, 64)):
        for x in range(-40 + (y % 3) * 20, 300, int(d.textlength(t, font=f)) + 22):
            d.text((x, y), t, font=f, fill=R.choice([(255, 255, 255), (90, 90, 90)]) + (130,))
    o = o.rotate(R.choice([15, 25, -20]), Image.BICUBIC)
    return Image.alpha_composite(im, o).convert("RGB")


def low_quality():
    s = R.choice([60, 80, 100])
    im = picture().resize((s, s))
    im = codec(im, format="WEBP", quality=0) if R.random() < .4 else codec(codec(im, format="JPEG", quality=5), format="JPEG", quality=R.randint(2, 9))
    return im.resize((SIDE, SIDE), Image.BILINEAR)


def comic():
    im = Image.new("RGB", (300, 300), "white")
    d = ImageDraw.Draw(im)
    f = font("b", R.choice(["hand", "sans"]), 13)
    grid = R.choice([[(6, 6, 294, 146), (6, 154, 146, 294), (154, 154, 294, 294)], [(6, 6, 146, 146), (154, 6, 294, 146), (6, 154, 146, 294), (154, 154, 294, 294)], [(6, 60, 98, 240), (104, 60, 196, 240), (202, 60, 294, 240)]])
    for x0, y0, x1, y1 in grid:
        d.rectangle([x0, y0, x1, y1], fill=hsv(R.random(), R.uniform(0, .4), .97), outline="black", width=3)
        px = int(min(x1 - x0, y1 - y0) * .55)
        sp = obj(px)
        im.paste(sp, (R.randint(x0 + 4, max(x0 + 5, x1 - px - 4)), y1 - px - 6), sp)
        d.rounded_rectangle([x0 + 8, y0 + 8, x0 + 84, y0 + 38], 12, fill="white", outline="black", width=2)
        d.polygon([(x0 + 30, y0 + 37), (x0 + 46, y0 + 37), (x0 + 36, y0 + 52)], fill="white", outline="black")
        d.text((x0 + 46, y0 + 23), words(1)[:9], fill="black", font=f, anchor="mm")
    return im


def diagram():
    im = Image.new("RGB", (300, 260), R.choice(["white", (250, 250, 252)]))
    d = ImageDraw.Draw(im)
    f = font("b", "sans", 12)
    col = [hsv(R.random(), .25, 1) for _ in range(2)]
    levels = R.choice([[1, 2, 3], [1, 2, 2], [1, 3], [2, 1, 2], [1, 1, 2]])
    pts = [[((i + .5) * 300 / n, 40 + 90 * k) for i in range(n)] for k, n in enumerate(levels)]
    for a, b in zip(pts, pts[1:]):
        for q in b:
            p = min(a, key=lambda p: abs(p[0] - q[0]))
            mid = (p[1] + q[1]) / 2
            d.line([p, (p[0], mid), (q[0], mid), q], fill="black", width=2)
            d.polygon([(q[0], q[1] - 20), (q[0] - 5, q[1] - 30), (q[0] + 5, q[1] - 30)], fill="black")
    for row in pts:
        for x, y in row:
            d.rectangle([x - 40, y - 20, x + 40, y + 20], fill=R.choice(col), outline="black", width=2)
            d.text((x, y), words(1)[:9], fill="black", font=f, anchor="mm")
    return im


def map():  # noqa: A001
    bg = R.choice([(238, 236, 230), (232, 240, 228)])
    im = Image.new("RGB", (SIDE, SIDE), bg)
    d = ImageDraw.Draw(im)
    if R.random() < .7:
        d.polygon([(0, 150), (70, 170), (130, 200), (150, 256), (0, 256)], fill=(160, 200, 235))
    for _ in range(2):
        x, y = R.randint(0, 200), R.randint(0, 200)
        d.rounded_rectangle([x, y, x + R.randint(30, 70), y + R.randint(30, 60)], 8, fill=(195, 225, 175))
    roads = [[(R.randint(-20, 276), -10), (R.randint(0, 256), R.randint(80, 160)), (R.randint(-20, 276), 266)] for _ in range(R.randint(4, 7))]
    roads += [[(-10, R.randint(-20, 276)), (R.randint(80, 160), R.randint(0, 256)), (266, R.randint(-20, 276))] for _ in range(R.randint(4, 7))]
    for w, c in ((8, (205, 200, 190)), (5, "white")):
        for k, r in enumerate(roads):
            d.line(r, fill=(245, 205, 110) if k == 0 and w == 5 else c, width=w + (3 if k == 0 else 0), joint="curve")
    for _ in range(4):
        d.text((R.randint(5, 200), R.randint(5, 240)), words(1).title(), fill=(80, 80, 80), font=font("b", "sans", 11))
    return im


def sheet_music():
    im = Image.new("RGB", (300, 260), "white")
    d = ImageDraw.Draw(im)
    for top in range(20, 230, 76):
        for k in range(5):
            d.line([10, top + 8 * k, 290, top + 8 * k], fill="black")
        for x in (10, 104, 197, 290):
            d.line([x, top, x, top + 32], fill="black")
        x = 40
        while x < 282:
            y = top + 4 * R.randint(-1, 9)
            r = 4
            d.ellipse([x - 5, y - r, x + 5, y + r], fill="black" if R.random() < .75 else "white", outline="black")
            s = -1 if y > top + 16 else 1
            d.line([x - 4.5 * s, y, x - 4.5 * s, y + 28 * s], fill="black", width=2)
            if R.random() < .3:
                d.arc([x - 4.5 * s, y + 28 * s - 8, x - 4.5 * s + 12, y + 28 * s + 8], 270, 60, fill="black", width=2)
            x += R.randint(16, 30)
    return im


def receipt():
    w, h = 180, 320
    im = Image.new("RGB", (w, h), (252, 252, 250))
    d = ImageDraw.Draw(im)
    f = font("b", "mono", 11)
    d.text((w / 2, 18), words(1).title()[:12], fill="black", font=font("b", "mono", 17), anchor="mm")
    y = 38
    for k in range(R.randint(9, 14)):
        d.text((8, y), f"{R.randint(1, 3)} {words(1)[:10]}", fill=(30, 30, 30), font=f)
        d.text((w - 8, y), f"{R.uniform(1, 60):.2f}", fill=(30, 30, 30), font=f, anchor="ra")
        y += 15
    d.line([8, y + 4, w - 8, y + 4], fill="black")
    d.text((8, y + 8), "Total", fill="black", font=font("b", "mono", 15))
    d.text((w - 8, y + 8), f"{R.uniform(30, 300):.2f}", fill="black", font=font("b", "mono", 15), anchor="ra")
    return ImageOps.expand(im, (R.randint(0, 50), 0), hsv(R.random(), .3, .5))


def app_ui():
    dark = R.random() < .3
    bg = (24, 26, 30) if dark else (250, 250, 252)
    card = (42, 45, 52) if dark else (255, 255, 255)
    acc = hsv(R.random(), .7, .8)
    f = font("b", "sans", 12)
    if R.random() < .5:
        im = Image.new("RGB", (180, 320), bg)
        d = ImageDraw.Draw(im)
        d.rectangle([0, 0, 180, 40], fill=acc)
        d.text((14, 12), words(1).title(), fill=ink(acc), font=font("b", "sans", 16))
        for k in range(5):
            y = 50 + 46 * k
            d.rounded_rectangle([8, y, 172, y + 40], 6, fill=card, outline=(128, 128, 128))
            d.rectangle([14, y + 6, 42, y + 34], fill=hsv(R.random(), .5, .8))
            d.text((50, y + 6), words(1), fill=ink(bg), font=f)
            d.text((50, y + 21), words(2)[:16], fill=(130, 130, 130), font=f)
        d.ellipse([130, 270, 168, 308], fill=acc)
    else:
        im = Image.new("RGB", (340, 260), bg)
        d = ImageDraw.Draw(im)
        d.rectangle([0, 0, 340, 26], fill=card, outline=(128, 128, 128))
        d.rounded_rectangle([60, 5, 300, 21], 8, fill=bg)
        d.text((90, 44), words(2).title(), fill=ink(bg), font=font("b", "sans", 22))
        for k in range(3):
            d.rounded_rectangle([14 + 106 * k, 90, 112 + 106 * k, 180], 5, fill=card, outline=(140, 140, 140))
            d.rectangle([14 + 106 * k, 90, 112 + 106 * k, 135], fill=hsv(R.random(), .4, .85))
            d.text((20 + 106 * k, 145), words(1)[:10], fill=ink(card), font=f)
        d.rounded_rectangle([130, 205, 210, 235], 8, fill=acc)
        d.text((170, 220), "OK", fill=ink(acc), font=f, anchor="mm")
    return im


def pattern():
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    s = R.choice([12, 16, 20])
    m = R.choice([
        lambda: ((x // s + y // (2 * s)) % 2), lambda: (np.sin(x / s * 2) + np.sin(y / s * 2) > 0), lambda: (((x + y) // s) % 2),
        lambda: (np.hypot(x % (2 * s) - s, y % (2 * s) - s) < s * .6), lambda: ((np.abs(x % (2 * s) - s) + y) // s % 2), lambda: (np.abs(x % (2 * s) - s) + np.abs(y % (2 * s) - s) < s * .8),
    ])().astype(np.float32)
    a, b = np.array(hsv(R.random(), .7, .9)), np.array(R.choice([(255, 255, 255), hsv(R.random(), .7, .4)]))
    return Image.fromarray((m[..., None] * a + (1 - m[..., None]) * b).astype(np.uint8))


def blank():
    return Image.new("RGB", (SIDE, SIDE), R.choice(["white", "black", hsv(R.random(), R.random(), R.random())]))


def board_game():
    a, b = R.choice([((235, 209, 166), (165, 117, 81)), ((220, 220, 220), (90, 110, 140)), ("white", (120, 120, 120))])
    im = Image.new("RGB", (SIDE, SIDE), a)
    d = ImageDraw.Draw(im)
    for i in range(8):
        for j in range(8):
            if (i + j) % 2:
                d.rectangle([i * 32, j * 32, i * 32 + 31, j * 32 + 31], fill=b)
            if R.random() < .28:
                c = R.choice(["white", "black", (180, 30, 30)])
                d.ellipse([i * 32 + 5, j * 32 + 5, i * 32 + 26, j * 32 + 26], fill=c, outline=(90, 90, 90))
    return im


def render(kind):
    return globals()[kind](), None
