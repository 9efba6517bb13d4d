"""Puts the C kernel of `dwconv.c` under every depthwise convolution of a model, for training on CPU.

Without a C compiler, or on a GPU, nothing is replaced: the results are the same, only slower.
"""
import ctypes
import subprocess
import tempfile
from pathlib import Path

import torch
import torch.nn as nn

_lib = None


def _load():
    global _lib
    if _lib is None:
        src = Path(__file__).with_name("dwconv.c")
        out = Path(tempfile.mkdtemp(prefix="dwconv-")) / "dwconv.so"
        subprocess.run(
            ["gcc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", str(src), "-o", str(out)],
            check=True,
        )
        _lib = ctypes.CDLL(str(out))
    return _lib


def _p(t):
    return ctypes.c_void_p(t.data_ptr())


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride, pad):
        b, c, h, w = x.shape
        o, _, k, _ = weight.shape
        m = o // c
        x = x.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        wk = weight.float().reshape(c, m, k * k).permute(2, 1, 0).contiguous()
        oh, ow = (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
        y = torch.empty(b, o, oh, ow, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        _load().dw_fwd(_p(x), _p(wk), _p(y), b, h, w, c, m, k, stride, pad, oh, ow)
        ctx.save_for_backward(x, wk)
        ctx.args = (b, h, w, c, m, k, stride, pad, oh, ow)
        return y

    @staticmethod
    def backward(ctx, g):
        x, wk = ctx.saved_tensors
        b, h, w, c, m, k = ctx.args[:6]
        g = g.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        dw = torch.zeros_like(wk)
        _load().dw_bwd(_p(x), _p(wk), _p(g), _p(dx), _p(dw), *ctx.args)
        return dx, dw.permute(2, 1, 0).reshape(c * m, 1, k, k), None, None


def install(model):
    """Replaces the forward of the depthwise convolutions in training; evaluation is untouched."""
    try:
        _load()
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"dwconv: stock kernels ({e})")
        return 0
    n = 0
    for mod in model.modules():
        if isinstance(mod, nn.Conv2d) and mod.groups == mod.in_channels > 1:
            stock = mod.forward

            def forward(x, mod=mod, stock=stock):
                if mod.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
                    y = _Depthwise.apply(x, mod.weight, mod.stride[0], mod.padding[0])
                    return y if mod.bias is None else y + mod.bias.to(y.dtype)[:, None, None]
                return stock(x)

            mod.forward = forward
            n += 1
    return n
