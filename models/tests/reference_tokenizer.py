"""A tokenizer.json as Gemma's is made: byte-pair merges with byte fallback over text whose spaces are
`▁`, trained on the texts below, for the references of SigLIP2's family.

    python reference_tokenizer.py GEMMAS_TOKENIZER_JSON FOLDER   # a folder for tokens.py --tokenizer
"""
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from reference_common import TEXTS

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# A few words of many scripts; what is in none of them falls back to bytes.
WORDS = """
photo picture drawing sticker cat dog bird horse house tree water flower happy angry sleeping running red green blue
foto imagem desenho figurinha gato cachorro pássaro cavalo casa árvore água flor feliz dormindo vermelho verde azul
фото кошка собака птица дерево вода красный 猫 狗 鳥 花 水 赤い 青い 고양이 강아지 나무 قطة كلب شجرة कुत्ता बिल्ली पेड़ γάτα σκύλος
""".split()


def save_as_siglips(tokenizer, folder):
    """Saves one with what SigLIP2's copies of Gemma's have: only an end token put on, padding to the right."""
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True, "padding_side": "right",
        "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>",
        "model_input_names": ["input_ids"],
    }, indent=1) + "\n")


def copy(gemma, folder):
    """Copies one of Gemma's."""
    save_as_siglips(Tokenizer.from_file(str(gemma)), folder)


def save(folder, entries):
    """Trains and saves one of about so many entries; how many it has."""
    trained = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    texts = [text.lower() for text in TEXTS] + [f"a {word} and {other}" for word in WORDS for other in WORDS[::7]]
    trained.train_from_iterator(texts, BpeTrainer(
        vocab_size=entries, special_tokens=SPECIAL + BYTES, show_progress=False))
    # Bytes are entries like others, the trainer knows them as special ones only.
    data = json.loads(trained.to_str())
    data["added_tokens"] = data["added_tokens"][:len(SPECIAL)]
    made = Tokenizer.from_str(json.dumps(data))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    save_as_siglips(made, folder)
    return made.get_vocab_size()


if __name__ == "__main__":
    copy(Path(sys.argv[1]), Path(sys.argv[2]))
