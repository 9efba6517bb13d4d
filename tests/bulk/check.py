"""What tests/bulk/check.sh does: PROGRAM SCRATCH FILES SEED."""

import csv
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pyarrow.parquet

PROGRAM, SCRATCH = sys.argv[1], Path(sys.argv[2])
FILES, SEED = int(sys.argv[3]), int(sys.argv[4])

# Of so many files one is broken.
BROKEN = 500
# How often each run is ended before it may run through.
ENDS = 6

COLUMNS = [
    "path", "ok", "error_code", "error", "label", "confidence", "labels", "nsfw", "nsfw_score",
    "image_hash", "settings",
]


def png(side, pixel):
    """A picture in colours, of 8 bits each."""
    rows = b"".join(
        b"\0" + b"".join(bytes(pixel(x, y)) for x in range(side)) for y in range(side)
    )

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def make(folder):
    """Pictures that all differ, in folders; some have odd names, some are broken."""
    for number in range(FILES):
        r, g, b = number % 256, number // 7 % 256, number // 41 % 256
        name = f"{number % 20:02}/{number % 3}/{number:05}"
        if number % 97 == 0:
            name += " \"quoted\", ünïcode"
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = png(12, lambda x, y: ((r + 9 * x) % 256, (g + 5 * y) % 256, (b + x * y) % 256))
        path.write_bytes(text[: len(text) // 2] if number % BROKEN == 1 else text)


def begin(data, out, *more):
    """Starts a run."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    arguments = ["classify", "pictures", "--recursive", "--out", out, *more]
    return subprocess.Popen(
        [PROGRAM, *arguments],
        cwd=SCRATCH,
        env=kept | {"OMNIZAP_DATA": str(SCRATCH / data)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(run, code):
    """Waits for the end of a run, which is to have that code."""
    _, said = run.communicate()
    assert run.returncode == code, f"{run.returncode} and not {code}: {said}"
    return said.strip().splitlines()[-1] if said.strip() else ""


def broken():
    return len(range(1, FILES, BROKEN))


def expected_code():
    return 1 if broken() else 0


def through(out):
    """A run that nothing ends."""
    began = time.monotonic()
    said = end(begin(f"data-{out}", out), expected_code())
    seconds = time.monotonic() - began
    print(f"{out}: {FILES} files in {seconds:.1f} s, {FILES / seconds:.0f} a second: {said}")
    return seconds


def pieces(out, seconds, chance):
    """The same in pieces, ended at moments of chance by either signal."""
    growing = SCRATCH / (out + ".part" if out.endswith(".parquet") else out)
    more, done, ended = [], 0, []
    for turn in range(ENDS):
        run = begin(f"data-{out}", out, *more)
        # Some moments lie before the first row, most of them between rows.
        try:
            run.wait(seconds * chance.uniform(0.05, 1.2 / ENDS) + chance.uniform(0, 1))
        except subprocess.TimeoutExpired:
            pass
        else:
            break
        sent = [signal.SIGINT, signal.SIGKILL][turn % 2]
        run.send_signal(sent)
        _, said = run.communicate()
        if sent == signal.SIGKILL:
            assert run.returncode == -sent, said
        elif run.returncode not in (130, -sent):
            # It was through before the signal came.
            assert run.returncode == expected_code(), said
            break
        elif run.returncode == 130 and growing.exists():
            assert "--resume goes on" in said, said
        rows = growing.read_bytes().count(b"\n") if growing.exists() else 0
        ended.append(f"{sent.name} at {rows}")
        assert rows + 1 >= done, f"{rows} rows, and {done} before"
        done = rows
        more = ["--resume"]
        # What a computer that lost its power may leave.
        if rows and chance.random() < 0.5:
            with growing.open("r+b") as file:
                file.truncate(max(1, file.seek(0, 2) - chance.randrange(1, 9)))
            done -= 1
    said = end(begin(f"data-{out}", out, "--resume"), expected_code())
    print(f"{out}: ended by {', '.join(ended)}; then {said}")


def same(a, b):
    assert (SCRATCH / a).read_bytes() == (SCRATCH / b).read_bytes(), f"{a} is not {b}"
    print(f"{a} and {b}: the same {(SCRATCH / a).stat().st_size} bytes")


def read(name):
    """The rows of a file, whatever its form, with the same types."""
    path = SCRATCH / name
    if name.endswith(".parquet"):
        table = pyarrow.parquet.read_table(path)
        print(f"{name} by pyarrow {pyarrow.__version__}: {table.num_rows} rows")
        print("  " + str(table.schema).replace("\n", "\n  "))
        return table.to_pylist()
    if name.endswith(".jsonl"):
        rows = [json.loads(line) for line in path.open(encoding="utf-8")]
        for row in rows:
            answer = row.pop("answer", None)
            assert (answer is not None) == row["ok"], row
            assert answer is None or answer["category"] == row["label"]
        return rows
    types = {"ok": json.loads, "nsfw": json.loads, "labels": json.loads, "confidence": float,
             "nsfw_score": float}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: types.get(key, str)(text) if text else None for key, text in row.items()}
        for row in rows
    ]


def main():
    pictures = SCRATCH / "pictures"
    make(pictures)
    files = [str(path.relative_to(pictures)) for path in pictures.rglob("*.png")]
    files.sort(key=lambda path: path.encode())
    assert len(files) == FILES
    chance = random.Random(SEED)
    read_back = {}
    for form in ["jsonl", "csv", "parquet"]:
        whole, parts = f"whole.{form}", f"parts.{form}"
        seconds = through(whole)
        pieces(parts, seconds, chance)
        same(parts, whole)
        rows = read_back[form] = read(parts)
        assert list(rows[0]) == COLUMNS, list(rows[0])
        assert [row["path"] for row in rows] == files
        assert sum(not row["ok"] for row in rows) == broken()
    for form in ["csv", "parquet"]:
        assert read_back[form] == read_back["jsonl"], f"{form} says what jsonl does not"
    print("jsonl, csv and parquet say the same of all files, in the order of their paths")
    left = sorted(path.name for path in SCRATCH.iterdir() if not path.is_dir())
    assert left == sorted(f"{run}.{form}" for run in ("whole", "parts") for form in read_back), left


main()
