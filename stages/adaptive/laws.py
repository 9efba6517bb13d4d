"""Laws of learning side by side: how often the first label is right after n judgements of a theme.

    python stages/adaptive/laws.py [--wrong 0.1] [--unequal]

50 themes that each want 4 of 20 labels, a model that is often unsure between two, raters of whom some are
wrong; the same as in the test `learning_raises_accuracy`. `--unequal`: label n is 1/n as frequent as the first.
Needs NumPy.
"""
import argparse

import numpy as np

LABELS, THEMES, TRIALS, WANTED, ALPHA = 20, 50, 400, 4, 0.4
COUNTS = [0, 1, 3, 10, 100, 1000, 10_000]


def images(random, truth):
    """What the model says of pictures of these labels: [n, LABELS]."""
    n = len(truth)
    other = (truth + random.integers(1, LABELS, n)) % LABELS
    lead = 0.5 + 0.22 * (random.random(n) - 0.35)
    p = np.full((n, LABELS), 0.1 / (LABELS - 2))
    p[np.arange(n), truth] = 0.9 * lead
    p[np.arange(n), other] = 0.9 * (1.0 - lead)
    return p


def first_only(p, signs):
    """For and against each label: the first of each picture, by how far it stands above chance."""
    weight = (LABELS * p.max(1) - 1.0) / (LABELS - 1.0)
    count = lambda chosen: np.bincount(p.argmax(1), weights=weight * chosen, minlength=LABELS)
    return count(signs > 0), count(signs < 0)


def best_five(p, signs):
    """The same for the best five of each picture, by their share of the first."""
    order = np.argsort(-p, 1, kind="stable")[:, :5]
    weight, rows = np.zeros_like(p), np.arange(len(p))[:, None]
    weight[rows, order] = p[rows, order] / p.max(1, keepdims=True)
    return weight[signs > 0].sum(0), weight[signs < 0].sum(0)


def centred(p, signs):
    """Credits p - sum of p squared for every label."""
    return (signs[:, None] * (p - (p ** 2).sum(1, keepdims=True))).sum(0)


def ranged(v, k):
    half = (v.max() - v.min()) / 2.0
    return ALPHA * (v - (v.max() + v.min()) / 2.0) / (half + k)


def this_law(p, signs):
    accepted, rejected = first_only(p, signs)
    return ranged(accepted - rejected, 0.75)


def before(p, signs):
    accepted, rejected = best_five(p, signs)
    return np.log1p(ALPHA * (accepted - rejected) / (accepted + rejected + 4.0))


def rates(p, signs):
    accepted, rejected = first_only(p, signs)
    return ALPHA * (accepted - rejected) / (accepted + rejected + 0.5)


def all_labels(p, signs):
    v = centred(p, signs)
    return ALPHA * v / (np.abs(v).max() + 0.5)


def all_labels_ranged(p, signs):
    return ranged(centred(p, signs), 0.5)


def logarithms(p, signs):
    accepted, rejected = first_only(p, signs)
    v = accepted - rejected
    grown = lambda x: np.log1p(x / 0.5)
    return ALPHA * (grown(v - v.min()) - grown(v.max() - v)) / (grown(v.max() - v.min()) + 1.0)


LAWS = {
    "no feedback": lambda p, signs: np.zeros(LABELS),
    "before: rates of five labels": before,
    "this law": this_law,
    "rates of one label": rates,
    "credits of all labels, over the largest": all_labels,
    "credits of all labels, over the range": all_labels_ranged,
    "logarithms of balances": logarithms,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wrong", type=float, default=0.1, help="share of raters who are wrong")
    parser.add_argument("--unequal", action="store_true", help="labels of unequal frequency")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    frequency = 1.0 / np.arange(1, LABELS + 1) if args.unequal else np.ones(LABELS)
    table = {law: [] for law in LAWS}
    for count in COUNTS:
        random = np.random.default_rng(args.seed)
        right = dict.fromkeys(LAWS, 0)
        for _ in range(THEMES):
            wanted = random.permutation(LABELS)[:WANTED]
            of_wanted = frequency[wanted] / frequency[wanted].sum()
            truth = np.where(random.random(count) < 0.5, random.choice(wanted, count, p=of_wanted),
                             random.choice(LABELS, count, p=frequency / frequency.sum()))
            honest = np.isin(truth, wanted)
            signs = np.where(honest != (random.random(count) < args.wrong), 1, -1)
            judged = images(random, truth)
            truth = random.choice(wanted, TRIALS, p=of_wanted)
            asked = np.log(images(random, truth))
            for law, offsets in LAWS.items():
                moved = asked + offsets(judged, signs) if count else asked
                right[law] += (moved.argmax(1) == truth).sum()
        for law in LAWS:
            table[law].append(100.0 * right[law] / (THEMES * TRIALS))
    print("% right after n judgements".ljust(42) + "".join(f"{count:>8}" for count in COUNTS))
    for law, row in table.items():
        print(law.ljust(42) + "".join(f"{percent:8.1f}" for percent in row))


if __name__ == "__main__":
    main()
