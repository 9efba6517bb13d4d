"""MobileCLIP-S1's image tower, batch 1, two threads: ours and ONNX Runtime's, taking turns.

    pip install torch==2.8.0 open_clip_torch==3.3.0 timm==1.0.31 onnx onnxruntime
    python reference.py presets /tmp/reference MobileCLIP-S1
    cargo build --release -p omnizap-models --example image_time
    python timing.py /tmp/reference target/release/examples/image_time

Turns are short and alternate, so that whatever else the machine does falls on both. On a busy machine
time on the clock says little: the time on the CPU, summed over threads, is shown beside it, and with
THREADS=1 it is fair to both.
"""
import os
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
threads = os.environ.get("THREADS", "2")
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
# Waiting threads should not count as working ones.
options.add_session_config_entry("session.intra_op.allow_spinning", "0" if "NO_SPIN" in os.environ else "1")
session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
x = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
feed = {session.get_inputs()[0].name: x}

ours = subprocess.Popen([program, str(reference / "MobileCLIP-S1.safetensors")], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True, env={"RAYON_NUM_THREADS": threads, "HOME": str(reference)})


def on_cpu(process):
    """Milliseconds that a process has computed, all threads together."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


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
a, b, cpu_a, cpu_b = [], [], [], []
for _ in range(rounds):
    start = on_cpu(ours.pid)
    a += turn_ours()
    cpu_a.append((on_cpu(ours.pid) - start) / 5)
    start = on_cpu(os.getpid())
    b += turn_theirs()
    cpu_b.append((on_cpu(os.getpid()) - start) / 5)
print(f"onnxruntime {onnxruntime.__version__}: median {np.median(b):.1f} ms, best {min(b):.1f} ms")
print(f"ours: median {np.median(a):.1f} ms, best {min(a):.1f} ms")
print(f"on the CPU, {threads} threads: onnxruntime {np.median(cpu_b):.1f} ms (least {min(cpu_b):.1f}), "
      f"ours {np.median(cpu_a):.1f} ms (least {min(cpu_a):.1f})")
print(f"ratio on the CPU: median {np.median(cpu_a) / np.median(cpu_b):.2f}, least {min(cpu_a) / min(cpu_b):.2f}")
print(f"ratio: median {np.median(a) / np.median(b):.2f}, best {min(a) / min(b):.2f}")
