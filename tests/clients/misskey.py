#!/usr/bin/env python3
"""Asks for the classes of pictures in the form in which Misskey asks its detector.

    omnizap serve --pipelines pipelines/extra &
    tests/clients/misskey.py [URL] [KEY]      the service, else http://127.0.0.1:8008; its key, if any

Python alone is needed.
"""

import json
import pathlib
import sys
import urllib.error
import urllib.request

URL = (sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8008").rstrip("/")
KEY = sys.argv[2] if len(sys.argv) > 2 else None
IMAGES = pathlib.Path(__file__).parents[1] / "fixtures" / "images"
CLASSES = {"Neutral", "Drawing", "Hentai", "Porn", "Sexy"}
BOUNDARY = "----formdata-undici-012345678901"


def detect(parts):
    """The status and the body of an answer to these parts: their types and contents."""
    body = b""
    for at, (kind, data) in enumerate(parts):
        head = (
            f"--{BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="image{at}"; filename="image{at}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        body += head.encode() + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(f"{URL}/v1/detect-images", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def results(parts):
    status, body = detect(parts)
    assert status == 200 and body["success"] is True, (status, body)
    found = body["result"]["results"]
    assert len(found) == len(parts), (len(found), len(parts))
    return found


def shares(result):
    """The classes of a picture, by name, as Misskey sets its thresholds on them."""
    assert result["success"] is True, result
    found = {one["className"]: one["probability"] for one in result["predictions"]}
    assert set(found) == CLASSES, found
    assert abs(sum(found.values()) - 1) < 1e-4, found
    return found


good = ("image/png", (IMAGES / "wide.png").read_bytes())
other = ("image/jpeg", (IMAGES / "gray.jpg").read_bytes())
bad = ("image/png", b"no picture")

[one] = results([good])
print("one picture:", shares(one))
ten = results([good, other] * 5)
assert all(shares(a) == shares(one) for a in ten[::2]), "the order is another"
print("ten pictures: fine")

mixed = results([good, bad, ("image/png", b""), ("image/svg+xml", b"<svg/>"), other])
for result in mixed[1:4]:
    assert result["success"] is False, result
    print("a bad picture:", result["error"])
shares(mixed[0]), shares(mixed[4])

for count, expected in [(0, 400), (11, 413)]:
    status, body = detect([good] * count)
    assert (status, body["success"]) == (expected, False), (status, body)
    print(f"{count} pictures: {status}", body["error"])
if KEY:
    KEY = "not " + KEY
    status, body = detect([good])
    assert (status, body["error"]["code"]) == (401, "AUTHENTICATION_REQUIRED"), (status, body)
    print("a wrong key:", body["error"])
print("fine")
