#!/usr/bin/env python3
"""What a request takes of the cores, of several programs in turns.

    python3 tests/load/compare.py target/release/before target/release/after

Each program is asked in turns, so that a machine that grows slower, or has others at work, is the
same for all; what counts is the time of the cores that a program took, and not the time on the clock.
Pictures were seen before, and are as long as --bytes says.

Prints milliseconds of cores for each turn, and of each program the median and the least. Python's
standard library, Linux.
"""

import argparse
import asyncio
import random
import statistics
import sys

sys.dont_write_bytecode = True

from pictures import Pictures  # noqa: E402
from service import Client, Service, post_form, table  # noqa: E402

CLIENTS = 8
KNOWN = 50
FIGURES = 20
WARM_UP = 1
REST = 0.3


async def turn(service, client, requests, chance, seconds):
    """Milliseconds of cores of a request."""
    loop = asyncio.get_running_loop()
    until, used = loop.time() + seconds, service.used()["core_seconds"]
    answered = 0

    async def ask_again():
        nonlocal answered
        while loop.time() < until:
            answer = await client.ask(chance.choice(requests))
            if answer.status != 200:
                raise SystemExit(f"{answer.status} {answer.code()}")
            answered += 1

    await asyncio.gather(*(ask_again() for _ in range(CLIENTS)))
    return (service.used()["core_seconds"] - used) * 1e3 / answered


async def main(arguments, services):
    chance = random.Random(arguments.seed)
    pictures = Pictures(arguments.seed, figures=FIGURES)
    requests = []
    for _ in range(KNOWN):
        picture = pictures.another()
        # What stands behind the end of a PNG is read and hashed, and no more.
        longer = picture + bytes(max(0, arguments.bytes - len(picture)))
        requests.append(post_form("/classify", longer))
    clients = [Client(service.port) for service in services]
    for service, client in zip(services, clients):
        await service.ready(client)
        for request in requests:
            await client.ask(request)
        await turn(service, client, requests, chance, WARM_UP)
    costs = [[] for _ in services]
    rows = []
    for number in range(arguments.rounds):
        order = list(range(len(services)))
        for at in order if number % 2 else reversed(order):
            await asyncio.sleep(REST)
            cost = await turn(services[at], clients[at], requests, chance, arguments.seconds)
            costs[at].append(cost)
            rows.append([f"{number + 1}", arguments.binaries[at], f"{cost:.3f}"])
    table(["round", "program", "ms of cores"], rows)
    print()
    of_all = [
        [binary, f"{statistics.median(found):.3f}", f"{min(found):.3f}"]
        for binary, found in zip(arguments.binaries, costs)
    ]
    table(["a request", "median", "least"], of_all)
    for client in clients:
        client.close()


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binaries", nargs="+")
    parser.add_argument("--rounds", type=int, default=6, help="[6]")
    parser.add_argument("--seconds", type=float, default=4, help="of each turn [4]")
    parser.add_argument("--bytes", type=int, default=85_000, help="of each picture [85000]")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = read_arguments()
    services = []
    try:
        for binary in arguments.binaries:
            services.append(Service(binary))
        asyncio.run(main(arguments, services))
    finally:
        for service in services:
            service.remove()
