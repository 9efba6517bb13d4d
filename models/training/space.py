"""The photograph half of the embedding: a convex combination of class embeddings (ConSE, Norouzi et al. 2014,
arXiv:1312.5650).

A picture is `softmax(logits / T) @ R`: how much of its probability each of the encoder's 1,000 classes has, in
220 numbers instead of 1,000. `R` (1000, 220) has a row of length 1 a class; rows are the closer the more alike
the classifier's own rows are and the more WordNet ancestors two classes share. A label is the vector whose
product with a picture is nearest to the probability of the classes that the label names (`target`). A mean of the
classifier's rows would be simpler and does not work: it knows a spaniel from a terrier, not a dog from a chair.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

DIM = 220
TEMPERATURE = .7  # of the classifier's logits: it was trained with smoothed labels and is too modest
OWN, ANCESTORS, ROWS = .5, .15, .35  # what the similarity of two classes is made of


def class_embeddings(weight, below, classes=1000):
    """`weight` (1000, 1280) of the classifier, `below` synset -> classes: (1000, DIM)."""
    w = F.normalize(weight - weight.mean(0), dim=1)
    shared = torch.zeros(classes, classes)
    for members in below.values():
        if len(members) > 1:
            i = torch.tensor(sorted(members))
            information = -math.log(len(members) / classes) / math.log(classes)
            shared[i[:, None], i] = shared[i[:, None], i].clamp(min=information)
    shared.fill_diagonal_(1)
    k = OWN * torch.eye(classes) + ANCESTORS * shared + ROWS * w @ w.T
    values, vectors = torch.linalg.eigh(k)
    return F.normalize(vectors[:, -DIM:] * values[-DIM:].clamp(min=0).sqrt(), dim=1)


def targets(rows, wanted, ridge=.3, positive=1000.0):
    """Vectors (n, DIM) whose product with `rows` is nearest to `wanted` (n, 1000), which is over 0 where a class
    belongs to a label. Least squares in which the classes that belong weigh as much as all the others."""
    r = rows.double().numpy()
    base = r.T @ r + ridge * np.eye(r.shape[1])
    out = np.empty((len(wanted), r.shape[1]))
    for i, y in enumerate(wanted.double().numpy()):
        belong = np.flatnonzero(y)
        own, weight = r[belong], positive / max(1, len(belong))
        a = base + (weight - 1) * own.T @ own
        out[i] = np.linalg.solve(a, weight * (y[belong] @ own))
    return torch.from_numpy(out).float()
