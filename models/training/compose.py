"""Puts sprites on backgrounds, a whole batch at a time, with torch operations only."""
import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


def rand(g, *shape, lo=0.0, hi=1.0):
    return torch.rand(*shape, generator=g) * (hi - lo) + lo


def colors(g, n):
    """Mostly plausible plain colours: random, pale, dark, white, black, gray."""
    c = rand(g, n, 3)
    r = rand(g, n)
    c = torch.where((r < 0.2)[:, None], 0.75 + 0.25 * c, c)
    c = torch.where(((r >= 0.2) & (r < 0.32))[:, None], 0.3 * c, c)
    c = torch.where(((r >= 0.32) & (r < 0.44))[:, None], torch.ones_like(c), c)
    c = torch.where(((r >= 0.44) & (r < 0.52))[:, None], torch.zeros_like(c), c)
    return torch.where(((r >= 0.52) & (r < 0.57))[:, None], c[:, :1].expand(-1, 3), c)


def backgrounds(g, n, s):
    a, b = colors(g, n)[:, :, None, None], colors(g, n)[:, :, None, None]
    lin = torch.linspace(-1, 1, s)
    yy, xx = torch.meshgrid(lin, lin, indexing="ij")
    th = rand(g, n, 1, 1, hi=2 * np.pi)
    u = xx * torch.cos(th) + yy * torch.sin(th)
    grad = (u * 0.5 + 0.5).clamp(0, 1)
    stripes = (torch.sin(u * rand(g, n, 1, 1, lo=3, hi=25)) > 0).float()
    v = -xx * torch.sin(th) + yy * torch.cos(th)
    f = rand(g, n, 1, 1, lo=2, hi=14)
    checks = ((torch.sin(u * f) > 0) ^ (torch.sin(v * f) > 0)).float()
    rad = torch.sqrt((xx - rand(g, n, 1, 1, lo=-.5, hi=.5)) ** 2 + (yy - rand(g, n, 1, 1, lo=-.5, hi=.5)) ** 2).clamp(0, 1)
    kind = torch.multinomial(torch.tensor([.5, .15, .05, .04, .08, .11, .07]), n, True, generator=g)
    t = torch.zeros(n, 1, s, s)
    for k, m in ((1, grad), (2, stripes), (3, checks), (4, rad)):
        t[kind == k, 0] = m[kind == k]
    out = a * (1 - t) + b * t
    for k, cells in ((5, (3, 7)), (6, (8, 25))):
        idx = (kind == k).nonzero()[:, 0]
        if len(idx):
            c = int(torch.randint(*cells, (1,), generator=g))
            noise = rand(g, len(idx), 3, c, c)
            amp = rand(g, len(idx), 1, 1, 1, lo=0.15)
            noise = a[idx] * (1 - amp) + noise * amp
            up = F.interpolate(noise, size=(s, s), mode="bilinear" if k == 5 else "bicubic", align_corners=False)
            out[idx] = up.clamp(0, 1)
    return out


def jitter(g, x, strong=1.0):
    """Brightness, contrast, saturation and hue of RGB in 0..1, per picture."""
    n = len(x)
    gray = (x * torch.tensor([.299, .587, .114])[:, None, None]).sum(1, keepdim=True)
    sat = rand(g, n, 1, 1, 1, lo=1 - .6 * strong, hi=1 + .5 * strong)
    sat = torch.where(rand(g, n, 1, 1, 1) < 0.04 * strong, torch.zeros_like(sat), sat)
    x = gray + (x - gray) * sat
    # A rotation about the gray axis.
    th = (rand(g, n) - .5) * 2 * (.5 * strong)
    th = torch.where(rand(g, n) < .05 * strong, (rand(g, n) - .5) * 6.28, th)
    c, s = torch.cos(th), torch.sin(th) / 3 ** .5
    m = (1 - c) / 3
    rot = torch.stack([torch.stack([c + m, m - s, m + s], -1), torch.stack([m + s, c + m, m - s], -1),
                       torch.stack([m - s, m + s, c + m], -1)], 1)
    x = torch.einsum("nij,njhw->nihw", rot, x)
    x = (x - .5) * rand(g, n, 1, 1, 1, lo=1 - .3 * strong, hi=1 + .3 * strong) + .5
    return (x + (rand(g, n, 1, 1, 1) - .5) * .4 * strong).clamp(0, 1)


class Sprites:
    """Premultiplied sprites at full, half and quarter size, kept beside the originals as files."""

    def __init__(self, art, name="training"):
        art = Path(art)
        self.rows = json.loads((art / f"sprites-{name}.json").read_text())
        self.mono = torch.tensor([r["mono"] for r in self.rows])
        f = [art / f"sprites-{name}-{k}.npy" for k in ("1", "2", "4")]
        if not f[-1].exists():
            px = np.load(art / f"sprites-{name}.npy", mmap_mode="r")
            outs = [np.empty((len(self.rows), px.shape[1] // k, px.shape[1] // k, 4), np.uint8) for k in (1, 2, 4)]
            for i in range(0, len(self.rows), 256):
                j = min(i + 256, len(self.rows))
                x = torch.from_numpy(np.array(px[i:j])).permute(0, 3, 1, 2).float()
                x[:, :3] *= x[:, 3:] / 255
                for k, o in zip((1, 2, 4), outs):
                    o[i:j] = F.avg_pool2d(x, k).round().byte().permute(0, 2, 3, 1).numpy()
            for o, file in zip(outs, f):
                # Several processes may do this at once: none may see half a file.
                part = file.with_suffix(f".{os.getpid()}.npy")
                np.save(part, o)
                part.replace(file)
        self.levels = [np.load(x, mmap_mode="r") for x in f]

    def compose(self, g, idx, s, bg=None, plain=False, gentle=False, hard=1.0, sided=None):
        """RGB batch (n, 3, s, s) in 0..1 of the given sprites. `hard`, 0 to 1: how far size, turn and
        colour may go. `sided` marks the sprites whose mirror image is something else."""
        n = len(idx)
        if bg is None:
            bg = backgrounds(g, n, s)
        mono = self.mono[torch.as_tensor(idx)]
        # Size of the object relative to the picture.
        sc = rand(g, n, lo=.6 - .05 * hard, hi=1.0)
        r = rand(g, n)
        sc = torch.where(r < .06 * hard, rand(g, n, lo=.35, hi=.5), sc)
        sc = torch.where(r > 1 - .08 * hard, rand(g, n, lo=1.0, hi=1.25), sc)
        rot = torch.randn(n, generator=g) * (.08 + .14 * hard)
        rot = torch.where(rand(g, n) < .03 * hard, rand(g, n, lo=-3.14, hi=3.14), rot)
        asp = torch.exp(torch.randn(n, generator=g) * (.03 + .07 * hard))
        shear = torch.randn(n, generator=g) * (.02 + .08 * hard)
        if gentle:  # the evaluation's renders
            sc = rand(g, n, lo=.55, hi=.95)
            rot, asp, shear = torch.randn(n, generator=g) * .12, torch.ones(n), torch.zeros(n)
        flip = torch.where(rand(g, n) < (0 if gentle else .4), -1.0, 1.0)
        if sided is not None:
            flip[sided] = 1.0
        room = (1 - sc).abs() * .5 + .06
        tx, ty = (rand(g, n) * 2 - 1) * room * 2, (rand(g, n) * 2 - 1) * room * 2
        c, si = torch.cos(rot), torch.sin(rot)
        fwd = torch.stack([torch.stack([c * asp * flip, -si + shear], -1), torch.stack([si * flip, c / asp], -1)], 1) * sc[:, None, None]
        inv = torch.linalg.inv(fwd)
        off = -torch.einsum("nij,nj->ni", inv, torch.stack([tx, ty], -1))
        theta = torch.cat([inv, off[:, :, None]], 2)
        # The nearest smaller copy of the sprite, so that shrinking does not alias.
        out = torch.empty(n, 4, s, s)
        ratio = self.levels[0].shape[1] / (sc * s)
        for px, pick in zip(self.levels, (ratio < 1.6, (ratio >= 1.6) & (ratio < 3.2), ratio >= 3.2)):
            i = pick.nonzero()[:, 0]
            if len(i):
                src = torch.from_numpy(np.stack([px[j] for j in np.asarray(idx)[i.numpy()]]))
                src = src.permute(0, 3, 1, 2).float().div_(255)
                grid = F.affine_grid(theta[i], (len(i), 4, s, s), align_corners=False)
                out[i] = F.grid_sample(src, grid, align_corners=False)
        alpha = out[:, 3:]
        rgb = out[:, :3] / alpha.clamp(min=.02)
        if not plain:
            rgb = jitter(g, rgb, .3 + .7 * hard)
        if mono.any():
            # Single-colour drawings take any colour that stands out from the background.
            m = mono.nonzero()[:, 0]
            lum = bg[m].mean((1, 2, 3))[:, None]
            ink = colors(g, len(m))
            near = (ink.mean(1, keepdim=True) - lum).abs() < .35
            ink = torch.where(near, torch.where(lum > .5, ink * .25, 1 - ink * .25), ink)
            rgb[m] = ink[:, :, None, None].expand(-1, -1, s, s)
        rgb = rgb.clamp(0, 1) * alpha
        r = rand(g, n)
        r = r + 1 if gentle else r
        i = (r < .1).nonzero()[:, 0]  # soft shadow
        if len(i):
            sh = F.avg_pool2d(torch.roll(alpha[i], (2, 1), (2, 3)), 5, 1, 2)
            bg = bg.clone()
            bg[i] = bg[i] * (1 - .5 * sh)
        return rgb + bg * (1 - alpha)


def finish(g, x, hard=1.0):
    """What happens to pictures on their way: colour, blur, noise, low resolution."""
    n, _, s, _ = x.shape
    r = rand(g, n) / max(hard, 1e-3)
    i = (r < .3).nonzero()[:, 0]
    if len(i):
        x[i] = jitter(g, x[i], .5)
    i = ((r >= .3) & (r < .4)).nonzero()[:, 0]
    if len(i):
        x[i] = F.avg_pool2d(x[i], 3, 1, 1, count_include_pad=False)
    i = ((r >= .4) & (r < .5)).nonzero()[:, 0]
    if len(i):
        x[i] = (x[i] + torch.randn(x[i].shape, generator=g) * rand(g, len(i), 1, 1, 1, hi=.12)).clamp(0, 1)
    i = ((r >= .5) & (r < .55)).nonzero()[:, 0]
    if len(i):
        x[i] = F.interpolate(F.interpolate(x[i], size=(s // 2, s // 2), mode="area"), size=(s, s), mode="bilinear", align_corners=False)
    return x
