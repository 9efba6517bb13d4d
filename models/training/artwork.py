"""Rasterises openly licensed emoji artwork once, to a memory-mapped table of small RGBA sprites.

    python artwork.py --npm NODE_MODULES --out DIR [--size 96] [--styles training|evaluation]

Writes sprites-<set>.npy (N, size, size, 4, straight alpha), sprites-<set>.json (one row per sprite:
style, emoji) and emoji.json (names and keywords in English and Portuguese from Unicode CLDR).
"""
import argparse
import io
import json
import re
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

TRAINING = [
    "noto", "fluent-emoji-flat", "fluent-emoji", "emojione", "noto-v1",
    "fluent-emoji-high-contrast", "fxemoji", "emojione-monotone", "streamline-emojis",
]
# Never seen in training. OpenMoji is not used at all.
EVALUATION = ["twemoji"]


def key(s):
    return re.sub(r"[^a-z0-9]+", "", s.lower().replace("’", "").replace("&", "and"))


def strip_fe0f(h):
    return "-".join(p for p in h.lower().split("-") if p != "fe0f")


def load_emoji(npm):
    """Every emoji without skin tone: code, names, keywords and group."""
    en = json.loads((npm / "emojibase-data/en/data.json").read_text())
    pt = {e["hexcode"]: e for e in json.loads((npm / "emojibase-data/pt/data.json").read_text())}
    meta = json.loads((npm / "emojibase-data/meta/groups.json").read_text())

    def cldr(lang):
        out = {}
        for pkg, sub in (("cldr-annotations-full", "annotations"), ("cldr-annotations-derived-full", "annotationsDerived")):
            d = json.loads((npm / pkg / sub / lang / "annotations.json").read_text())
            for ch, a in d[sub]["annotations"].items():
                out[ch.replace("\ufe0f", "")] = a
        return out

    cen, cpt = cldr("en"), cldr("pt")
    rows = []
    for e in en:
        if e.get("group") is None or meta["groups"][str(e["group"])] == "component":
            continue
        ch = e["emoji"].replace("\ufe0f", "")
        p = pt.get(e["hexcode"], {})
        a, b = cen.get(ch, {}), cpt.get(ch, {})
        names_en = [e["label"]] + a.get("tts", [])
        names_pt = ([p["label"]] if p else []) + b.get("tts", [])
        rows.append({
            "code": strip_fe0f(e["hexcode"]),
            "name": e["label"],
            "en": sorted(set(n.lower() for n in names_en)),
            "pt": sorted(set(n.lower() for n in names_pt)),
            "keywords_en": sorted(set(k.lower() for k in e.get("tags", []) + a.get("default", []))),
            "keywords_pt": sorted(set(k.lower() for k in p.get("tags", []) + b.get("default", []))),
            "group": meta["groups"][str(e["group"])],
            "subgroup": meta["subgroups"][str(e.get("subgroup", 0))],
        })
    return rows


def matcher(npm, emoji):
    """Maps an icon's name in any set to an emoji code."""
    codes = {e["code"] for e in emoji}
    names = {}
    for e in emoji:
        for n in e["en"]:
            names.setdefault(key(n), e["code"])
    for s in ("noto", "fluent-emoji-flat", "twemoji"):
        for h, n in json.loads((npm / f"@iconify-json/{s}/chars.json").read_text()).items():
            if strip_fe0f(h) in codes:
                names.setdefault(key(n), strip_fe0f(h))
    for c in codes:
        if "-" not in c:
            n = unicodedata.name(chr(int(c, 16)), "")
            if n:
                names.setdefault(key(n), c)

    def match(icon):
        forms = [icon, re.sub(r"-\d$", "", icon), icon.replace("flag-for-", "flag-"), icon.replace("flag-for-flag-", "flag-")]
        for f in forms:
            k = key(f)
            for v in (k, k + "face", k[:-4] if k.endswith("face") else k, k.replace("facewith", "")):
                if v in names:
                    return names[v]
        return None

    return match


def jobs(npm, styles, emoji):
    codes = {e["code"] for e in emoji}
    match = matcher(npm, emoji)
    for style in styles:
        base = npm / f"@iconify-json/{style}"
        data = json.loads((base / "icons.json").read_text())
        chars = {n: strip_fe0f(h) for h, n in json.loads((base / "chars.json").read_text()).items()}
        seen = set()
        for name, icon in data["icons"].items():
            code = chars.get(name) or (match(name) if not chars else None)
            if code not in codes or code in seen and style != "streamline-emojis":
                continue
            seen.add(code)
            w, h = icon.get("width", data.get("width", 16)), icon.get("height", data.get("height", 16))
            l, t = icon.get("left", 0), icon.get("top", 0)
            mono = "currentColor" in icon["body"]
            yield style, code, mono, (
                f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{l} {t} {w} {h}" color="#000">{icon["body"]}</svg>'
            )


def raster(job):
    import resvg_py

    svg, size = job
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size * 2, skip_system_fonts=True))
        im = Image.open(io.BytesIO(png)).convert("RGBA")
    except Exception:
        return None
    box = im.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None:
        return None
    im = im.crop(box)
    s = size / max(im.size)
    im = im.convert("RGBa").resize((max(1, round(im.width * s)), max(1, round(im.height * s))), Image.BOX if s <= 0.5 else Image.BILINEAR)
    im = im.convert("RGBA")
    out = Image.new("RGBA", (size, size))
    out.paste(im, ((size - im.width) // 2, (size - im.height) // 2))
    return np.asarray(out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--npm", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--size", type=int, default=96)
    p.add_argument("--styles", default="training")
    p.add_argument("--workers", type=int, default=2)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    emoji = load_emoji(a.npm)
    (a.out / "emoji.json").write_text(json.dumps(emoji, ensure_ascii=False))
    styles = TRAINING if a.styles == "training" else EVALUATION
    js = list(jobs(a.npm, styles, emoji))
    print(len(emoji), "emoji,", len(js), "drawings", flush=True)
    table = np.lib.format.open_memmap(a.out / f"sprites-{a.styles}.npy", "w+", np.uint8, (len(js), a.size, a.size, 4))
    rows = []
    with ProcessPoolExecutor(a.workers) as pool:
        for (style, code, mono, _), px in zip(js, pool.map(raster, ((j[3], a.size) for j in js), chunksize=16)):
            if px is None:
                continue
            table[len(rows)] = px
            rows.append({"style": style, "code": code, "mono": mono})
            if len(rows) % 2000 == 0:
                print(len(rows), flush=True)
    table.flush()
    (a.out / f"sprites-{a.styles}.json").write_text(json.dumps(rows))
    count = {s: sum(r["style"] == s for r in rows) for s in styles}
    print(len(rows), count)


if __name__ == "__main__":
    main()
