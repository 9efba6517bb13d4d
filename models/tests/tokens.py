"""Makes the goldens of the tokenizers: hashes of the tokens that open_clip gives 12,000 texts.

    pip install open_clip_torch==3.3.0 ftfy==6.3.1 transformers==5.24.0
    python tokens.py fixtures/tokens.json            # hashes, committed
    python tokens.py --tokenizer fixtures/siglip fixtures/siglip/tokens.json   # as SigLIP2 uses one
    python tokens.py [--tokenizer FOLDER] --compare FILE   # a text's JSON and its tokens a line, from Rust

The texts are put together from fragments by a generator of random numbers that tokens.rs has too.
"""
import argparse
import hashlib
import json
from pathlib import Path

COUNT, BLOCK = 12_000, 50
SEPARATORS = ["", " ", " ", " ", "  ", "\t", "\n", ", ", "-", "/"]
FRAGMENTS = json.loads((Path(__file__).parent / "fixtures/fragments.json").read_text())


def texts():
    state = 1

    def random(n):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % n

    yield ""
    yield "a" * 10_000
    yield "é " * 5_000
    for fragment in FRAGMENTS:
        yield fragment
    for _ in range(COUNT - 3 - len(FRAGMENTS)):
        text = ""
        for _ in range(1 + random(7)):
            text += FRAGMENTS[random(len(FRAGMENTS))] + SEPARATORS[random(len(SEPARATORS))]
        yield text


def main():
    import ftfy
    import open_clip
    assert open_clip.__version__ == "3.3.0" and ftfy.__version__ == "6.3.1", (open_clip.__version__, ftfy.__version__)
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--tokenizer", help="a folder with tokenizer.json and tokenizer_config.json")
    arguments.add_argument("--compare", action="store_true")
    arguments = arguments.parse_args()
    if arguments.tokenizer is None:
        tokenizer, context = open_clip.tokenizer.SimpleTokenizer(), 77
    else:
        tokenizer = open_clip.tokenizer.HFTokenizer(arguments.tokenizer, clean="canonicalize")
        context = 64
    all_texts = list(texts())
    ids = tokenizer(all_texts, context_length=context).numpy().astype("<u4")
    if arguments.compare:
        wrong = 0
        for line, text, expected in zip(arguments.file.open(), all_texts, ids):
            found = json.loads(line)
            assert found[0] == text, (found[0], text)
            if found[1] != expected.tolist():
                wrong += 1
                if wrong <= 40:
                    print(repr(text)[:200], *([i for i in ids if i] for ids in (expected.tolist(), found[1])), sep="\n    ")
        print(wrong, "of", len(all_texts), "differ")
        return
    hashes = [hashlib.sha256(ids[i:i + BLOCK].tobytes()).hexdigest()[:16] for i in range(0, COUNT, BLOCK)]
    arguments.file.write_text(json.dumps({"count": COUNT, "block": BLOCK, "sha256": hashes}, indent=0) + "\n")


main()
