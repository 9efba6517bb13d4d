"""Compares a running service with the reference, field by field. Needs nothing but Python.

    CLIP_MODEL_NAME=MobileCLIP-S1 CLIP_MODEL_PRETRAINED=CHECKPOINT omnizap serve --pipelines pipelines/compat
    python compare.py DIR EXPECTED.json [--url http://127.0.0.1:8008] [--store DATA/omnizap.db]

Prints the largest difference of every field. Logits may differ by 2e-3, scores and what follows
from them by 5e-4; all else must be equal, the order of top_labels included. With `--store` the
embeddings that the service keeps must have a cosine of 0.9999 with the reference's. Exit code 1
otherwise.
"""
import argparse
import json
import math
import sqlite3
import struct
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

LOGIT, SCORE, COSINE = 2e-3, 5e-4, 0.9999
WRITTEN_WITHIN = 10  # seconds: embeddings are written behind the answer
NUMBERS = {"confidence": SCORE, "entropy": SCORE, "entropy_top_k": SCORE, "entropy_normalized": SCORE,
           "confidence_margin": SCORE, "nsfw_score": SCORE}
MAPS = {"all_scores": SCORE, "raw_logits": LOGIT}
TOP = {"score": SCORE, "logit": LOGIT, "clip_score": SCORE}
EXACT = ["category", "is_nsfw", "ambiguous", "labels", "image_hash", "model", "filename", "content_type"]
# Fields that the picture alone does not decide: they must be there.
PRESENT = ["affinity_weight", "affinity_weight_raw", "llm_expansion_used", "llm_expansion_gate_reason",
           "llm_expansion", "similar_images", "device"]


def post(url, name, media_type, data, labels):
    boundary = "omnizap-reference-boundary"
    head = lambda disposition, kind: (
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {kind}\r\n\r\n")
    body = (head(f'name="file"; filename="{name}"', media_type).encode() + data + b"\r\n"
            + head('name="labels"', "text/plain; charset=utf-8").encode()
            + json.dumps(labels, ensure_ascii=False).encode() + f"\r\n--{boundary}--\r\n".encode())
    request = urllib.request.Request(
        f"{url}/classify", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{name}: {error.code} {error.read().decode(errors='replace')}")


class Differences:
    def __init__(self):
        self.worst = defaultdict(float)
        self.limits = {}
        self.faults = []

    def number(self, field, limit, ours, theirs, where):
        difference = abs(ours - theirs)
        self.limits[field] = limit
        self.worst[field] = max(self.worst[field], difference)
        if not difference <= limit:
            self.faults.append(f"{where}: {field} is {ours}, the reference has {theirs:.6f}")

    def exact(self, field, ours, theirs, where):
        self.limits.setdefault(field, 0.0)
        self.worst[field] += ours != theirs
        if ours != theirs:
            self.faults.append(f"{where}: {field} is {ours!r}, the reference has {theirs!r}")

    def answer(self, ours, theirs):
        where = theirs["filename"]
        for field in [*NUMBERS, *MAPS, *EXACT, *PRESENT, "top_labels"]:
            if field not in ours:
                self.faults.append(f"{where}: {field} is missing")
                return
        for field in EXACT:
            self.exact(field, ours[field], theirs[field], where)
        for field, limit in NUMBERS.items():
            self.number(field, limit, ours[field], theirs[field], where)
        for field, limit in MAPS.items():
            self.exact(f"{field} (keys)", list(ours[field]), list(theirs[field]), where)
            for label, value in theirs[field].items():
                self.number(field, limit, ours[field].get(label, float("nan")), value, f"{where}, {label}")
        order = lambda answer: [entry["label"] for entry in answer["top_labels"]]
        self.exact("top_labels (order)", order(ours), order(theirs), where)
        for mine, reference in zip(ours["top_labels"], theirs["top_labels"]):
            for field, limit in TOP.items():
                self.number(f"top_labels.{field}", limit, mine[field], reference[field], where)


def kept(store, image_hash):
    """An embedding as the service keeps it, little-endian f32."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
        for _ in range(WRITTEN_WITHIN * 10):
            row = database.execute("SELECT embedding FROM clip_image_embedding_cache WHERE image_hash = ?",
                                   (image_hash,)).fetchone()
            if row:
                return struct.unpack(f"<{len(row[0]) // 4}f", row[0])
            time.sleep(0.1)
    sys.exit(f"{store} has no embedding of {image_hash}")


def cosine(a, b):
    dot = lambda x, y: math.fsum(i * j for i, j in zip(x, y, strict=True))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("expected")
    parser.add_argument("--url", default="http://127.0.0.1:8008")
    parser.add_argument("--store", help="the service's SQLite file")
    arguments = parser.parse_args()

    expected = json.loads(Path(arguments.expected).read_text())
    differences = Differences()
    for theirs in expected:
        data = (Path(arguments.pictures) / theirs["filename"]).read_bytes()
        ours = post(arguments.url, theirs["filename"], theirs["content_type"], data, theirs["labels"])
        differences.answer(ours, theirs)
        if arguments.store:
            near = cosine(kept(arguments.store, ours["image_hash"]), theirs["embedding"])
            differences.number("1 - cosine of embedding", 1 - COSINE, 1 - near, 0, theirs["filename"])
    print(f"{'field':24} {'largest difference':>18} {'allowed':>9}")
    for field, limit in differences.limits.items():
        allowed = f"{limit:.0e}" if limit else "equal"
        worst = differences.worst[field]
        shown = f"{worst:.2e}" if limit else f"{int(worst)} differ"
        print(f"{field:24} {shown:>18} {allowed:>9}")
    for fault in differences.faults:
        print(fault)
    print(f"{'FAIL' if differences.faults else 'PASS'}: {len(expected)} pictures")
    sys.exit(bool(differences.faults))


if __name__ == "__main__":
    main()
