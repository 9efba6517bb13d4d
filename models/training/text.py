"""The text tower of the joined space: CLIP's tokens in a narrow table, a projection, a causal transformer, and an
embedding of two halves, one a world, whose length says how well the world knows the text."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from open_clip.transformer import Transformer

import space

DRAWN, SEEN = 256, space.DIM  # numbers of the two halves
RAW = DRAWN + SEEN + 2  # and one for each world as such
# Logits are SCALE x cosine. How long the halves of a text that its world knows are, is what makes a logit of one
# world weigh as much as one of the other.
SCALE, DRAWN_LENGTH, SEEN_LENGTH = 50.0, .65, .26


class Text(nn.Module):
    def __init__(self, cfg, rows):
        super().__init__()
        self.token_embedding = nn.Embedding(rows, cfg["token_width"])
        self.token_projection = nn.Linear(cfg["token_width"], cfg["width"], bias=False)
        self.positional_embedding = nn.Parameter(.02 * torch.randn(cfg["context_length"], cfg["width"]))
        self.transformer = Transformer(width=cfg["width"], layers=cfg["layers"], heads=cfg["heads"], mlp_ratio=cfg["mlp_ratio"])
        self.ln_final = nn.LayerNorm(cfg["width"])
        # Small: a text starts as one that neither world knows.
        self.text_projection = nn.Parameter(.04 * cfg["width"] ** -.5 * torch.randn(cfg["width"], RAW))
        n = cfg["context_length"]
        self.register_buffer("mask", torch.full((n, n), float("-inf")).triu(1), persistent=False)

    def forward(self, tokens, end, rows=None):
        """`tokens` (n, length), `end` (n,): where each text ends. (n, RAW), as it is."""
        n = tokens.shape[1]
        x = self.token_embedding(tokens) if rows is None else rows
        x = self.token_projection(x) + self.positional_embedding[:n]
        x = self.transformer(x, attn_mask=self.mask[:n, :n])
        x = self.ln_final(x[torch.arange(len(tokens)), end])
        return (x @ self.text_projection).float()


def whole(raw):
    """(n, RAW) to length 1: over 1 it is shortened, under 1 a last number makes up for what is missing."""
    missing = (1 - raw.square().sum(-1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([raw / raw.norm(dim=-1, keepdim=True).clamp(min=1), missing], -1)
