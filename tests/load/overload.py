#!/usr/bin/env python3
"""More requests than can be answered, in an open loop: they come when they are due, whether or not
those before them were answered.

    python3 tests/load/overload.py target/release/omnizap

Measures what the program can do (eight clients, each of which asks again when it was answered),
then sends 0.8, 1, 2 and 3 times as much, a minute each. Every request is a sticker of 512 x 512
that the program has not seen, or with --pictures seen one that it need not compute again. Times
count from when a request was due, so that one which the sender or a full connection held back
counts in full (no coordinated omission). Exits with 1 where a goal is not met:

- of what is accepted, the 99th percentile at the highest load is at most three times that at the
  lowest,
- 99 of 100 that are refused know it within 20 ms,
- at the highest load at least 90 % of the capacity is still answered.

The sender and the program share all cores, and the sender goes first where it may (as root): it
takes some hundredths of a core, which the table tells. With --cores split it has one core and the
program the others, so that neither can hold the other up, and the program has one less. Python's
standard library, Linux.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

sys.dont_write_bytecode = True

from pictures import Pictures  # noqa: E402
from service import (  # noqa: E402
    Client,
    Lost,
    Service,
    get,
    milliseconds,
    percentile,
    post_form,
    table,
)

CLIENTS = 8
WARM_UP = 3
# How often the highest load's 99th percentile may be that of the lowest.
SLOWER = 3
REFUSED_WITHIN = 0.020
GOODPUT = 0.9
# Between two loads: what waits is answered, what is behind is written, bursts are taken again.
REST = 3
# The sender goes before the program at the cores: what is sent late is no fault of the program.
FIRST = -15
KNOWN = 50


class Known:
    """Some pictures over and over."""

    def __init__(self, pictures, chance):
        self.pictures, self.chance = [pictures.another() for _ in range(KNOWN)], chance

    def another(self):
        return self.chance.choice(self.pictures)


@dataclass
class Seen:
    """What came of the requests of one load."""

    rate: float
    seconds: float
    due: int = 0
    accepted: list = field(default_factory=list)
    in_time: int = 0
    refused: list = field(default_factory=list)
    codes: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)
    late: list = field(default_factory=list)
    most_open: int = 0

    def goodput(self):
        return self.in_time / self.seconds

    def take(self, answer, took, in_time):
        if answer.status == 200:
            self.accepted.append(took)
            self.in_time += in_time
        elif answer.status in (429, 503):
            self.refused.append(took)
            self.codes[f"{answer.status} {answer.code()}"] += 1
        else:
            self.failed[f"{answer.status} {answer.code()}"] += 1


async def closed_loop(client, pictures, clients, seconds):
    """Answers a second."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    answered = 0

    async def ask_again():
        nonlocal answered
        while loop.time() < until:
            answer = await client.ask(post_form("/classify", pictures.another()))
            if answer.status != 200:
                raise SystemExit(f"{clients} clients at a time: {answer.status} {answer.code()}")
            answered += loop.time() < until

    await asyncio.gather(*(ask_again() for _ in range(clients)))
    return answered / seconds


async def open_loop(client, pictures, rate, seconds, chance):
    """With `chance` they come as people do, each without regard to the others; else evenly."""
    loop = asyncio.get_running_loop()
    seen = Seen(rate, seconds)
    begun = loop.time() + 0.05
    is_open = 0
    tasks = set()

    async def one(due):
        nonlocal is_open
        is_open += 1
        seen.most_open = max(seen.most_open, is_open)
        request = post_form("/classify", pictures.another())
        seen.late.append(loop.time() - due)
        try:
            answer = await client.ask(request)
            now = loop.time()
            seen.take(answer, now - due, now <= begun + seconds)
        except Lost as error:
            seen.failed[str(error)[:60]] += 1
        is_open -= 1

    due = begun
    while due < begun + seconds:
        wait = due - loop.time()
        # At least the others' turn.
        await asyncio.sleep(max(0, wait))
        if due <= loop.time():
            task = loop.create_task(one(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            seen.due += 1
            due += chance.expovariate(rate) if chance else 1 / rate
    while tasks:
        await asyncio.wait(tasks)
    return seen


async def rest(client):
    """Until nothing waits any more."""
    while True:
        await asyncio.sleep(REST)
        if (await client.ask(get("/health"))).json().get("images_waiting", 0) == 0:
            return


def show(results, capacity):
    heads = [
        "load",
        "offered/s",
        "accepted/s",
        "refused/s",
        "accepted p50",
        "p99",
        "longest",
        "refused p50",
        "p99",
        "sender late p99",
        "failed",
    ]
    rows = []
    for times, seen in results:
        share = lambda values: (
            milliseconds(percentile(values, 50)),
            milliseconds(percentile(values, 99)),
        )
        rows.append(
            [
                f"{times:g} x",
                f"{seen.due / seen.seconds:.0f}",
                f"{seen.goodput():.0f}",
                f"{len(seen.refused) / seen.seconds:.0f}",
                *share(seen.accepted),
                milliseconds(max(seen.accepted, default=None)),
                *share(seen.refused),
                milliseconds(percentile(seen.late, 99)),
                sum(seen.failed.values()),
            ]
        )
    print(f"\ncapacity {capacity:.0f}/s; times in ms, from when a request was due")
    table(heads, rows)
    for times, seen in results:
        for code, count in (seen.codes + seen.failed).most_common():
            print(f"  {times:g} x: {count} times {code}")


def judge(results, capacity):
    """The three goals, each with whether it is met."""
    (_, lowest), (times, highest) = results[0], results[-1]
    goals = []
    low, high = (percentile(seen.accepted, 99) or float("inf") for seen in (lowest, highest))
    goals.append(
        (
            high <= SLOWER * low,
            f"accepted p99 at {times:g} x is {high / low:.1f} times that at {results[0][0]:g} x,"
            f" at most {SLOWER}",
        )
    )
    refused = [took for _, seen in results for took in seen.refused]
    slowest = percentile(refused, 99)
    goals.append(
        (
            slowest is not None and slowest <= REFUSED_WITHIN,
            f"refused p99 is {milliseconds(slowest)} ms, at most {REFUSED_WITHIN * 1e3:.0f}",
        )
    )
    share = highest.goodput() / capacity
    goals.append(
        (
            share >= GOODPUT,
            f"goodput at {times:g} x is {share:.0%} of the capacity, at least {GOODPUT:.0%}",
        )
    )
    failed = sum(sum(seen.failed.values()) for _, seen in results)
    goals.append(
        (failed == 0, f"{failed} requests had no answer, or another one than 200, 429 and 503")
    )
    return goals


async def main(arguments, service):
    client = Client(service.port)
    await service.ready(client)
    pictures = Pictures(arguments.seed)
    if arguments.pictures == "seen":
        pictures = Known(pictures, random.Random(arguments.seed))
        for picture in pictures.pictures:
            await client.ask(post_form("/classify", picture))
        await rest(client)
    chance = random.Random(arguments.seed) if arguments.arrivals == "random" else None
    gc.collect()
    gc.freeze()
    gc.disable()
    await closed_loop(client, pictures, CLIENTS, WARM_UP)
    capacity = await closed_loop(client, pictures, CLIENTS, arguments.capacity_seconds)
    print(
        f"{CLIENTS} clients, each of which asks again when it was answered: {capacity:.1f}/s",
        flush=True,
    )
    results = []
    for times in arguments.loads:
        await rest(client)
        begun = service.used()["core_seconds"], os.times()
        seen = await open_loop(client, pictures, times * capacity, arguments.seconds, chance)
        busy = service.used()["core_seconds"] - begun[0]
        own = os.times().user + os.times().system - begun[1].user - begun[1].system
        print(
            f"{times:g} x: {seen.due} sent, {len(seen.accepted)} accepted, "
            f"{len(seen.refused)} refused, "
            f"at most {seen.most_open} open; the program had {busy / seen.seconds:.2f} cores, "
            f"the sender {own / seen.seconds:.2f}",
            flush=True,
        )
        results.append((times, seen))
    await rest(client)
    after = await closed_loop(client, pictures, CLIENTS, arguments.capacity_seconds)
    print(
        f"{CLIENTS} clients again, after all of that: {after:.1f}/s; memory "
        f"{service.used()['rss'] >> 20} MiB; connections opened {client.opened}, "
        f"asked again {client.again}"
    )
    client.close()
    return capacity, results


def loads(text):
    found = [float(one) for one in text.split(",")]
    if not found or min(found) <= 0:
        raise ValueError
    return sorted(found)


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", help="the program")
    parser.add_argument("--seconds", type=float, default=60, help="how long each load lasts (60)")
    parser.add_argument(
        "--capacity-seconds", type=float, default=20, help="how long capacity is measured (20)"
    )
    parser.add_argument(
        "--loads",
        type=loads,
        default=[0.8, 1, 2, 3],
        metavar="TIMES,..",
        help="multiples of the capacity (0.8,1,2,3)",
    )
    parser.add_argument(
        "--arrivals",
        choices=["even", "random"],
        default="even",
        help="evenly, as `oha -q` does, or each at random",
    )
    parser.add_argument(
        "--pictures",
        choices=["new", "seen"],
        default="new",
        help="none twice, or a few over and over, which are not computed again",
    )
    parser.add_argument("--cores", choices=["shared", "split"], default="shared")
    parser.add_argument("--pipelines", help="a folder; those inside the program otherwise")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the program, whose log has to tell `info`",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="where the numbers go as well")
    return parser.parse_args()


def run():
    arguments = read_arguments()
    cores = sorted(os.sched_getaffinity(0))
    others = None
    if arguments.cores == "split" and len(cores) > 1:
        others = set(cores[1:])
        os.sched_setaffinity(0, {cores[0]})
        print(f"of {len(cores)} cores the sender has one and the program {len(others)}")
    else:
        print(f"the sender and the program share {len(cores)} cores")
    settings = dict(one.split("=", 1) for one in arguments.set)
    service = Service(arguments.binary, arguments.pipelines, settings, others)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    except PermissionError:
        pass
    try:
        capacity, results = asyncio.run(main(arguments, service))
        service.terminate()
        ended = service.wait()
        errors = [
            line
            for line in service.logged().splitlines()
            if " ERROR " in line or "panicked" in line
        ]
    finally:
        service.remove()
    show(results, capacity)
    goals = judge(results, capacity)
    goals.append((ended == 0, f"exit code {ended} after SIGTERM"))
    goals.append(
        (
            not errors,
            "\n          ".join([f"{len(errors)} errors in the log", *errors[:5]]),
        )
    )
    print()
    for is_met, what in goals:
        print("met    " if is_met else "NOT MET", what)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(
                {
                    "capacity": capacity,
                    "loads": [
                        {
                            "times": times,
                            "rate": seen.rate,
                            "seconds": seen.seconds,
                            "due": seen.due,
                            "goodput": seen.goodput(),
                            "refused": seen.codes,
                            "failed": seen.failed,
                            "accepted_ms": {
                                share: 1e3 * (percentile(seen.accepted, share) or 0)
                                for share in (50, 90, 99, 100)
                            },
                            "refused_ms": {
                                share: 1e3 * (percentile(seen.refused, share) or 0)
                                for share in (50, 90, 99, 100)
                            },
                            "late_ms": 1e3 * (percentile(seen.late, 99) or 0),
                        }
                        for times, seen in results
                    ],
                    "goals": [{"met": is_met, "what": what} for is_met, what in goals],
                },
                file,
                indent=2,
            )
    sys.exit(0 if all(is_met for is_met, _ in goals) else 1)


if __name__ == "__main__":
    run()
