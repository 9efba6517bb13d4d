"""What is said of each picture: names and keywords in English and Portuguese, in many phrasings."""
import json
import random
from collections import defaultdict
from pathlib import Path

import open_clip

EN = [
    "{}", "{}", "{}", "a {}", "an image of {}", "an image of a {}", "a picture of a {}", "a photo of a {}",
    "a photo of {}", "a drawing of a {}", "an illustration of a {}", "an illustration of {}", "a cartoon {}",
    "a cartoon of a {}", "a sticker of a {}", "a sticker of {}", "{} sticker", "{} emoji", "an emoji of a {}",
    "an icon of a {}", "{} icon", "clip art of a {}", "a cute {}", "this is a {}", "this is {}", "the {}",
    "a rendering of a {}", "a small picture of a {}", "a close-up of a {}", "one {}", "graphic of a {}",
    "a whatsapp sticker of {}", "an image that shows {}",
]
PT = [
    "{}", "{}", "{}", "um {}", "uma {}", "uma imagem de {}", "uma foto de {}", "um desenho de {}",
    "uma ilustração de {}", "uma figurinha de {}", "figurinha de {}", "um adesivo de {}", "emoji de {}",
    "ícone de {}", "um emoji de {}", "uma figura de {}", "isto é {}",
]
# Of what photographs show; most labels are bare words.
SEEN_EN = ["{}", "{}", "{}", "{}", "a {}", "a {}", "the {}", "an image of a {}", "a picture of a {}", "a photo of a {}", "a photo of {}",
           "a photograph of a {}", "a close-up of a {}", "this is a {}"]
STOP = {"face", "pessoa", "person", "rosto", "símbolo", "symbol", "button", "botão", "emoji", "bandeira"}
# Words for groups of objects, beside the keywords that CLDR gives each object.
GROUP_WORDS = {
    "animals-nature": ["nature"], "food-drink": ["food", "comida"], "animal-mammal": ["animal", "mammal"],
    "animal-bird": ["bird", "animal", "pássaro"], "animal-marine": ["sea animal", "animal"],
    "animal-reptile": ["reptile", "animal"], "animal-bug": ["insect", "bug", "inseto"],
    "animal-amphibian": ["amphibian", "animal"], "plant-flower": ["flower", "plant", "flor"],
    "plant-other": ["plant", "planta"], "food-fruit": ["fruit", "food", "fruta"],
    "food-vegetable": ["vegetable", "food"], "food-prepared": ["food", "meal"], "food-asian": ["asian food", "food"],
    "food-sweet": ["dessert", "sweet food", "doce"], "drink": ["drink", "beverage", "bebida"],
    "transport-ground": ["vehicle", "veículo"], "transport-air": ["aircraft", "vehicle"],
    "transport-water": ["boat", "vehicle"], "place-building": ["building", "prédio"], "sport": ["sport", "esporte"],
    "clothing": ["clothing", "roupa"], "musical-instrument": ["musical instrument"], "tool": ["tool", "ferramenta"],
    "flags": ["flag"], "hand-fingers-open": ["hand gesture"], "hand-fingers-closed": ["hand gesture"],
    "heart": ["heart", "love"], "cat-face": ["cat", "animal"], "monkey-face": ["monkey", "animal"],
    "face-smiling": ["smiling face", "happy"], "face-affection": ["love", "affection"],
    "face-negative": ["angry face"], "face-concerned": ["worried face", "sad"], "person-sport": ["person doing sport"],
    "person-role": ["person at work"], "family": ["family", "people"], "country-flag": ["country flag", "national flag"],
    "arrow": ["arrow"], "zodiac": ["zodiac sign"], "game": ["game"], "computer": ["electronics"], "money": ["money"],
}

# Everyday words whose owners CLDR's keywords leave unclear. Emoji by their CLDR name.
EVERYDAY = {
    "car|carro": "automobile, oncoming automobile, sport utility vehicle, racing car, taxi, police car",
    "cat|gato": "cat, cat face, grinning cat, black cat, cat with wry smile, pouting cat, smiling cat with heart-eyes",
    "dog|cachorro": "dog, dog face, poodle, guide dog, service dog",
    "bird|pássaro": "bird, dove, eagle, parrot, black bird, duck, swan",
    "fish|peixe": "fish, tropical fish, blowfish",
    "horse|cavalo": "horse, horse face, horse racing", "rabbit|coelho": "rabbit, rabbit face",
    "monkey|macaco": "monkey, monkey face, see-no-evil monkey, hear-no-evil monkey, speak-no-evil monkey, gorilla, orangutan",
    "bear|urso": "bear, polar bear, teddy bear", "tiger|tigre": "tiger, tiger face", "whale|baleia": "whale, spouting whale",
    "chicken|galinha": "chicken, rooster, baby chick, hatching chick, front-facing baby chick",
    "dinosaur|dinossauro": "sauropod, T-Rex", "dragon|dragão": "dragon, dragon face",
    "flower|flor": "bouquet, cherry blossom, rose, hibiscus, sunflower, blossom, tulip, hyacinth, white flower",
    "tree|árvore": "evergreen tree, deciduous tree, palm tree, Christmas tree",
    "apple|maçã": "red apple, green apple", "cake|bolo": "birthday cake, shortcake, cupcake", "bread|pão": "bread, baguette bread, croissant",
    "coffee|café": "hot beverage", "beer|cerveja": "beer mug, clinking beer mugs", "ice cream|sorvete": "ice cream, soft ice cream, shaved ice",
    "bus|ônibus": "bus, oncoming bus, trolleybus, minibus", "truck|caminhão": "delivery truck, articulated lorry, pickup truck, fire engine",
    "train|trem": "train, locomotive, high-speed train, bullet train, metro, station, railway car", "ship|navio": "ship, passenger ship, ferry, motor boat, sailboat",
    "airplane|avião": "airplane, small airplane, airplane departure, airplane arrival", "bicycle|bicicleta": "bicycle",
    "motorcycle|moto": "motorcycle, motor scooter", "house|casa": "house, house with garden, houses, derelict house",
    "castle|castelo": "castle, Japanese castle", "mountain|montanha": "mountain, snow-capped mountain, volcano, mount fuji",
    "sun|sol": "sun, sun with face", "moon|lua": "crescent moon, full moon, full moon face, new moon face, first quarter moon face",
    "star|estrela": "star, glowing star", "cloud|nuvem": "cloud, cloud with rain, cloud with snow, cloud with lightning, sun behind cloud",
    "fire|fogo": "fire", "umbrella|guarda-chuva": "umbrella, umbrella with rain drops, closed umbrella, umbrella on ground",
    "guitar|violão": "guitar", "book|livro": "closed book, open book, green book, blue book, orange book, books, notebook",
    "camera|câmera": "camera, camera with flash, video camera, movie camera", "phone|telefone": "mobile phone, telephone, telephone receiver",
    "computer|computador": "laptop, desktop computer", "key|chave": "key, old key", "lock|cadeado": "locked, unlocked, locked with key, locked with pen",
    "hat|chapéu": "top hat, woman’s hat, billed cap, graduation cap, military helmet", "shirt|camisa": "t-shirt, running shirt, necktie",
    "shoe|sapato": "man’s shoe, running shoe, high-heeled shoe, hiking boot, flat shoe, woman’s boot",
    "glasses|óculos": "glasses, sunglasses, goggles", "clock|relógio": "alarm clock, mantelpiece clock, watch, timer clock, one o’clock, three o’clock",
    "money|dinheiro": "money bag, dollar banknote, euro banknote, pound banknote, yen banknote, money with wings, coin",
    "flag|bandeira": "black flag, white flag, triangular flag, crossed flags, chequered flag, flag: Brazil, flag: United States, flag: Japan, flag: Germany, flag: Italy",
    "baby|bebê": "baby, baby angel", "hand|mão": "raised hand, waving hand, raised back of hand, hand with fingers splayed, OK hand, raised fist",
    "skull|caveira": "skull, skull and crossbones", "clown|palhaço": "clown face", "heart|coração": "red heart, blue heart, green heart, yellow heart, purple heart, black heart, growing heart, sparkling heart",
    "fox|raposa": "fox", "lion|leão": "lion", "alien|alienígena": "alien, alien monster", "person|pessoa": "person, man, woman, boy, girl, child",
    "happy face|rosto feliz": "grinning face, grinning face with big eyes, grinning face with smiling eyes, beaming face with smiling eyes, smiling face with smiling eyes, slightly smiling face, smiling face",
    "laughing face|rosto rindo": "face with tears of joy, rolling on the floor laughing, grinning squinting face",
    "sad face|rosto triste": "pensive face, slightly frowning face, frowning face, disappointed face, worried face, sad but relieved face",
    "crying face|rosto chorando": "crying face, loudly crying face",
    "angry face|rosto bravo": "angry face, enraged face, face with steam from nose, face with symbols on mouth",
    "surprised face|rosto surpreso": "astonished face, hushed face, face with open mouth",
    "scared face|rosto assustado": "face screaming in fear, fearful face, anxious face with sweat",
    "sleepy face|rosto com sono": "sleepy face, sleeping face, yawning face",
    "sick face|rosto doente": "nauseated face, face with medical mask, face with thermometer, face vomiting, sneezing face, face with head-bandage",
    "love|amor": "red heart, smiling face with hearts, smiling face with heart-eyes, heart with arrow, two hearts, revolving hearts, couple with heart",
    "kiss|beijo": "kiss mark, face blowing a kiss, kissing face, kissing face with closed eyes, kissing face with smiling eyes, kiss",
    "wink|piscadela": "winking face, winking face with tongue", "cool face with sunglasses|rosto descolado": "smiling face with sunglasses",
    "celebration|comemoração": "party popper, confetti ball, partying face, bottle with popping cork, balloon",
    "smiling face|rosto sorridente": "grinning face, smiling face with smiling eyes, slightly smiling face, smiling face, smiling face with halo",
}


class Vocabulary:
    """The rows of the tokenizer's table that training touches, given out on first use.

    Row 0 is padding, row 1 stands for every token not seen; the export copies row 1 to those."""

    def __init__(self, size=14000, rows=None):
        self.tok = open_clip.get_tokenizer("ViT-B-32").encode  # the standard CLIP byte-pair encoding
        self.size = size
        self.rows = {49406: 2, 49407: 3} if rows is None else {int(k): v for k, v in rows.items()}
        self.cache = {}

    def encode(self, s):
        ids = self.cache.get(s)
        if ids is None:
            ids = [49406] + self.tok(s)[:74] + [49407]
            for i in ids:
                if i not in self.rows and len(self.rows) + 2 < self.size:
                    self.rows[i] = len(self.rows) + 2
            ids = [self.rows.get(i, 1) for i in ids]
            if len(self.cache) < 400_000:
                self.cache[s] = ids
        return ids


class Captions:
    """Classes 0..E-1 are the emoji, E.. the kinds of image. A string may belong to several classes."""

    def __init__(self, emoji, kinds):
        self.emoji, self.kinds = emoji, kinds
        self.E, self.K = len(emoji), len(kinds)
        self.of = defaultdict(dict)  # string -> class -> weight
        self.names = [[] for _ in range(self.E + self.K)]
        self.words = [[] for _ in range(self.E + self.K)]
        for c, e in enumerate(emoji):
            for lang in ("en", "pt"):
                for n in e[lang]:
                    self._add(n, c, 1.0, lang, self.names)
                for k in e["keywords_" + lang]:
                    if k not in STOP and len(k) > 1:
                        # "truck" says more of the delivery truck than "hat" of the partying face.
                        inside = any(k in n.replace(":", "").split() for n in e[lang])
                        self._add(k, c, 0.6 if inside else 0.25, lang, self.words)
            for g in (e["group"], e["subgroup"]):
                for w in GROUP_WORDS.get(g, []):
                    self._add(w, c, 0.3, "en", self.words)
        by_name = {n: c for c, e in enumerate(emoji) for n in e["en"]}
        for key, owners in EVERYDAY.items():
            for s, lang in zip(key.split("|"), ("en", "pt")):
                for c in self.of[s]:
                    self.of[s][c] *= 0.15
                for o in owners.split(", "):
                    c = by_name.get(o.lower().replace("’", "'"), by_name.get(o.lower()))
                    if c is None:
                        continue  # not in this CLDR version
                    self._add(s, c, 1.0, lang, self.words)
                    self.words[c] += [(s, lang)] * 2  # said more often
        for k, kind in enumerate(kinds):
            for lang in ("en", "pt"):
                for n in kind[lang]:
                    self._add(n, self.E + k, 1.0, lang, self.names)
        for s, d in self.of.items():
            t = sum(d.values())
            # One strong owner keeps most of a shared word.
            self.of[s] = {c: w / t for c, w in d.items()}

    def _add(self, s, c, w, lang, table):
        s = s.replace("’", "'").replace(":", "")
        self.of[s][c] = max(w, self.of[s].get(c, 0))
        if (s, lang) not in table[c]:
            table[c].append((s, lang))

    def sample(self, c, rng):
        """A string of class c and a caption that says it."""
        kind = c >= self.E
        pool = self.names[c] if kind or not self.words[c] or rng.random() < 0.6 else self.words[c]
        s, lang = rng.choice(pool)
        if not kind and lang == "pt" and rng.random() < 0.4:
            s, lang = rng.choice(self.names[c])
        if kind:
            t = rng.choice(["{}", "{}", "{}", "a {}", "an image of a {}", "a picture of a {}", "this is a {}", "an image of {}"]
                           if lang == "en" else ["{}", "{}", "uma imagem de {}", "isto é {}", "um {}", "uma {}"])
        else:
            t = rng.choice(EN if lang == "en" else PT)
        text = t.format(s).replace(" a a ", " a ").replace(" a the ", " the ")
        return s, text


def load(art, kinds):
    return Captions(json.loads((Path(art) / "emoji.json").read_text()), kinds)
