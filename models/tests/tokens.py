"""Makes the goldens of the tokenizer: hashes of the tokens that open_clip gives 12,000 texts.

    pip install open_clip_torch==3.3.0 ftfy==6.3.1
    python tokens.py fixtures/tokens.json            # hashes, committed
    python tokens.py --compare FILE                  # FILE: a text's JSON and its tokens a line, from Rust

The texts are put together from fragments by a generator of random numbers that tokens.rs has too.
"""
import hashlib
import json
import sys
from pathlib import Path

COUNT, BLOCK, CONTEXT = 12_000, 50, 77
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
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    all_texts = list(texts())
    ids = tokenizer(all_texts, context_length=CONTEXT).numpy().astype("<u4")
    if sys.argv[1] == "--compare":
        wrong = 0
        for line, text, expected in zip(open(sys.argv[2]), all_texts, ids):
            found = json.loads(line)
            assert found[0] == text, (found[0], text)
            if found[1] != expected.tolist():
                wrong += 1
                if wrong <= 40:
                    print(repr(text)[:200], "\n   ", repr(tokenizer.decode([i for i in expected.tolist() if i]))[:300],
                          "\n   ", repr(tokenizer.decode([i for i in found[1] if i]))[:300])
        print(wrong, "of", len(all_texts), "differ")
        return
    hashes = [hashlib.sha256(ids[i:i + BLOCK].tobytes()).hexdigest()[:16] for i in range(0, COUNT, BLOCK)]
    Path(sys.argv[1]).write_text(json.dumps({"count": COUNT, "block": BLOCK, "sha256": hashes}, indent=0) + "\n")


main()
