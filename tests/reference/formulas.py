"""Reckons what 300 pictures answer, by the formulas of stages/NUMBERS.md and nothing else.

    python formulas.py > ../fixtures/numbers.json

The test `numbers` of the stages compares every number with what the program says. Pictures and
labels are vectors of a small generator, the same here and there, so that no model's weights come
into it. Needs nothing but Python.
"""
import json
import math
import struct

DIM, PICTURES, LABELS, SCALE = 16, 300, 24, 6.0
TOP_K, ENTROPY, ENTROPY_NORMALIZED = 5, 2.5, 0.76
ALPHA, JUDGEMENTS, ASKED, THEMES = 0.4, 150, 60, 2
NEAR, NEIGHBOURS = 0.85, 8
THEME_PRIOR, NEAR_PRIOR, ITSELF_PRIOR = 0.75, 0.5, 0.25
MASK = (1 << 64) - 1


class Random:
    """SplitMix64 (Steele, Lea and Flood 2014)."""

    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        """From 0 to 1, without 1."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) >> 11) / (1 << 53)

    def below(self, bound):
        return int(self.uniform() * bound)

    def vector(self):
        return [2.0 * self.uniform() - 1.0 for _ in range(DIM)]


def unit(vector):
    norm = math.sqrt(sum(x * x for x in vector))
    return [struct.unpack("f", struct.pack("f", x / norm))[0] for x in vector]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def pictures(random):
    """Three of a kind: a vector, and two that are near it."""
    found = []
    for _ in range(PICTURES // 3):
        first = random.vector()
        found.append(unit(first))
        for _ in range(2):
            noise = random.vector()
            found.append(unit([x + 0.15 * y for x, y in zip(first, noise)]))
    return found


def softmax(logits):
    greatest = max(logits)
    powers = [math.exp(logit - greatest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


def entropy(weights):
    total = sum(weights)
    return -sum(w / total * math.log(w / total) for w in weights if w > 0.0)


def ranked(scores):
    return sorted(range(len(scores)), key=lambda label: -scores[label])


def answer(logits, scores):
    order = ranked(scores)
    top = [scores[label] for label in order[:TOP_K]]
    top_k = entropy(top)
    normalized = min(1.0, top_k / math.log(len(top)))
    margin = scores[order[0]] - scores[order[1]]
    whole = entropy(scores)
    ambiguous = whole > ENTROPY or normalized > ENTROPY_NORMALIZED
    close = min(abs(normalized - ENTROPY_NORMALIZED), abs(whole - ENTROPY))
    assert close > 1e-6, "a threshold that rounding decides"
    return [order[0], scores[order[0]], logits[order[0]], margin, whole, top_k, normalized, ambiguous]


def standing(probability, count):
    return min(1.0, max(0.0, (count * probability - 1.0) / (count - 1.0)))


def level(balances, prior, k):
    half = (max(balances) - min(balances)) / 2.0
    if half == 0.0:
        return prior
    common = min(max(0.0, min(balances)), max(balances))
    return [((v - common) / 2.0 + k * p) / (half + k) for v, p in zip(balances, prior)]


def first(scores):
    best = ranked(scores)
    assert scores[best[0]] - scores[best[1]] > 1e-9, "a tie"
    return best[0]


def main():
    random = Random(20261125)
    images = pictures(random)
    labels = [unit(random.vector()) for _ in range(LABELS)]
    counts = [2 + image % (LABELS - 1) for image in range(PICTURES)]
    logits = [[SCALE * dot(image, label) for label in labels[:count]]
              for image, count in zip(images, counts)]
    scores = [softmax(row) for row in logits]
    plain = [answer(row, shares) for row, shares in zip(logits, scores)]

    judged = {}  # (theme, picture): [accepted, rejected]
    for _ in range(JUDGEMENTS):
        # Half of them on pictures that are asked about, and on those near them.
        picture = random.below(ASKED if random.uniform() < 0.5 else PICTURES)
        theme = random.below(THEMES)
        tally = judged.setdefault((theme, picture), [0, 0])
        tally[random.uniform() < 0.4] += 1 + random.below(3)
    adapted = []
    for picture in range(ASKED):
        for theme in range(THEMES):
            adapted.append(adapt(picture, theme, images, counts, scores, judged))
    moved = sum(row[2] != scores[row[0]][row[1]] for row in adapted)
    assert moved > ASKED, "hardly any evidence"
    rounded = [[round(x, 9) if isinstance(x, float) else x for x in row] for row in plain]
    rows = lambda table: ",\n".join("  " + json.dumps(row) for row in table)
    adapted = [[round(x, 9) if isinstance(x, float) else x for x in row] for row in adapted]
    print('{\n "pictures": [\n' + rows(rounded) + '\n ],\n "adapted": [\n' + rows(adapted) + "\n ]\n}")


def adapt(picture, theme, images, counts, scores, judged):
    count, own = counts[picture], scores[picture]
    credit = lambda other: (first(scores[other]), standing(
        math.floor(max(scores[other]) * 1e6 + 0.5) / 1e6, counts[other]))
    balances = [[0.0] * count for _ in range(3)]  # theme, near, itself
    near = []
    for other, image in enumerate(images):
        cosine = dot(images[picture], image)
        assert other == picture or abs(cosine - NEAR) > 1e-4, "a neighbour that rounding decides"
        if other != picture and cosine >= NEAR:
            near.append(other)
    assert len(near) <= NEIGHBOURS
    for (of_theme, other), (accepted, rejected) in judged.items():
        if of_theme != theme:
            continue
        label, weight = credit(other)
        if label < count:
            balances[0][label] += weight * (accepted - rejected)
            if other in near:
                balances[1][label] += weight * (accepted - rejected) * dot(images[picture], images[other])
    accepted, rejected = judged.get((theme, picture), (0, 0))
    balances[2][first(own)] += standing(max(own), count) * (accepted - rejected)
    affinity = [0.0] * count
    for balance, prior in zip(balances, (THEME_PRIOR, NEAR_PRIOR, ITSELF_PRIOR)):
        affinity = level(balance, affinity, prior)
    powers = [p * math.exp(2.0 * ALPHA * a) for p, a in zip(own, affinity)]
    moved = [power / sum(powers) for power in powers]
    winner = first(moved)
    total = accepted + rejected
    return [picture, winner, moved[winner], affinity[winner], accepted / total if total else 0.0, theme]


if __name__ == "__main__":
    main()
