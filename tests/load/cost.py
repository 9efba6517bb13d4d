#!/usr/bin/env python3
"""What it costs to be watched: requests a second of one program that is, and of the same that is not.

    python3 tests/load/cost.py target/release/omnizap

What is counted for /metrics and where the time of a request goes is always taken down, and no setting
turns it off: what can be turned off is that somebody looks. Two programs of one binary answer in turns.
In each turn of the watched one every request brings a `traceparent` and asks for its trace
(`?trace=1`), and /metrics is scraped each second; the other has the same requests without. Which of the
two is watched changes from round to round, and which goes first, so that neither the place in memory of
one nor a machine that grows slower counts for the result.

Prints the requests a second of each round, and the ratio of watched to unwatched with an interval of
95 % (bootstrap over rounds), of requests a second and of what each request took of the cores. Exits
with 1 where the cost is more than --most for sure, with 3 where the rounds do not decide it. Python's
standard library, Linux.
"""

import argparse
import asyncio
import gc
import math
import random
import statistics
import sys

sys.dont_write_bytecode = True

from pictures import Pictures  # noqa: E402
from service import Client, Service, get, post_form, table  # noqa: E402

CLIENTS = 4
# Pictures that were seen are recalled: of a request that costs little, watching is the largest share.
KNOWN = 50
WARM_UP = 2
SCRAPE_EVERY = 1
RESAMPLES = 10_000
TRACEPARENT = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"


class Asked:
    """Requests, watched and not; the same pictures for both."""

    def __init__(self, seed, is_new, is_told):
        self.is_told = is_told
        self.pictures = Pictures(seed)
        self.chance = random.Random(seed)
        self.known = None if is_new else [self.pictures.another() for _ in range(KNOWN)]

    def another(self, is_watched):
        known = self.known
        picture = self.chance.choice(known) if known else self.pictures.another()
        if not is_watched:
            return post_form("/classify", picture)
        path = "/classify?trace=1" if self.is_told else "/classify"
        line, rest = post_form(path, picture).split(b"\r\n", 1)
        return line + b"\r\n" + TRACEPARENT + rest


async def turn(service, client, asked, is_watched, seconds):
    """Answers a second, and milliseconds of cores of each; how often it was scraped."""
    loop = asyncio.get_running_loop()
    begun, used = loop.time(), service.used()["core_seconds"]
    until = begun + seconds
    answered = scraped = 0

    async def ask_again():
        nonlocal answered
        while loop.time() < until:
            answer = await client.ask(asked.another(is_watched))
            if answer.status != 200:
                raise SystemExit(f"{answer.status} {answer.code()}")
            if (is_watched and asked.is_told) != (b'"trace":{' in answer.body):
                raise SystemExit("a trace that was not asked for, or one that was and is not there")
            answered += 1

    async def scrape():
        nonlocal scraped
        while loop.time() < until:
            answer = await client.ask(get("/metrics"))
            if answer.status != 200:
                raise SystemExit(f"/metrics: {answer.status}")
            scraped += 1
            await asyncio.sleep(min(SCRAPE_EVERY, max(0, until - loop.time())))

    work = [ask_again() for _ in range(CLIENTS)]
    await asyncio.gather(*work, *([scrape()] if is_watched else []))
    took = loop.time() - begun
    busy = service.used()["core_seconds"] - used
    return answered / took, busy * 1e3 / answered, scraped


def interval(ratios, chance):
    """The mean ratio, and between what it is in 95 of 100 draws of as many rounds."""
    logs = [math.log(ratio) for ratio in ratios]
    means = sorted(
        statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(RESAMPLES)
    )
    at = lambda share: math.exp(means[min(RESAMPLES - 1, int(share * RESAMPLES))])
    return math.exp(statistics.fmean(logs)), at(0.025), at(0.975)


async def main(arguments, services):
    clients = [Client(service.port) for service in services]
    asked = Asked(arguments.seed, arguments.pictures == "new", arguments.traces == "told")
    chance = random.Random(arguments.seed)
    for service, client in zip(services, clients):
        await service.ready(client)
        for picture in asked.known or []:
            await client.ask(post_form("/classify", picture))
    gc.collect()
    gc.freeze()
    gc.disable()
    for service, client in zip(services, clients):
        for is_watched in (True, False):
            await turn(service, client, asked, is_watched, WARM_UP)
    rows, rates, costs, scrapes = [], [], [], 0
    for number in range(arguments.rounds):
        watched = number % 2
        # As often first as second, with each of the two.
        order = [True, False] if number // 2 % 2 else [False, True]
        found = {}
        for is_watched in order:
            at = watched if is_watched else 1 - watched
            found[is_watched] = await turn(
                services[at], clients[at], asked, is_watched, arguments.seconds
            )
            gc.collect()
        (on, on_cost, scraped), (off, off_cost, _) = found[True], found[False]
        scrapes += scraped
        rates.append(on / off)
        costs.append(on_cost / off_cost)
        rows.append([f"{number + 1}", f"{on:.1f}", f"{off:.1f}", f"{on / off:.4f}",
                     f"{on_cost:.3f}", f"{off_cost:.3f}"])
    table(["round", "watched/s", "not/s", "ratio", "watched ms of cores", "not"], rows)
    for client in clients:
        client.close()
    rate, cost = interval(rates, chance), interval(costs, chance)
    print(f"\n{CLIENTS} clients, pictures that are {arguments.pictures}, {scrapes} scrapes")
    for what, (mean, low, high) in (("requests a second", rate), ("cores of a request", cost)):
        print(f"{what}, watched to not: {mean:.4f}, 95 %: {low:.4f} to {high:.4f}")
    least = 1 - arguments.most / 100
    if rate[2] < least:
        print(f"watching costs more than {arguments.most:g} %")
        return 1
    if rate[1] < least:
        print(f"whether it costs more than {arguments.most:g} % is not decided: more --rounds")
        return 3
    print(f"watching costs at most {arguments.most:g} %")
    return 0


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=24, help="an even number is fair [24]")
    parser.add_argument("--seconds", type=float, default=5, help="of each turn [5]")
    parser.add_argument(
        "--pictures",
        choices=["seen", "new"],
        default="new",
        help="new ones are computed; those that were seen are recalled, the dearest case [new]",
    )
    parser.add_argument(
        "--traces",
        choices=["told", "passed-on"],
        default="told",
        help="whether each answer tells its trace (?trace=1), or only the log names the caller's, as "
        "it is in service [told]",
    )
    parser.add_argument("--most", type=float, default=3, help="goal, in percent [3]")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.rounds < 4:
        parser.error("--rounds: at least 4")
    return arguments


if __name__ == "__main__":
    arguments = read_arguments()
    services = []
    try:
        for _ in range(2):
            services.append(Service(arguments.binary))
        code = asyncio.run(main(arguments, services))
    finally:
        for service in services:
            service.remove()
    sys.exit(code)
