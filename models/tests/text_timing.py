"""The text tower on 128 labels, two threads: ours and ONNX Runtime's, taking turns.

    pip install torch==2.8.0 open_clip_torch==3.3.0 timm==1.0.31 onnx onnxruntime
    python reference.py presets /tmp/reference MobileCLIP-S1
    cargo build --release -p omnizap-models --example text_time
    python text_timing.py /tmp/reference MobileCLIP-S1 target/release/examples/text_time

ONNX Runtime gets all of the context, as its graph wants it, with as many texts at a time as it is
quickest with. The time on the CPU is summed over threads; with THREADS=1 it is fair to both on a busy
machine.
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

LABELS = 128
AT_A_TIME = (8, 32, 128)

reference, name, program = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
onnx = reference / f"{name}-text.onnx"
if not onnx.is_file():
    model = open_clip.create_model(name, pretrained=None)
    model.load_state_dict(load_file(reference / f"{name}.safetensors"))
    text = model.text.eval()
    tokens = torch.zeros(2, 77, dtype=torch.int64)
    torch.onnx.export(text, tokens, onnx, opset_version=17, dynamo=False, input_names=["tokens"],
                      dynamic_axes={"tokens": {0: "texts"}})

threads = os.environ.get("THREADS", "2")
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0" if "NO_SPIN" in os.environ else "1")
session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
tokens = open_clip.get_tokenizer(name)([f"a photo of label {number}" for number in range(LABELS)]).numpy()

ours = subprocess.Popen([program, name, str(reference / f"{name}.safetensors")], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True, env={"RAYON_NUM_THREADS": threads, "HOME": str(reference)})


def on_cpu(process):
    """Milliseconds that a process has computed, all threads together."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def turn_ours(at_a_time):
    start = on_cpu(ours.pid)
    ours.stdin.write(f"{at_a_time}\n")
    ours.stdin.flush()
    return float(ours.stdout.readline()), on_cpu(ours.pid) - start


def turn_theirs(at_a_time):
    cpu, start = on_cpu(os.getpid()), time.perf_counter()
    for first in range(0, LABELS, at_a_time):
        session.run(None, {"tokens": tokens[first:first + at_a_time]})
    return (time.perf_counter() - start) * 1e3, on_cpu(os.getpid()) - cpu


turn_ours(8), turn_theirs(8)
turns = {(who, at_a_time): [] for at_a_time in AT_A_TIME for who in (turn_ours, turn_theirs)}
for _ in range(rounds):
    for who, at_a_time in turns:
        turns[who, at_a_time].append(who(at_a_time))
best = {}
for (who, at_a_time), times in turns.items():
    clock, cpu = np.median(times, axis=0)
    print(f"{who.__name__[5:]}, {at_a_time} at a time: {clock:.0f} ms, on the CPU {cpu:.0f} ms")
    best[who] = np.minimum(best.get(who, np.inf), (clock, cpu))
clock, cpu = best[turn_ours] / best[turn_theirs]
print(f"onnxruntime {onnxruntime.__version__}, {threads} threads: ratio {clock:.2f}, on the CPU {cpu:.2f}")
