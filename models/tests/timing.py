"""MobileCLIP-S1's image tower, batch 1, two threads: ours and ONNX Runtime's, taking turns.

    pip install torch==2.8.0 open_clip_torch==3.3.0 timm==1.0.31 onnx onnxruntime
    python reference.py presets /tmp/reference MobileCLIP-S1
    cargo build --release -p omnizap-models --example image_time
    python timing.py /tmp/reference target/release/examples/image_time

Turns are short and alternate, so that whatever else the machine does falls on both.
"""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import torch
from safetensors.torch import load_file
from timm.utils.model import reparameterize_model

reference, program = Path(sys.argv[1]), sys.argv[2]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 10
onnx = reference / "MobileCLIP-S1-image.onnx"
if not onnx.is_file():
    model = open_clip.create_model("MobileCLIP-S1", pretrained=None)
    model.load_state_dict(load_file(reference / "MobileCLIP-S1.safetensors"))
    trunk = reparameterize_model(model.visual.trunk.eval())
    torch.onnx.export(trunk, torch.zeros(1, 3, 256, 256), onnx, opset_version=17, dynamo=False)

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
x = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
feed = {session.get_inputs()[0].name: x}

ours = subprocess.Popen([program, str(reference / "MobileCLIP-S1.safetensors")], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True, env={"RAYON_NUM_THREADS": "2"})


def turn_ours():
    ours.stdin.write("\n")
    ours.stdin.flush()
    return [float(ms) for ms in ours.stdout.readline().split()]


def turn_theirs():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return times


turn_ours(), turn_theirs()
a, b = [], []
for _ in range(rounds):
    a += turn_ours()
    b += turn_theirs()
print(f"onnxruntime {onnxruntime.__version__}: median {np.median(b):.1f} ms, best {min(b):.1f} ms")
print(f"ours: median {np.median(a):.1f} ms, best {min(a):.1f} ms")
print(f"ratio: median {np.median(a) / np.median(b):.2f}, best {min(a) / min(b):.2f}")
