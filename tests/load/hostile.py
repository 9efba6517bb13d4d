"""Clients that mean no good, or are broken: what each does, and what it may be told.

Each is a coroutine over a `Hostile` and does its worst once; what it was told is compared with what
it may be told. To close a connection without an answer is the program's right in most of these.
"""

import asyncio
import json
import random
import socket
import struct
import time
import zlib
from collections import Counter, deque

from pictures import chunk, claims
from service import BOUNDARY, ROOT, post, post_form

IMAGES = ROOT / "tests/fixtures/images"
# The longest that one of them waits for what it is told.
PATIENCE = 45
# A bound is spent, and that is said so.
SPENT = {(429, "overloaded"), (503, "no_room"), (503, "too_many_connections")}
# After SIGTERM alone.
ENDING = (503, "shutting_down")


class Hostile:
    def __init__(self, port, chance, pace):
        self.port, self.chance, self.pace = port, chance, pace
        self.done, self.unexpected = Counter(), Counter()
        self.told = {}
        self.held = set()
        self.silent = deque()
        self.working = []

    def begin(self):
        self.is_over = False
        self.working = [
            asyncio.ensure_future(self.again(what, every))
            for what, (many, every) in WHO.items()
            for _ in range(many)
        ]

    async def end(self):
        """All of them stop, and leave without a word."""
        self.is_over = True
        # Once is not enough: `wait_for` loses it where what it waits for ends at that moment.
        while self.working:
            for task in self.working:
                task.cancel()
            done, _ = await asyncio.wait(self.working, timeout=1)
            for task in done:
                self.working.remove(task)
                if not task.cancelled() and task.exception():
                    raise task.exception()
        for writer in list(self.held):
            self.leave(writer, hard=True)

    async def again(self, what, every):
        while not self.is_over:
            await asyncio.sleep(self.chance.expovariate(self.pace / every))
            try:
                await what(self)
            except (OSError, asyncio.IncompleteReadError):
                # Closed by the program, which is its right.
                pass
            self.done[what.__name__] += 1

    async def connect(self):
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.port), PATIENCE
        )
        self.held.add(writer)
        return reader, writer

    def leave(self, writer, hard=False):
        """Closes; hard is a reset, which says that nobody is there any more."""
        self.held.discard(writer)
        transport = writer.transport
        if hard:
            raw = transport.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            writer.close()

    async def status(self, reader):
        """The status and the code of an answer; None where the connection was closed instead."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            status = int(head.split(b" ", 2)[1])
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            body = await asyncio.wait_for(reader.readexactly(length), PATIENCE)
        except (OSError, asyncio.IncompleteReadError):
            return None, ""
        except asyncio.TimeoutError:
            return "nothing", f"within {PATIENCE} s"
        try:
            return status, str(json.loads(body).get("code", ""))
        except (ValueError, AttributeError):
            return status, "no code"

    def note(self, kind, told, expected):
        """`expected` are statuses; None is a closed connection."""
        status, code = told
        self.told.setdefault(kind, Counter())[f"{status or 'closed'} {code}".strip()] += 1
        if status not in expected and told not in SPENT and told != ENDING:
            self.unexpected[kind, f"{status or 'closed'} {code}"] += 1

    def told_of(self, kind):
        told = self.told.get(kind, Counter()).most_common(4)
        return ", ".join(f"{count} x {what}" for what, count in told) or "-"

    async def send(self, kind, request, expected):
        """A whole request over a connection of its own, and what it is told."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            try:
                await asyncio.wait_for(writer.drain(), PATIENCE)
            except (OSError, asyncio.TimeoutError):
                pass
            self.note(kind, await self.status(reader), expected)
        finally:
            self.leave(writer)


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}"


async def silence(them):
    """Connections that say nothing: up to 300 of them."""
    for _ in range(20):
        them.silent.append((await them.connect())[1])
    while len(them.silent) > 300:
        them.leave(them.silent.popleft())


async def flood(them):
    """More silent connections at once than the program has descriptors, for ten seconds."""
    many = []
    try:
        for _ in range(1200):
            many.append((await asyncio.wait_for(them.connect(), 5))[1])
    except (OSError, asyncio.TimeoutError):
        pass
    await asyncio.sleep(10)
    for writer in many:
        them.leave(writer, hard=them.chance.random() < 0.5)


async def half_head(them):
    """A head that does not end."""
    reader, writer = await them.connect()
    writer.write(b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
    them.note("half_head", await them.status(reader), {None, 408})
    them.leave(writer)


async def slow_head(them):
    """A byte a second."""
    reader, writer = await them.connect()
    telling = asyncio.ensure_future(them.status(reader))
    for byte in b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 40:
        if telling.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(1)
    them.note("slow_head", await telling, {None, 408})
    them.leave(writer)


async def half_body(them):
    """Promises 10,000 bytes and sends one, eight at a time; half of them stay to be told."""
    opened = [await them.connect() for _ in range(8)]
    for _, writer in opened:
        writer.write(head("POST", "/classify", FORM, "Content-Length: 10000") + b"-")
    for at, (reader, writer) in enumerate(opened):
        if at % 2:
            them.note("half_body", await them.status(reader), {None, 408})
            them.leave(writer)
        else:
            them.leave(writer, hard=them.chance.random() < 0.5)


async def held_back(them):
    """A body of 31 MiB but for its last bytes: told that there is no room, or that it is late."""
    reader, writer = await them.connect()
    writer.write(head("POST", "/classify", FORM, f"Content-Length: {31 << 20}"))
    try:
        for _ in range(31):
            writer.write(b"a" * ((1 << 20) - 1))
            await asyncio.wait_for(writer.drain(), 10)
    except (OSError, asyncio.TimeoutError):
        pass
    them.note("held_back", await them.status(reader), {None, 400, 408, 422})
    them.leave(writer)


async def hang_up(them):
    """A whole request, and gone before the answer."""
    name = them.chance.choice(["baseline_420.jpg", "lossy.webp", "rgb_16.png"])
    # A picture of its own each time, so that it is worked on.
    data = (IMAGES / name).read_bytes() + them.chance.randbytes(8)
    for hard in (True, False):
        _, writer = await them.connect()
        writer.write(post_form("/classify", data))
        await asyncio.sleep(them.chance.choice([0, 0.001, 0.02]))
        them.leave(writer, hard)


async def half_an_answer(them):
    """Reads a few bytes of an answer, and is gone."""
    reader, writer = await them.connect()
    writer.write(b"GET /pipelines HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 4)
    await asyncio.wait_for(reader.read(100), PATIENCE)
    them.leave(writer, hard=them.chance.random() < 0.5)


async def never_reads(them):
    """Asks again and again and takes none of the answers, for up to a minute."""
    _, writer = await them.connect()
    writer.transport.pause_reading()
    request = b"GET /pipelines HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50
    until = time.monotonic() + 60
    while time.monotonic() < until and not writer.transport.is_closing():
        writer.write(request)
        try:
            await asyncio.wait_for(writer.drain(), 5)
        except asyncio.TimeoutError:
            pass
        await asyncio.sleep(1)
    them.leave(writer, hard=True)


async def broken_picture(them):
    name = them.chance.choice(
        [
            "truncated.jpg",
            "truncated.webp",
            "truncated.gif",
            "truncated.tiff",
            "text.png",
            "empty.png",
            "magic_only.jpg",
            "drawing.svg",
            "picture.avif",
            "noise.jpg",
        ]
    )
    await them.send(
        "broken_picture", post_form("/classify", (IMAGES / name).read_bytes()), {200, 413, 415, 422}
    )


async def flipped_bits(them):
    """A good picture of any format with some bits turned: an answer or a refusal, nothing else."""
    names = [
        "lossy_alpha.webp",
        "lossless.webp",
        "baseline_444.jpg",
        "progressive_420.jpg",
        "rgb.png",
        "gray_16.png",
        "animated.gif",
        "lzw.tiff",
        "palette.bmp",
        "cmyk.jpg",
        "deflate_rgba.tiff",
        "animated_alpha.webp",
    ]
    data = bytearray((IMAGES / them.chance.choice(names)).read_bytes())
    for _ in range(them.chance.randrange(1, 6)):
        data[them.chance.randrange(len(data))] ^= 1 << them.chance.randrange(8)
    await them.send("flipped_bits", post_form("/classify", bytes(data)), {200, 413, 415, 422})


async def huge_claim(them):
    """A hundred bytes that say that they are a picture of gigabytes."""
    sides = [
        (60000, 60000),
        (2**31 - 1, 2**31 - 1),
        (1, 2**31 - 1),
        (0, 0),
        (50000, 999),
        (7000, 7000),
    ]
    data = them.chance.choice(
        [claims(*side) for side in sides]
        + [(IMAGES / f"bomb.{kind}").read_bytes() for kind in ("png", "jpg", "gif", "bmp")]
    )
    await them.send("huge_claim", post_form("/classify", data), {413, 422})


async def huge_length(them):
    """Bodies that are too large, however large they are said to be, and lengths that are none."""
    length, expected = them.chance.choice(
        [
            ("33554433", 413),
            ("99999999999", 413),
            ("18446744073709551613", 413),
            ("18446744073709551614", 413),
            ("18446744073709551615", 413),
            ("18446744073709551616", 413),
            ("9" * 100, 413),
            ("-1", 400),
            ("+5", 400),
            ("1e3", 400),
            ("2\r\nContent-Length: 3", 400),
        ]
    )
    await them.send(
        "huge_length",
        head("POST", "/classify", FORM, f"Content-Length: {length}"),
        {None, expected},
    )


async def endless_chunks(them):
    """A body of chunks that goes on until somebody stops it."""
    reader, writer = await them.connect()
    writer.write(head("POST", "/classify", FORM, "Transfer-Encoding: chunked"))
    telling = asyncio.ensure_future(them.status(reader))
    for _ in range(80):
        if telling.done() or writer.transport.is_closing():
            break
        writer.write(b"100000\r\n" + b"a" * (1 << 20) + b"\r\n")
        try:
            await asyncio.wait_for(writer.drain(), 10)
        except (OSError, asyncio.TimeoutError):
            break
    them.note("endless_chunks", await telling, {None, 400, 413, 422})
    them.leave(writer)


async def bad_json(them):
    bodies = [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b"\xff" * 100,
        b"null",
        b"[]",
        b'"text"',
        b"1e999",
        b'{"image_hash": 1e400}',
        b'{"image_hash": "\xed\xa0\x80"}',
        b'{"image_hash": null}',
        b"{}" * 1000,
        b'{"image_hash": "a", "theme": "b", "accepted": {}}',
        b'{"theme": "' + b"a" * 200_000 + b'"}',
        b"{" + b",".join(b'"k%d":1' % at for at in range(20_000)) + b"}",
    ]
    await them.send("bad_json", post("/feedback", them.chance.choice(bodies)), {400, 413, 422})


async def bad_form(them):
    bodies = [
        b"",
        b"--",
        b"--" + BOUNDARY,
        b"--" + BOUNDARY + b"\r\n\r\n\r\n",
        b"a" * 100_000,
        b"\r\n" * 50_000,
        b'--%b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' % BOUNDARY,
        (b'--%b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' % BOUNDARY) * 10_000,
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (BOUNDARY, b"n" * 60_000),
    ]
    request = post(
        "/classify",
        them.chance.choice(bodies),
        f"multipart/form-data; boundary={BOUNDARY.decode()}",
    )
    await them.send("bad_form", request, {400, 413, 422})


async def wrong_type(them):
    kinds = [
        "text/plain",
        "image/png",
        "application/xml",
        "multipart/form-data",
        "application/json; charset=klingon",
        "x" * 3000,
        "multipart/form-data; boundary=" + "b" * 2000,
        "application/x-www-form-urlencoded",
    ]
    await them.send(
        "wrong_type", post("/classify", b"{}", them.chance.choice(kinds)), {400, 415, 422}
    )


async def bad_fields(them):
    data = (IMAGES / "pixel.png").read_bytes()
    fields = them.chance.choice(
        [
            {"labels": json.dumps([f"l{at}" for at in range(5000)])},
            {"labels": json.dumps(["a" * 2000, "b"])},
            {"labels": "[" * 5000},
            {"nsfw_threshold": "nan"},
            {"nsfw_threshold": "1e999"},
            {"similar_limit": "-1"},
            {"similar_limit": "99999999999999999999"},
            {"theme": "a" * 5000},
            {"asset_id": "line\nbreak"},
            {"asset_sha256": "z" * 64},
            {"asset_sha256": "a" * 65},
            {"similar_threshold": "2"},
        ]
    )
    await them.send("bad_fields", post_form("/classify", data, **fields), {422})


async def wrong_door(them):
    requests = [
        (head("GET", "/"), {200}),
        (head("GET", "/nowhere"), {404}),
        (head("GET", "/classify"), {405}),
        (head("DELETE", "/health"), {405}),
        (head("GET", "/../../etc/passwd"), {400, 404}),
        (head("GET", "/%00%ff%2e%2e"), {400, 404}),
        (head("GET", "/" + "a" * 5000), {404, 414}),
        (head("GET", "/labels", "Cookie: " + "c" * 100_000), {None, 200, 431}),
        (head("GET", "/health", *[f"X-{at}: a" for at in range(500)]), {None, 200, 431}),
        (head("GET", "/health", "Origin: https://evil.example"), {403}),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", {403}),
        (b"GET /health HTTP/1.1\r\n\r\n", {400}),
        (head("GET", "/health", "Host: 127.0.0.1"), {400}),
        (b"GET /health HTTP/1.0\r\n\r\n", {200}),
        (b"GET /health HTTP/1.0\r\nOrigin: http://127.0.0.1\r\n\r\n", {400}),
        (head("DELETE", "/images/" + "g" * 64), {422}),
        (head("PRI", "*"), {None, 400, 404, 405, 501}),
    ]
    request, expected = them.chance.choice(requests)
    await them.send("wrong_door", request, expected)


async def no_http(them):
    """Bytes that are no request: a TLS hello, HTTP/2 with broken frames, noise."""
    noise = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + them.chance.randbytes(500),
        them.chance.randbytes(5000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + b"\0\0\0\4\0\0\0\0\0"
        + b"\xff\xff\xff\1\5\0\0\0\1"
        + them.chance.randbytes(400),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + b"\0\0\0\4\0\0\0\0\0"
        + b"\0\0\4\3\0\0\0\0\1\0\0\0\x08" * 200,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\r\n" * 2000,
        b"GET / HTTP/1.1\nHost:a\n\n",
        b"\0" * 10_000,
    ]
    reader, writer = await them.connect()
    writer.write(them.chance.choice(noise))
    writer.write_eof()
    try:
        await asyncio.wait_for(reader.read(1 << 16), PATIENCE)
    except asyncio.TimeoutError:
        them.unexpected["no_http", "open for ever"] += 1
    them.leave(writer)


async def two_lengths(them):
    """What a proxy and a server might read differently."""
    both = [
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Content-Length: 2", "Content-Length: 3"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Content-Length : 2"],
        ["Expect: 200-maybe", "Content-Length: 2"],
    ]
    lines = them.chance.choice(both)
    request = head("POST", "/feedback", "Content-Type: application/json", *lines) + b"{}"
    # Lines that no body follows are waited for, by right.
    reader, writer = await them.connect()
    writer.write(request)
    writer.write_eof()
    them.note("two_lengths", await them.status(reader), {None, 400, 413, 415, 417, 422})
    them.leave(writer)


async def packed(them):
    request = (
        head(
            "POST",
            "/feedback",
            "Content-Type: application/json",
            "Content-Encoding: gzip",
            "Content-Length: 2",
        )
        + b"{}"
    )
    await them.send("packed", request, {415})


async def large_junk(them):
    """Twenty megabytes that are no picture."""
    await them.send(
        "large_junk", post_form("/classify", b"\x89PNG\r\n\x1a\n" + b"\0" * (20 << 20)), {413, 422}
    )


def large():
    """40 million pixels, all the same, in some ten kilobytes; without its end."""
    side = 6300
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + side * 3)
    data = b"".join([packer.compress(row) for _ in range(side)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)


LARGE = large()


async def large_picture(them):
    """Nearly as many pixels as may be: what costs most, for its bytes."""
    # A remark makes it another file each time.
    data = (
        LARGE
        + chunk(b"tEXt", b"Comment\0%d" % them.chance.randrange(1 << 60))
        + chunk(b"IEND", b"")
    )
    await them.send("large_picture", post_form("/classify", data), {200})


# Who they are, how many of each there are, and how many seconds lie between two doings of one.
# Those that wait to be told need many.
WHO = {
    silence: (1, 3),
    flood: (1, 240),
    half_head: (4, 2),
    slow_head: (4, 3),
    half_body: (6, 3),
    held_back: (2, 20),
    hang_up: (1, 1),
    half_an_answer: (1, 1),
    never_reads: (3, 20),
    broken_picture: (1, 0.5),
    flipped_bits: (1, 0.5),
    huge_claim: (1, 1),
    huge_length: (1, 1),
    endless_chunks: (1, 20),
    bad_json: (1, 0.5),
    bad_form: (1, 0.5),
    wrong_type: (1, 1),
    bad_fields: (1, 0.5),
    wrong_door: (1, 0.3),
    no_http: (1, 0.5),
    two_lengths: (1, 1),
    packed: (1, 3),
    large_junk: (1, 10),
    large_picture: (1, 15),
}
