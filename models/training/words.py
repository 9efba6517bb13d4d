"""The token table's beginning: what the byte-pair tokens of CLIP mean by the company they keep.

A token that is a whole word starts as that word's GloVe vector (public domain), a piece of words as the mean of
the words that it is part of. Training moves the rows that captions use; the others stay, so that a word that no
caption had still lies near words that mean the like.
"""
import numpy as np
import torch

TOKENS, DIM = 49408, 128


def table(glove, tokenizer, pieces=60_000):
    """(49408, 128), rows of length about 1; `tokenizer` gives the ids of a word."""
    out, weight = np.zeros((TOKENS, 100), np.float32), np.zeros(TOKENS, np.float32)
    whole = {}
    for word, row in glove.row.items():
        if row >= pieces or not word.isalpha():
            continue
        ids = tokenizer(word)
        if len(ids) == 1:
            whole[ids[0]] = row
        else:
            for i in ids:
                out[i] += glove.x[row]
                weight[i] += 1
    out /= np.maximum(weight, 1)[:, None]
    for token, row in whole.items():
        out[token] = glove.x[row]
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:100].astype(np.float32)
    start = out @ turn
    # Tokens that no word of the list has (letters of other scripts, say) are told apart by chance.
    alone = np.linalg.norm(out, axis=1) == 0
    start[alone] = .3 * rng.standard_normal((int(alone.sum()), DIM)).astype(np.float32) / DIM ** .5
    return torch.from_numpy(start), sorted(whole)
