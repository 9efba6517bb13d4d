"""Takes the weights of nsfwjs' MobileNetV2Mid over from its npm package, byte for byte.

    npm install --ignore-scripts nsfwjs@4.3.0
    python nsfw.py NODE_MODULES ../nsfw

The package holds a graph of TensorFlow.js whose batch norms are folded and whose tensors are
quantised: a byte means `byte * scale + minimum`. They become safetensors under our names, in
PyTorch's order `[output, input, height, width]`, the bytes as they are, with `[scale, minimum]`
beside each as `NAME.quantization`. Needs node, because the package's files are JavaScript.
"""
import argparse
import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

VERSION = "4.3.0"
SHARDS = 2
NAME = "nsfwjs-mobilenet-v2-mid"
NETWORK = re.compile(r".*/predict/MobilenetV2/(?P<place>.+)/(?:Conv2D|depthwise)_(?P<kind>weights|bn_offset)$")
CLASSES = {"Func/StatefulPartitionedCall/input/_262": "classes.weight",
           "Func/StatefulPartitionedCall/input/_263": "classes.bias"}
# What the graph does to its input: times two, minus one. Ours does so before the network.
SCALES = ("hub_input/Mul/y", "hub_input/Sub/y")


def module(path):
    """What a JavaScript module exports."""
    script = "const m = require(process.argv[1]); process.stdout.write(JSON.stringify(m.default ?? m))"
    return json.loads(subprocess.run(["node", "-e", script, str(path)], check=True, capture_output=True).stdout)


def renamed(name):
    if name in CLASSES:
        return CLASSES[name]
    found = NETWORK.fullmatch(name)
    kind = {"weights": "weight", "bn_offset": "bias"}[found["kind"]]
    place = found["place"]
    if place in ("Conv", "Conv_1"):
        return f"{'stem' if place == 'Conv' else 'head'}.{kind}"
    block, part = place.split("/")
    return f"blocks.{int(block.removeprefix('expanded_conv').lstrip('_') or 0)}.{part}.{kind}"


def ordered(name, values):
    """From TensorFlow's order to PyTorch's."""
    if values.ndim == 4:
        # [height, width, channels, 1] of a depthwise kernel, [height, width, input, output] of others.
        values = values.transpose((2, 3, 0, 1) if ".depthwise." in name else (3, 2, 0, 1))
    elif values.ndim == 2:
        values = values.T
    return np.ascontiguousarray(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npm", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    package = (arguments.npm / "nsfwjs").resolve()
    assert json.loads((package / "package.json").read_text())["version"] == VERSION, f"expected nsfwjs {VERSION}"
    folder = package / "dist/models/mobilenet_v2_mid"
    described = module(folder / "model.min.js")
    shards = [module(folder / f"group1-shard{i}of{SHARDS}.min.js") for i in range(1, SHARDS + 1)]
    data = b"".join(base64.b64decode(shard) for shard in shards)
    tensors, offset = {}, 0
    for entry in described["weightsManifest"][0]["weights"]:
        quantization = entry["quantization"]
        assert entry["dtype"] == "float32" and quantization["dtype"] == "uint8", entry
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, np.uint8, count, offset).reshape(entry["shape"])
        offset += count
        if entry["name"].endswith(SCALES):
            assert values * quantization["scale"] + quantization["min"] == (2 if "Mul" in entry["name"] else 1)
            continue
        name = renamed(entry["name"])
        tensors[name] = ordered(name, values)
        tensors[f"{name}.quantization"] = np.array([quantization["scale"], quantization["min"]], np.float32)
    assert offset == len(data), f"{len(data) - offset} bytes are left"
    arguments.out.mkdir(parents=True, exist_ok=True)
    place = arguments.out / f"{NAME}.safetensors"
    save_file(tensors, place, {"source": f"npm nsfwjs {VERSION}, dist/models/mobilenet_v2_mid", "licence": "MIT"})
    shutil.copy(package / "LICENSE", arguments.out / "LICENSE")
    print(f"{len(tensors) // 2} tensors, {place.stat().st_size} bytes")


if __name__ == "__main__":
    main()
