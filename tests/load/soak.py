#!/usr/bin/env python3
"""Good and hostile traffic for half an hour, a reload each minute, and what the program uses then.

    python3 tests/load/soak.py target/release/omnizap --minutes 30 --csv soak.csv

Good clients send new stickers and photographs, pictures that were seen before, feedback, labels and
texts that are new each time, delete what is older than the newest few hundred, and ask for health
and settings. Hostile ones (`hostile.py`) hold connections open in silence, send half of what they
promise, lie about sizes, hang up. Every minute a pipeline file changes: for the better, to a broken
one, half-written, removed. Exits with 1 where something is not as it must be:

- every good client is answered, and as it asked,
- no 5xx at all, but 503 with a code that says that a bound is spent, and that to a hostile client,
- what is live is always the newest pipeline that was fine,
- no budget is ever exceeded, and all are free again when everybody has gone,
- memory, descriptors and threads are flat,
- SIGTERM in the middle of it ends the program with 0, and nothing of its database is left to be
  written.

Good and hostile clients have one address, as behind a proxy. Python's standard library, Linux.
"""

import argparse
import asyncio
import csv
import gc
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

sys.dont_write_bytecode = True

from hostile import WHO, Hostile  # noqa: E402
from pictures import PHOTO, Pictures  # noqa: E402
from service import (  # noqa: E402
    ROOT,
    Client,
    Lost,
    Service,
    get,
    milliseconds,
    percentile,
    post_form,
    post_json,
    table,
)

MIB = 1 << 20
SAMPLE_EVERY = 10
RELOAD_EVERY = 60
# Descriptors that the program may have, as many as a system gives by default.
FILES = 1024
# Stored pictures: beyond them the oldest is deleted, or the memory of vectors would grow by right.
KEPT = 300
SEEN = 40
# Growth that is no leak: the allocator's own arenas, and vectors of some thousand new texts (2.3 KB
# each, at most 16,384 of a form).
MEMORY_SLACK = 48 * MIB
DESCRIPTOR_SLACK = 32
THREAD_SLACK = 8
# A shorter run tells nothing of growth: caches and arenas fill.
JUDGE_AFTER = 8 * 60
# Within which a change of a file is live: files are looked at every 3 s, and settle first.
LIVE_WITHIN = 20
# Of good requests so many may be told to come again: a burst of others was before them.
REFUSED_SHARE = 0.01

EDITION = """# The newest edition that was fine answers.
[pipeline]
name = "edition-{0}"
route = "POST /edition"
[request]
file = {{ type = "bytes", required = true }}
[[stage]]
uses = "hash"
"""


class Good:
    """What becomes of good requests, by kind."""

    def __init__(self):
        self.took = {}
        self.refused = Counter()
        self.wrong = Counter()
        self.examples = {}
        self.latest = []

    def take(self, kind, took):
        self.took.setdefault(kind, []).append(took)
        self.latest.append(took)

    def fault(self, kind, what):
        self.wrong[kind, what] += 1
        self.examples.setdefault((kind, what), time.strftime("%H:%M:%S"))

    def answered(self):
        return sum(map(len, self.took.values()))


class Soak:
    def __init__(self, arguments):
        self.arguments = arguments
        self.chance = random.Random(arguments.seed)
        self.folder = Path(tempfile.mkdtemp(prefix="omnizap-soak-"))
        self.pipelines = self.folder / "pipelines"
        self.pipelines.mkdir()
        for name in (
            "classify.toml",
            "feedback.toml",
            "admin/forget.toml",
            "recipes/embed-text.toml",
        ):
            shutil.copy(ROOT / "pipelines" / name, self.pipelines / Path(name).name)
        self.edition = 0
        self.write_edition()
        settings = dict(one.split("=", 1) for one in arguments.set)
        self.service = Service(arguments.binary, self.pipelines, settings, files=FILES)
        self.good = Good()
        self.hostile = None
        self.client = Client(self.service.port)
        self.stickers = Pictures(arguments.seed, 60)
        self.photos = Pictures(arguments.seed + 1, 8, PHOTO, see_through=False)
        self.seen = [self.stickers.another() for _ in range(SEEN)]
        self.hashes = deque()
        self.samples = []
        self.reloads = Counter()
        self.faults = []
        self.is_over = False
        self.words = 0

    def write_edition(self):
        (self.pipelines / "edition.toml").write_text(EDITION.format(self.edition))

    def fault(self, text):
        self.faults.append(f"{time.strftime('%H:%M:%S')} {text}")
        print("FAULT", self.faults[-1], flush=True)

    # --- Good clients ---

    async def ask(self, kind, request, right=lambda answer: True):
        """The answer where it is one; anything else is noted."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            answer = await self.client.ask(request)
        except Lost as error:
            if not self.is_over:
                self.good.fault(kind, str(error)[:80])
            return None
        if answer.status == 200:
            self.good.take(kind, loop.time() - begun)
            if right(answer):
                return answer
            self.good.fault(kind, f"200 and a wrong answer: {answer.body[:100]!r}")
        elif self.is_over and answer.status == 503:
            pass
        elif answer.status == 429:
            self.good.refused[kind, answer.code()] += 1
        else:
            self.good.fault(kind, f"{answer.status} {answer.body[:120].decode(errors='replace')}")
        return None

    async def classify(self, kind, picture, **fields):
        answer = await self.ask(
            kind,
            post_form("/classify", picture, **fields),
            lambda answer: b'"category":"' in answer.body,
        )
        return answer and answer.json()

    async def sticker(self):
        answer = await self.classify(
            "new sticker", self.stickers.another(), theme=f"theme {self.chance.randrange(9)}"
        )
        if answer:
            self.hashes.append(answer["image_hash"])

    async def photo(self):
        answer = await self.classify("new photograph", self.photos.another())
        if answer:
            self.hashes.append(answer["image_hash"])

    async def repeat(self):
        await self.classify(
            "seen before",
            self.chance.choice(self.seen),
            asset_id=f"asset {self.chance.randrange(50)}",
        )

    def word(self):
        self.words += 1
        return f"thing {self.words} of {self.arguments.seed}"

    async def labels(self):
        labels = json.dumps([self.word() for _ in range(4)])
        await self.classify("new labels", self.chance.choice(self.seen), labels=labels)

    async def text(self):
        await self.ask(
            "new text",
            post_json("/embed-text", {"text": self.word()}),
            lambda answer: b'"vector":[' in answer.body,
        )

    async def feedback(self):
        if self.hashes:
            judged = {
                "image_hash": self.chance.choice(self.hashes),
                "theme": f"theme {self.chance.randrange(9)}",
                "accepted": self.chance.random() < 0.7,
            }
            await self.ask(
                "feedback",
                post_json("/feedback", judged),
                lambda answer: answer.json()["ok"] is True,
            )

    async def forget(self):
        while len(self.hashes) > KEPT:
            hash = self.hashes.popleft()
            await self.ask(
                "forget",
                get(f"/images/{hash}", "DELETE"),
                lambda answer: answer.json()["ok"] is True,
            )

    async def probe(self):
        for path in ("/health", "/health/live", "/health/ready", "/labels"):
            await self.ask(f"GET {path}", get(path))

    async def edition_asked(self):
        await self.ask("edition", post_form("/edition", b"some bytes"))

    async def again(self, what, every):
        """Asks on and on, with a pause by chance between; only one of a kind waits at a time."""
        while not self.is_over:
            await asyncio.sleep(self.chance.expovariate(self.arguments.pace / every))
            if not self.is_over:
                await what()

    def clients(self):
        seldom = [
            (self.sticker, 0.5),
            (self.sticker, 0.5),
            (self.photo, 2),
            (self.repeat, 0.1),
            (self.repeat, 0.1),
            (self.labels, 2),
            (self.text, 1),
            (self.feedback, 0.5),
            (self.forget, 2),
            (self.probe, 1),
            (self.edition_asked, 0.2),
        ]
        return [self.again(what, every) for what, every in seldom]

    # --- Reloads ---

    async def live(self):
        """Names of the pipelines that answer; empty where it does not say."""
        try:
            shown = (await self.client.ask(get("/pipelines"))).json()
        except Lost as error:
            self.fault(f"GET /pipelines: {error}")
            return set()
        return {one["pipeline"] for one in shown["pipelines"]}

    async def until_live(self, change):
        name = f"edition-{self.edition}"
        deadline = time.monotonic() + LIVE_WITHIN
        while time.monotonic() < deadline:
            if name in await self.live():
                self.reloads[change] += 1
                return
            await asyncio.sleep(0.5)
        self.fault(f"{change}: {name} is not live after {LIVE_WITHIN} s, {await self.live()} are")

    async def still_live(self, change):
        """A change that must change nothing."""
        deadline = time.monotonic() + LIVE_WITHIN / 2
        while time.monotonic() < deadline:
            if f"edition-{self.edition}" not in await self.live():
                self.fault(f"{change}: edition-{self.edition} is not live any more")
                return
            await asyncio.sleep(0.5)
        self.reloads[change] += 1

    async def edit(self, round):
        file, extra = self.pipelines / "edition.toml", self.pipelines / "extra.toml"
        kind = round % 5
        if kind == 0:
            self.edition += 1
            self.write_edition()
            await self.until_live("changed")
        elif kind == 1:
            # The pipeline that everybody uses, each time with another weight of feedback.
            text = (ROOT / "pipelines/classify.toml").read_text()
            alpha = f"alpha = {0.3 + 0.01 * (round % 20):.2f}"
            (self.pipelines / "classify.toml").write_text(
                text.replace('alpha = "${ADAPTIVE_ALPHA:-0.4}"', alpha)
            )
            self.edition += 1
            self.write_edition()
            await self.until_live("classify changed")
        elif kind == 2:
            file.write_text(EDITION.format("broken").replace("uses", "use"))
            await self.still_live("broken")
            self.edition += 1
            self.write_edition()
            await self.until_live("mended")
        elif kind == 3:
            # Byte after byte, as a slow editor would.
            self.edition += 1
            text = EDITION.format(self.edition)
            with open(file, "w") as half:
                for at in range(0, len(text), 60):
                    half.write(text[at : at + 60])
                    half.flush()
                    await asyncio.sleep(0.3)
            await self.until_live("half-written, then whole")
        else:
            extra.write_text(EDITION.format("extra").replace("/edition", "/extra"))
            self.edition += 1
            self.write_edition()
            await self.until_live("one more file")
            extra.unlink()
            self.edition += 1
            self.write_edition()
            await self.until_live("one file less")
            if "edition-extra" in await self.live():
                self.fault("a pipeline whose file is gone is live")

    async def reload(self):
        every = min(RELOAD_EVERY, self.arguments.minutes * 60 / 6)
        round = 0
        while not self.is_over:
            await asyncio.sleep(every)
            if not self.is_over:
                await self.edit(round)
                round += 1

    # --- What the program uses ---

    async def sample(self, begun):
        used = self.service.used()
        try:
            shown = (await self.client.ask(get("/pipelines"))).json()
            health = (await self.client.ask(get("/health"))).json()
        except Lost as error:
            self.fault(f"no sample: {error}")
            return None
        row = {
            "seconds": round(time.monotonic() - begun, 1),
            **used,
            "stored": self.service.stored(),
        }
        for name, budget in shown["budgets"].items():
            if "now" not in budget:
                # That of each pipeline, which is told beside its stages too.
                continue
            row[name] = budget["now"]
            row[f"{name}_told"] = sum(
                count for key, count in budget.items() if key not in ("now", "most")
            )
            if budget["now"] > budget["most"]:
                self.fault(f"{name}: {budget}")
        for pipeline in shown["pipelines"]:
            for stage in pipeline["stages"]:
                counters = stage["counters"]
                if pipeline["pipeline"] == "classify" and stage["uses"] == "decode":
                    row["decoded_bytes"] = counters["decoded_bytes"]
                    if counters["decoded_bytes"] > counters["max_decoded_bytes"]:
                        self.fault(f"decoded bytes: {counters}")
            if pipeline["pipeline"] == "classify":
                row["in_flight"] = pipeline["in_flight"]
        # Connections are as many as clients open; what is beside them is the program's own.
        row["own_descriptors"] = row["descriptors"] - row["connections"]
        row["images"] = health.get("images_indexed", 0)
        row["images_waiting"] = health.get("images_waiting", 0)
        latest, self.good.latest = self.good.latest, []
        row["good_answered"] = self.good.answered()
        row["good_p99_ms"] = round(1e3 * (percentile(latest, 99) or 0), 1)
        row["good_longest_ms"] = round(1e3 * max(latest, default=0), 1)
        row["hostile_done"] = sum(self.hostile.done.values())
        self.samples.append(row)
        if self.writer is None and self.arguments.csv:
            self.file = open(self.arguments.csv, "w", newline="")
            self.writer = csv.DictWriter(self.file, list(row), restval="", extrasaction="ignore")
            self.writer.writeheader()
        if self.writer:
            self.writer.writerow(row)
            self.file.flush()
        return row

    async def watch(self, begun):
        while not self.is_over:
            row = await self.sample(begun)
            if row and len(self.samples) % 6 == 1:
                print(
                    f"{row['seconds']:6.0f} s  memory {row['rss'] / MIB:.0f} MiB, "
                    f"{row['descriptors']} descriptors, "
                    f"{row['threads']} threads, {row['connections']} connections, "
                    f"{row['good_answered']} good answers, "
                    f"p99 {row['good_p99_ms']:.0f} ms, {row['hostile_done']} hostile",
                    flush=True,
                )
            await asyncio.sleep(SAMPLE_EVERY)

    async def free_again(self):
        """All budgets once everybody but us has gone."""
        deadline = time.monotonic() + 45
        while True:
            row = await self.sample(self.begun)
            held = {
                name: row[name]
                for name in (
                    "requests_in_flight",
                    "bodies",
                    "body_bytes",
                    "read_on",
                    "decoded_bytes",
                    "in_flight",
                )
                if row and row.get(name)
            }
            if row and not held and row["connections"] <= len(self.client.free) + 2:
                return
            if time.monotonic() > deadline:
                self.fault(
                    f"45 s after everybody had gone: {held}, "
                    f"{row and row['connections']} connections"
                )
                return
            await asyncio.sleep(1)

    async def run(self):
        self.writer = None
        await self.service.ready(self.client)
        for picture in self.seen:
            await self.classify("seen before", picture)
        self.hostile = Hostile(self.service.port, self.chance, self.arguments.hostile_pace)
        gc.collect()
        gc.freeze()
        self.begun = time.monotonic()
        working = [asyncio.create_task(one) for one in [*self.clients(), self.watch(self.begun)]]
        # While files change nobody ends it, so that every change is seen to its end.
        reloading = asyncio.create_task(self.reload())
        if not self.arguments.no_hostile:
            self.hostile.begin()
        await asyncio.sleep(self.arguments.minutes * 60)
        # A pause shows whether everything is given back; then the end.
        await self.hostile.end()
        self.is_over = True
        for done in await asyncio.gather(*working, reloading, return_exceptions=True):
            if isinstance(done, Exception):
                raise done
        await self.free_again()
        # All of them again, so that SIGTERM comes in the middle of something.
        if not self.arguments.no_hostile:
            self.hostile.begin()
        requests = [asyncio.create_task(self.sticker()) for _ in range(4)]
        await asyncio.sleep(2)
        self.service.terminate()
        begun = time.monotonic()
        self.ended = await asyncio.to_thread(self.service.wait)
        self.ended_after = time.monotonic() - begun
        await self.hostile.end()
        await asyncio.gather(*requests, return_exceptions=True)
        self.client.close()

    # --- What came of it ---

    def show(self):
        print("\ngood clients; times in ms")
        rows = [
            [
                kind,
                len(took),
                sum(count for (one, _), count in self.good.refused.items() if one == kind),
                sum(count for (one, _), count in self.good.wrong.items() if one == kind),
                milliseconds(percentile(took, 50)),
                milliseconds(percentile(took, 99)),
                milliseconds(max(took)),
            ]
            for kind, took in sorted(self.good.took.items())
        ]
        table(["kind", "answered", "429", "wrong", "p50", "p99", "longest"], rows)
        print("\nhostile clients")
        for one in WHO:
            kind = one.__name__
            print(f"{kind:16}{self.hostile.done[kind]:6}  {self.hostile.told_of(kind)}")
        print(
            f"\nmost memory at any moment: {max(one['peak'] for one in self.samples) / MIB:.0f} MiB"
        )
        print(
            "reloads:",
            ", ".join(f"{count} {change}" for change, count in self.reloads.items()) or "none",
        )
        for name, unit, scale in (("rss", "MiB", MIB), ("descriptors", "", 1)):
            curve(
                f"{name} {unit}".strip(),
                [(one["seconds"], one[name] / scale) for one in self.samples],
            )

    def judge(self):
        goals = []
        wrong = [
            f"{kind}: {count} times {what}, first at {self.good.examples[kind, what]}"
            for (kind, what), count in self.good.wrong.most_common()
        ]
        goals.append(
            (
                not wrong,
                f"{self.good.answered()} good requests answered, "
                f"{len(wrong)} kinds of wrong answers",
                wrong,
            )
        )
        refused = sum(self.good.refused.values())
        goals.append(
            (
                refused <= REFUSED_SHARE * self.good.answered(),
                f"{refused} good requests were told to come again, at most {REFUSED_SHARE:.0%}",
                [
                    f"{kind}: {count} times {code}"
                    for (kind, code), count in self.good.refused.items()
                ],
            )
        )
        unasked = [
            f"{kind}: {count} times {what}"
            for (kind, what), count in self.hostile.unexpected.most_common()
        ]
        goals.append(
            (
                not unasked,
                f"{sum(self.hostile.done.values())} hostile doings, {len(unasked)} kinds of "
                "answers that nobody asked for",
                unasked,
            )
        )
        goals.append(
            (
                not self.faults,
                f"{sum(self.reloads.values())} changes of files and "
                f"{len(self.samples)} samples, {len(self.faults)} faults",
                self.faults,
            )
        )
        goals += self.growth()
        left = (
            [file.name for file in self.service.data.rglob("*-wal")]
            if self.service.data.exists()
            else []
        )
        goals.append(
            (
                self.ended == 0 and not left,
                f"SIGTERM: exit code {self.ended} after {self.ended_after:.1f} s, "
                f"left to be written: {left or 'nothing'}",
                [],
            )
        )
        lines = self.service.logged().splitlines()
        # That a file is broken is said so, and asked for.
        errors = [
            line
            for line in lines
            if " ERROR " in line and "nothing reloaded" not in line or "panicked" in line
        ]
        goals.append(
            (not errors, f"{len(errors)} errors in {len(lines)} lines of the log", errors[:10])
        )
        print()
        for is_met, what, examples in goals:
            print({True: "met    ", False: "NOT MET", None: "-      "}[is_met], what)
            for example in examples:
                print("         ", example[:300])
        return all(is_met is not False for is_met, _, _ in goals)

    def growth(self):
        """Whether what it holds is flat: a line through the last two thirds, and the most of the
        last third against the most of the first."""
        rows = [one for one in self.samples if one["seconds"] <= self.arguments.minutes * 60]
        goals = []
        for name, slack, scale, unit in (
            ("rss", MEMORY_SLACK, MIB, " MiB"),
            ("own_descriptors", DESCRIPTOR_SLACK, 1, ""),
            ("threads", THREAD_SLACK, 1, ""),
        ):
            third = len(rows) // 3
            if third < 2:
                continue
            first, last = (max(one[name] for one in part) for part in (rows[:third], rows[-third:]))
            later = rows[third:]
            slope = slope_of([(one["seconds"], one[name]) for one in later])
            grown = slope * (later[-1]["seconds"] - later[0]["seconds"])
            is_flat = last <= first + slack and grown <= slack
            is_long = self.arguments.minutes * 60 >= JUDGE_AFTER
            goals.append(
                (
                    is_flat if is_long else None,
                    f"{name}: at most {first / scale:.0f} in the first third and "
                    f"{last / scale:.0f}{unit} in the last; over the last two thirds it grew by "
                    f"{grown / scale:.1f} "
                    f"({slope * 60 / scale:+.2f} a minute); each by at most {slack / scale:.0f}"
                    + ("" if is_long else " (too short to judge)"),
                    [],
                )
            )
        return goals

    def remove(self):
        self.service.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def slope_of(points):
    """Of the line through them by least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    over = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / over if over else 0.0


def curve(title, points, width=72, height=12):
    """The points as a picture of text; of those that share a column the highest is shown."""
    if len(points) < 2:
        return
    top = max(y for _, y in points) or 1
    columns = [None] * width
    end = points[-1][0] or 1
    for x, y in points:
        at = min(width - 1, int(x / end * width))
        columns[at] = max(y, columns[at] or 0)
    # Between two samples it is as the one before.
    for at in range(1, width):
        columns[at] = columns[at - 1] if columns[at] is None else columns[at]
    print(f"\n{title}")
    for line in range(height, 0, -1):
        low = top * (line - 1) / height
        dots = "".join("#" if y and y > low else " " for y in columns).rstrip()
        print(f"{top * line / height:8.0f} |{dots}")
    print(f"{'0':>8} +{'-' * width}\n{'':9}0 s{f'{end:.0f} s':>{width - 3}}")


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", help="the program")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--csv", metavar="FILE", help="where the samples go, one each 10 s")
    parser.add_argument(
        "--pace", type=float, default=1, help="of the good clients; 2 asks twice as often"
    )
    parser.add_argument("--hostile-pace", type=float, default=1)
    parser.add_argument(
        "--no-hostile", action="store_true", help="good clients alone, to compare with"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the program, whose log has to tell `info`",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-log", metavar="FILE", help="where the program's log goes")
    return parser.parse_args()


def run():
    arguments = read_arguments()
    # The sender holds both good and hostile connections.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    soak = Soak(arguments)
    try:
        asyncio.run(soak.run())
        soak.show()
        is_good = soak.judge()
    finally:
        if arguments.keep_log:
            shutil.copy(soak.service.log, arguments.keep_log)
        soak.remove()
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    run()
