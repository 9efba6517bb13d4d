"""Our towers beside ONNX Runtime, OpenVINO and PyTorch, taking turns: one table of times and ratios.

    pip install torch==2.8.0 open_clip_torch==3.3.0 timm==1.0.31 onnx onnxruntime openvino
    python reference.py presets /tmp/reference MobileCLIP-S1
    python reference.py presets /tmp/reference MobileCLIP-S2
    cargo build --release -p omnizap-models --example image_time
    python timing.py /tmp/reference target/release/examples/image_time

The image tower with one picture, by 1 and by 2 threads, and the text tower with 128 labels. Turns are
short and alternate, so that whatever else the machine does falls on all, and a ratio is the median of
those of each round: `1.50 x` takes half as long again as ours in f32. On a busy machine time on the
clock says little: the time on the CPU, summed over threads, is shown beside it. Nobody's threads spin
while they wait. An engine that is not installed, or does not compute so on this machine, is left out
with a word; PyTorch and open_clip are needed once, to write the ONNX files.

    --models MobileCLIP-S1     one of them
    --threads 1                one column of it
    --rounds 20                for longer; --text-rounds of the text tower, 0 leaves it out
"""
import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

# Before any of them is loaded: waiting threads should not count as working ones, or take a core from
# whose turn it is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

RUNS = 5  # a turn of the image tower; the text tower has one
QUALITIES = ["red", "small", "old", "wooden", "happy", "wet", "tall", "round"]
THINGS = ["cat", "dog", "house", "bicycle", "tree", "boat", "guitar", "pizza", "chair", "flower", "clock", "bridge",
          "horse", "shoe", "book", "lamp"]
LABELS = [f"a photo of a {quality} {thing}" for quality in QUALITIES for thing in THINGS]


def installed(module):
    try:
        return __import__(module)
    except (ImportError, OSError, ValueError) as error:
        print(f"{module} is left out: {error}", file=sys.stderr)
        return None


def on_cpu(process):
    """Milliseconds that a process has computed, all threads together."""
    total = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:  # A thread that has just ended.
            pass
    return total / 1e6


class Ours:
    """The program, a process of its own: a line in, the times of its runs out."""

    def __init__(self, arguments, checkpoint, model, threads, precision=None, texts=None):
        command = [arguments.program, str(checkpoint), model] + ([str(texts)] if texts else [])
        environment = {"RAYON_NUM_THREADS": str(threads), "HOME": str(arguments.reference)}
        if precision:
            environment["CLIP_PRECISION"] = precision
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.process = self.child.pid

    def turn(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        times = [float(ms) for ms in self.child.stdout.readline().split()]
        return times or sys.exit("our program ended")

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Inside:
    """An engine in this process."""

    process = os.getpid()

    def __init__(self, run, runs):
        self.run, self.runs = run, runs

    def turn(self):
        times = []
        for _ in range(self.runs):
            start = time.perf_counter()
            self.run()
            times.append((time.perf_counter() - start) * 1e3)
        return times

    def close(self):
        pass


class Tower:
    """What the engines compute: a network in PyTorch, where it is installed, as ONNX, and its input."""

    def __init__(self, reference, name, side):
        self.name, self.side = name, side
        self.checkpoint = reference / f"{name}.safetensors"
        self.onnx = reference / f"{name}-{side}.onnx"
        tokens = reference / f"{name}-tokens.npy"
        self.module = self.load()
        if side == "image":
            size = 256
            self.input = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
        elif self.module:
            import open_clip
            self.input = open_clip.get_tokenizer(name)(LABELS).numpy()
            np.save(tokens, self.input)
        elif tokens.is_file():
            self.input = np.load(tokens)
        if self.module and not self.onnx.is_file():
            import torch
            print(f"writing {self.onnx}", file=sys.stderr)
            torch.onnx.export(self.module, torch.from_numpy(self.input), self.onnx, opset_version=17, dynamo=False)

    def load(self):
        if not (installed("torch") and installed("open_clip") and installed("timm")):
            return None
        import open_clip
        import torch
        from safetensors.torch import load_file
        from timm.utils.model import reparameterize_model
        torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operation.
        model = open_clip.create_model(self.name, pretrained=None)
        model.load_state_dict(load_file(self.checkpoint))
        model.eval()
        return reparameterize_model(model.visual.trunk) if self.side == "image" else model.text


def onnx_runtime(tower, threads, runs):
    onnxruntime = installed("onnxruntime")
    if not (onnxruntime and tower.onnx.is_file()):
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(tower.onnx, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: tower.input}
    return Inside(lambda: session.run(None, feed), runs)


def openvino(tower, threads, runs, precision):
    library = installed("openvino")
    if not (library and tower.onnx.is_file()):
        return None
    compiled = library.Core().compile_model(tower.onnx, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": precision})
    found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if found != precision:
        print(f"OpenVINO {precision} is left out: this machine computes it as {found}", file=sys.stderr)
        return None
    request = compiled.create_infer_request()
    return Inside(lambda: request.infer([tower.input]), runs)


def pytorch(tower, threads, runs):
    if not tower.module:
        return None
    import torch
    value = torch.from_numpy(tower.input)

    def run():
        torch.set_num_threads(threads)
        with torch.inference_mode():
            tower.module(value)
    return Inside(run, runs)


def bf16_of_ours(arguments):
    """True where the program knows the setting at all."""
    if b"CLIP_PRECISION" in Path(arguments.program).read_bytes():
        return True
    print("ours in bf16 is left out: the program does not know CLIP_PRECISION", file=sys.stderr)
    return False


def engines(arguments, tower, threads):
    runs = RUNS if tower.side == "image" else 1
    texts = None
    if tower.side == "text":
        texts = arguments.reference / "labels.txt"
        texts.write_text("\n".join(LABELS) + "\n")
    of_ours = [arguments, tower.checkpoint, tower.name, threads]
    yield "ours, f32", Ours(*of_ours, texts=texts)
    if tower.side == "image":
        if bf16_of_ours(arguments):
            yield "ours, bf16", Ours(*of_ours, precision="bf16")
    yield "ONNX Runtime", onnx_runtime(tower, threads, runs)
    if tower.side == "image":
        yield "OpenVINO, f32", openvino(tower, threads, runs, "f32")
        yield "OpenVINO, bf16", openvino(tower, threads, runs, "bf16")
        yield "PyTorch", pytorch(tower, threads, runs)


def measure(arguments, tower, threads, rounds):
    """The rows of the table: medians, least, on the CPU, and the ratios to the first engine."""
    there = [(name, engine) for name, engine in engines(arguments, tower, threads) if engine]
    times, cpu = {name: [] for name, _ in there}, {name: [] for name, _ in there}
    for round in range(rounds + 1):
        for name, engine in there:
            start = on_cpu(engine.process)
            found = engine.turn()
            if round > 0:  # The first warms up.
                times[name].append(found)
                cpu[name].append((on_cpu(engine.process) - start) / len(found))
    for _, engine in there:
        engine.close()
    ours = there[0][0]
    for name, _ in there:
        ratio = np.median([np.median(a) / np.median(b) for a, b in zip(times[name], times[ours])])
        of_cpu = np.median([a / b for a, b in zip(cpu[name], cpu[ours])])
        yield (tower.name, "1 picture" if tower.side == "image" else f"{len(LABELS)} labels", str(threads), name,
               f"{np.median(times[name]):.1f}", f"{np.min(times[name]):.1f}", f"{np.median(cpu[name]):.1f}",
               f"{ratio:.2f} x", f"{of_cpu:.2f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("program")
    parser.add_argument("--models", nargs="+", default=["MobileCLIP-S1", "MobileCLIP-S2"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--text-rounds", type=int, default=3)
    arguments = parser.parse_args()
    # Wide enough for each name, so that what is measured is shown at once and not at the end.
    columns = [("MODEL", -14), ("WHAT", -10), ("THREADS", -8), ("ENGINE", -24), ("MEDIAN/MS", 10), ("LEAST/MS", 10)]
    columns += [("ON THE CPU/MS", 14), ("TO OURS", 8), ("ON THE CPU", 11)]

    def show(row):
        cells = [cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, (_, width) in zip(row, columns)]
        print(" ".join(cells).rstrip(), flush=True)

    show([name for name, _ in columns])
    for model in arguments.models:
        for side, rounds in [("image", arguments.rounds), ("text", arguments.text_rounds)]:
            # Texts by all threads alone: they take seconds.
            for threads in arguments.threads if side == "image" else [max(arguments.threads)]:
                if rounds:
                    print(f"{model}, {side} tower, threads: {threads}", file=sys.stderr)
                    for row in measure(arguments, Tower(arguments.reference, model, side), threads, rounds):
                        show(row)
    for library in ["onnxruntime", "openvino", "torch"]:
        if library in sys.modules:
            print(f"{library} {sys.modules[library].__version__}")


if __name__ == "__main__":
    main()
