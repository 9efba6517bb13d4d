"""Embeddings by OpenAI's client, compared with raw requests. See openai.sh."""

import base64
import json
import pathlib
import sys
import urllib.request

import openai

URL, KEY = sys.argv[1].rstrip("/"), sys.argv[2]
SAMPLES = pathlib.Path(__file__).parents[2] / "models" / "embedded" / "samples"


def raw(body):
    """What a request without the client gets."""
    request = urllib.request.Request(
        f"{URL}/v1/embeddings",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def dot(a, b):
    assert len(a) == len(b), (len(a), len(b))
    return sum(x * y for x, y in zip(a, b))


def near(a, b):
    # The client asks for base64 of 32-bit floats, a raw request for decimals of the same.
    assert len(a) == len(b), (len(a), len(b))
    assert all(abs(x - y) < 1e-6 for x, y in zip(a, b)), "another vector than by a raw request"


def picture(name):
    data = base64.b64encode((SAMPLES / name).read_bytes()).decode()
    return f"data:image/webp;base64,{data}"


client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
print(f"openai {openai.__version__} over {URL}")

one = client.embeddings.create(model="any", input="a cat")
assert (one.object, one.data[0].object, one.data[0].index) == ("list", "embedding", 0)
near(one.data[0].embedding, raw({"model": "any", "input": "a cat"})["data"][0]["embedding"])
print(f"a text: {len(one.data[0].embedding)} numbers by {one.model}")

texts = ["a cat", "a dog", "a pizza"]
several = client.embeddings.create(model="any", input=texts, encoding_format="float", user="me")
assert [item.index for item in several.data] == [0, 1, 2]
for item, known in zip(several.data, raw({"model": "any", "input": texts})["data"]):
    near(item.embedding, known["embedding"])
near(several.data[0].embedding, one.data[0].embedding)
print(f"{len(several.data)} texts: usage {several.usage.total_tokens}")

names = ["cat-sticker.webp", "dog-sticker.webp", "pizza-sticker.webp"]
shown = client.embeddings.create(model="any", input=[picture(name) for name in names])
for at, (name, item) in enumerate(zip(names, shown.data)):
    fits = [dot(item.embedding, text.embedding) for text in several.data]
    print(f"{name}: " + ", ".join(f"{text} {fit:.3f}" for text, fit in zip(texts, fits)))
    assert max(fits) == fits[at], f"{name} fits another text better"

count = len(one.data[0].embedding)
client.embeddings.create(model="any", input="a cat", dimensions=count)
for what, arguments in [
    ("other dimensions", {"input": "a cat", "dimensions": 3}),
    ("token numbers", {"input": [1, 2, 3]}),
    ("no input", {"input": []}),
    ("a broken picture", {"input": "data:image/png;base64,AAAA"}),
]:
    try:
        client.embeddings.create(model="any", **arguments)
    except openai.BadRequestError as error:
        assert error.body["type"] == "invalid_request_error", error.body
        print(f"{what}: {error.status_code} {error.code}: {error.body['message']}")
    else:
        raise AssertionError(f"{what} was taken")
print("fine")
