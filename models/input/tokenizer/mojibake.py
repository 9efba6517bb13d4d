"""Makes mojibake.json: ftfy's character maps and patterns, spelled for Rust's `regex`.

    pip install ftfy==6.3.1
    python mojibake.py > mojibake.json
"""
import json

import ftfy
from ftfy import badness, chardata

assert ftfy.__version__ == "6.3.1", ftfy.__version__


def terse(pattern):
    """A verbose pattern without its white space and comments, those inside [classes] kept."""
    out, in_class, i = [], False, 0
    while i < len(pattern):
        c = pattern[i]
        if c == "\\":
            out.append(pattern[i:i + 2])
            i += 2
            continue
        if in_class:
            in_class = c != "]"
            out.append("\\" + c if c in "[&~" else c)
        elif c == "[":
            in_class = True
            out.append(c)
        elif c == "#":
            i = pattern.index("\n", i)
        elif c not in " \n\t":
            out.append(c)
        i += 1
    return "".join(out)


clues = chardata.UTF8_CLUES
detector = "(?:[{utf8_first_of_2}][{utf8_continuation}]|[{utf8_first_of_3}][{utf8_continuation}]{{2}}" \
    "|[{utf8_first_of_4}][{utf8_continuation}]{{3}})+"
print(json.dumps({
    "source": "ftfy 6.3.1, Robyn Speer, Apache-2.0",
    "encodings": {name: bytes(range(0x80, 0x100)).decode(name) for name in chardata.CHARMAP_ENCODINGS},
    "bad": terse(badness.BADNESS_RE.pattern),
    "utf8": detector.format(**clues),
    "not_before_utf8": f"[{clues['utf8_continuation_strict']}]",
}, indent=0))
