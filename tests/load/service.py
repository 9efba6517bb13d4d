"""The program under load: its start and end, what it uses, and a client that costs little.

Standard library alone, Linux alone: what a process uses is read from /proc.
"""

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of the environment nothing but this reaches the program.
KEPT = ("PATH", "HOME", "TMPDIR")
START_PATIENCE = 120
# After SIGTERM: the grace, and what a busy machine may add.
END_PATIENCE = 60
ANSWER_PATIENCE = 40
BOUNDARY = b"omnizap-load"


class Lost(Exception):
    """A request that got no answer."""


class Service:
    """The program on a free port, with a folder of its own."""

    def __init__(self, binary, pipelines=None, settings=None, cores=None, files=None):
        self.folder = Path(tempfile.mkdtemp(prefix="omnizap-load-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"OMNIZAP_DATA": str(self.data)} | (settings or {})
        command = [str(Path(binary).resolve()), "serve", "--listen", "127.0.0.1:0"]
        if pipelines:
            command += ["--pipelines", str(pipelines)]

        def prepare():
            if cores:
                os.sched_setaffinity(0, cores)
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with open(self.log, "wb") as log:
            # In a folder without `.env` and `pipelines`.
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=prepare,
            )
        self.pid = self.process.pid
        # Whoever ends this script ends the program with it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            self.port = self._port()
        except BaseException:
            self.process.kill()
            raise

    def _port(self):
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            found = re.search(r"listening on http://[^ ]*:(\d+)", self.logged())
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"the program did not start:\n{self.logged()}")

    def logged(self):
        return self.log.read_text(errors="replace")

    async def ready(self, client):
        """Waits until it is ready, and until the vectors of its own labels are made."""
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            answer = await client.ask(get("/health/ready"))
            if answer.status == 200 and "embedded texts ahead of time" in self.logged():
                return
            await asyncio.sleep(0.1)
        raise SystemExit(f"the program did not become ready:\n{self.logged()[-4000:]}")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The exit code; None where it did not end."""
        try:
            return self.process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def used(self):
        """Bytes of memory now and at most, descriptors, threads; seconds of cores so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        field = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1])
        # The name in brackets may hold blanks.
        ticks = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return {
            "rss": field("VmRSS") << 10,
            "peak": field("VmHWM") << 10,
            "anonymous": field("RssAnon") << 10,
            "descriptors": len(os.listdir(f"/proc/{self.pid}/fd")),
            "threads": field("Threads"),
            "core_seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        }

    def stored(self):
        """Bytes of its data folder."""
        return sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())


class Answer:
    __slots__ = ("status", "headers", "body")

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def code(self):
        """The code of an error, the empty text where it has none."""
        try:
            return str(self.json().get("code", ""))
        except (ValueError, AttributeError):
            return ""


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time."""

    def __init__(self):
        self.buffer = bytearray()
        self.transport = None
        self.waiting = None
        self.head = None
        self.begun = False
        self.open = False

    def connection_made(self, transport):
        self.transport, self.open = transport, True

    def ask(self, request):
        self.waiting = asyncio.get_running_loop().create_future()
        self.begun = False
        self.transport.write(request)
        return self.waiting

    def data_received(self, data):
        self.begun = True
        self.buffer += data
        while self.waiting is not None and not self.waiting.done():
            if self.head is None:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                lines = self.buffer[:end].decode("latin-1").split("\r\n")
                del self.buffer[: end + 4]
                status = int(lines[0].split(" ", 2)[1])
                if status < 200:
                    continue
                pairs = (line.partition(":")[::2] for line in lines[1:])
                headers = {name.lower(): value.strip() for name, value in pairs}
                self.head = status, headers, int(headers.get("content-length", 0))
            status, headers, length = self.head
            if len(self.buffer) < length:
                return
            body = bytes(self.buffer[:length])
            del self.buffer[:length]
            self.head = None
            if headers.get("connection", "").lower() == "close":
                self.close()
            self.waiting.set_result(Answer(status, headers, body))

    def connection_lost(self, error):
        self.open = False
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(Lost(f"closed without an answer: {error}"))

    def close(self):
        self.open = False
        if self.transport:
            self.transport.close()

    def abort(self):
        self.open = False
        if self.transport:
            self.transport.abort()


class Client:
    """Keeps connections, and opens another where none is free. One that was closed while nobody
    asked is no failure: it is asked again over another, as every client of HTTP does."""

    def __init__(self, port, source=None):
        self.port, self.source = port, source
        self.free = []
        self.opened = self.again = 0

    async def connect(self):
        loop = asyncio.get_running_loop()
        local = (self.source, 0) if self.source else None
        try:
            _, connection = await asyncio.wait_for(
                loop.create_connection(Connection, "127.0.0.1", self.port, local_addr=local),
                ANSWER_PATIENCE,
            )
        except (OSError, asyncio.TimeoutError) as error:
            raise Lost(f"cannot connect: {error!r}") from error
        self.opened += 1
        return connection

    async def ask(self, request, patience=ANSWER_PATIENCE):
        while True:
            connection, is_new = None, False
            while self.free and connection is None:
                candidate = self.free.pop()
                connection = candidate if candidate.open else None
            if connection is None:
                connection, is_new = await self.connect(), True
            try:
                answer = await asyncio.wait_for(connection.ask(request), patience)
            except asyncio.TimeoutError as error:
                connection.abort()
                raise Lost(f"no answer within {patience} s") from error
            except Lost:
                if is_new or connection.begun:
                    raise
                self.again += 1
                continue
            if connection.open:
                self.free.append(connection)
            return answer

    def close(self):
        for connection in self.free:
            connection.close()
        self.free.clear()


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path, body, content_type="application/json"):
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def post_json(path, value):
    return post(path, json.dumps(value).encode())


def post_form(path, file, **fields):
    """A form with the file, and with fields of text."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (BOUNDARY, name.encode(), text.encode())
        for name, text in fields.items()
    ]
    parts.append(
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, file, BOUNDARY)
    )
    return post(path, b"".join(parts), f"multipart/form-data; boundary={BOUNDARY.decode()}")


def percentile(values, share):
    """The smallest value that so large a share does not exceed; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def milliseconds(seconds):
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def table(heads, rows):
    """Text, columns to the right but the first."""
    cells = [heads] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    for row in cells:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        print("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
