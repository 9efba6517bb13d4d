"""What the service must answer: open_clip and the formulas of the Python service that it replaces.

    python reference.py CHECKPOINT DIR EXPECTED.json [--model MobileCLIP-S1]

Writes the pictures to DIR (pictures.py) and the answers to EXPECTED.json. The choices are those of
pipelines/compat: `convert("RGB")` drops alpha, EXIF is ignored, the first frame counts, labels are
scored as they are, nsfw is read from a label. One thing is not copied: 16-bit gray is scaled to
8 bits here, where Pillow's conversion clips it to white.
"""
import argparse
import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import pictures

TOP_K = 5
ENTROPY_THRESHOLD = 2.5
ENTROPY_NORMALIZED_THRESHOLD = 0.76
NSFW_THRESHOLD = 0.6
NSFW_WORDS = ("nsfw", "adult", "explicit", "porn", "sexual")
# Every other picture gets the second list: other lengths, accents, an unsafe label in front.
LABELS = [
    ["cat", "dog", "landscape at night", "happy birthday", "anime girl", "meme with text", "food",
     "nsfw content", "car", "football", "love heart", "crying face"],
    ["explicit picture", "café", "cafe", "日本語の文字", "a photo of a very small red square on a table"],
]


def preprocessing(model):
    """The model's own preprocessing, which open_clip forgets when it is given a file."""
    tag = open_clip.list_pretrained_tags_by_model(model)[0]
    published = open_clip.get_pretrained_cfg(model, tag)
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    return image_transform_v2(PreprocessCfg(
        size=size, mean=published["mean"], std=published["std"],
        interpolation=published["interpolation"],
        resize_mode=published.get("resize_mode", "shortest")), is_train=False)


def decode(data):
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8), "L").convert("RGB")
    return image.convert("RGB")


def entropy(shares):
    total = sum(shares)
    return -sum(p / total * math.log(p / total) for p in shares if p > 0)


def classify(image, labels, texts, scale):
    """All the fields that follow from a picture's vector and those of its labels."""
    logits = scale * (texts @ image)
    scores = torch.softmax(logits.double(), dim=0).tolist()
    logits = logits.tolist()
    order = sorted(range(len(labels)), key=lambda i: -scores[i])
    top = [scores[i] for i in order[:TOP_K]]
    spread = entropy(scores)
    normalized = min(max(entropy(top) / math.log(len(top)), 0.0), 1.0) if len(top) > 1 else 0.0
    unsafe = next((s for label, s in zip(labels, scores) if any(w in label.lower() for w in NSFW_WORDS)), 0.0)
    return {
        "category": labels[order[0]],
        "confidence": scores[order[0]],
        "all_scores": dict(zip(labels, scores)),
        "raw_logits": dict(zip(labels, logits)),
        "top_labels": [{"label": labels[i], "score": scores[i], "logit": logits[i], "clip_score": scores[i]}
                       for i in order[:TOP_K]],
        "entropy": spread,
        "entropy_top_k": entropy(top),
        "entropy_normalized": normalized,
        "confidence_margin": scores[order[0]] - (scores[order[1]] if len(order) > 1 else 0.0),
        "nsfw_score": unsafe,
        "is_nsfw": unsafe >= NSFW_THRESHOLD,
        "ambiguous": spread > ENTROPY_THRESHOLD or normalized > ENTROPY_NORMALIZED_THRESHOLD,
        "labels": labels,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("pictures")
    parser.add_argument("expected")
    parser.add_argument("--model", default="MobileCLIP-S1")
    arguments = parser.parse_args()

    model = open_clip.create_model(arguments.model, pretrained=arguments.checkpoint).eval()
    transform = preprocessing(arguments.model)
    tokenizer = open_clip.get_tokenizer(arguments.model)
    normalised = lambda vectors: torch.nn.functional.normalize(vectors, dim=-1)
    with torch.no_grad():
        scale = model.logit_scale.exp()
        texts = [normalised(model.encode_text(tokenizer(labels))) for labels in LABELS]
        answers = []
        for number, (name, (media_type, data)) in enumerate(pictures.write(arguments.pictures).items()):
            pixels = transform(decode(data)).unsqueeze(0)
            image = normalised(model.encode_image(pixels))[0]
            which = number % len(LABELS)
            answer = classify(image, LABELS[which], texts[which], scale)
            answer |= {
                "image_hash": hashlib.sha256(data).hexdigest(),
                "model": arguments.model,
                "filename": name,
                "content_type": media_type,
                "embedding": image.tolist(),
            }
            answers.append(answer)
    Path(arguments.expected).write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(answers)} answers in {arguments.expected}")


if __name__ == "__main__":
    main()
