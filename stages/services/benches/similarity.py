"""Sets the vector index beside faiss, hnswlib and usearch: same vectors, same questions, one run.

    pip install faiss-cpu==1.15.1 hnswlib==0.8.0 usearch==2.26.6 numpy==2.4.6
    python stages/services/benches/similarity.py [--rows 100000] [--program PATH]

The vectors: 1,000 clusters of uneven sizes (Pareto), their centres in 50 groups with a cosine of
about 0.33 within a group, each row its centre plus noise as long as the centre (times a factor of
its cluster's own, log-normal, 0.2) in a random direction of all 512, then length 1. So the best
cosines are near 0.56, the tenth near 0.53, and the rows of a cluster lie close together behind
them. The 1,000 questions are drawn alike and are not in the set.

One question at a time, best 10. Every index is asked in turn, in ROUNDS rounds over parts of the
questions, so that what else the machine does falls on all. Each of the others is asked with every
setting of a list, tuned on the very questions that are measured; ours has none to tune. Builds and
exact scans have THREADS threads, a question to an index has one; the inverted files of faiss are
asked with THREADS as well (its parallel_mode 1). Bytes a vector are what our process grew by,
names and hashes of images included; of the others the size of their files.

The calls from Python cost what `call` says (the same call on an index of one vector): the last
lines compare with and without it.
"""
import argparse
import os
import subprocess
import tempfile
import time

import faiss
import hnswlib
import numpy as np
from usearch.index import Index

DIM, CLUSTERS, GROUPS, QUESTIONS, K, ROUNDS, THREADS, RECALL = 512, 1000, 50, 1000, 10, 10, 2, 0.99

# What of ours is asked: every row; the newest 3,000 rows and the index, as the service does; the index.
SCAN, NEWEST, INDEX = "ours, exact", "ours, index and newest 3000", "ours, index"


def unit(matrix):
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def vectors(rows, seed=7):
    random = np.random.default_rng(seed)
    normal = lambda count: unit(random.standard_normal((count, DIM), dtype=np.float32))
    groups = normal(GROUPS)
    centres = unit(0.7 * groups[random.integers(0, GROUPS, CLUSTERS)] + normal(CLUSTERS))
    weights = random.pareto(2.0, CLUSTERS) + 0.2
    cluster = random.choice(CLUSTERS, rows + QUESTIONS, p=weights / weights.sum())
    noise = np.exp(random.normal(0, 0.2, CLUSTERS)).astype(np.float32)
    made = unit(centres[cluster] + noise[cluster][:, None] * normal(rows + QUESTIONS))
    return np.ascontiguousarray(made[:rows]), np.ascontiguousarray(made[rows:])


class Ours:
    def __init__(self, command, folder):
        self.process = subprocess.Popen([*command, folder, str(DIM)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        facts = [float(part) for part in self.process.stdout.readline().split()]
        self.inserted, self.built, self.bytes, self.read, self.loaded = facts

    def ask(self, scan, first, end):
        self.process.stdin.write(f"{scan} {first} {end}\n")
        self.process.stdin.flush()
        lines = [self.process.stdout.readline().split() for _ in range(first, end)]
        return [float(line[0]) / 1e3 for line in lines], [list(map(int, line[1:])) for line in lines]


def timed(search):
    def ask(questions):
        times, found = [], []
        for question in questions:
            start = time.perf_counter()
            answer = search(question)
            times.append((time.perf_counter() - start) * 1e3)
            found.append(list(answer))
        return times, found
    return ask


def measured(name, make, save, load, folder):
    """An index with its build time, bytes and load time. The bytes are those of its file, which
    holds what it has in memory: what the process takes depends on what was freed before."""
    start = time.perf_counter()
    index = make()
    built = time.perf_counter() - start
    path = os.path.join(folder, name)
    save(index, path)
    size = os.path.getsize(path)
    start = time.perf_counter()
    load(path)
    return index, built, size, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--program", help="the built bench; else cargo builds and runs it")
    parser.add_argument("--others", default="hnswlib,faiss-ivf,faiss-hnsw,usearch,exact", help="which of these")
    options = parser.parse_args()
    others = options.others.split(",")
    command = [options.program] if options.program else [
        "cargo", "bench", "-q", "--workspace", "--bench", "similarity", "--profile", "dev", "--"]
    faiss.omp_set_num_threads(THREADS)
    rows, questions = vectors(options.rows)
    exact = faiss.IndexFlatIP(DIM)
    exact.add(rows)
    truth = exact.search(questions, K)[1]
    count = len(rows)
    facts, kinds = {}, {}

    def add(name, index, built, size, loaded, settings):
        facts[name] = (built, size / count, loaded)
        for label, search in settings:
            kinds[f"{name} {label}".strip()] = (name, timed(search))

    with tempfile.TemporaryDirectory() as folder:
        rows.tofile(os.path.join(folder, "rows.f32"))
        questions.tofile(os.path.join(folder, "questions.f32"))
        ours = Ours(command, folder)
        print(f"ours: inserted in {ours.inserted:.2f} s, with partition {ours.built:.2f} s, "
              f"{ours.bytes:.0f} bytes a row, partition read in {ours.read * 1e3:.1f} ms, "
              f"all rows inserted after that in {ours.loaded:.2f} s", flush=True)

        def hnsw_setting(index, ef):
            def search(question):
                index.set_ef(ef)
                return index.knn_query(question, k=K)[0][0]
            return search

        def hnsw():
            index = hnswlib.Index("ip", DIM)
            index.init_index(count, M=16, ef_construction=200, random_seed=1)
            index.add_items(rows, num_threads=THREADS)
            index.set_num_threads(1)
            return index
        if "hnswlib" in others:
            index, *cost = measured("hnswlib", hnsw, lambda i, p: i.save_index(p),
                                    lambda p: hnswlib.Index("ip", DIM).load_index(p), folder)
            add("hnswlib", index, *cost, [(f"ef={ef}", hnsw_setting(index, ef)) for ef in (32, 48, 64, 80, 96, 128)])

        def ivf(lists):
            def make():
                index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, lists, faiss.METRIC_INNER_PRODUCT)
                index.train(rows[:40 * lists])
                index.add(rows)
                index.own_fields = False
                return index
            return make

        def nprobe(index, probes, threads):
            def search(question):
                index.nprobe, index.parallel_mode = probes, int(threads > 1)
                return index.search(question[None], K)[1][0]
            return search
        if "faiss-ivf" in others:
            for lists, probes in ((256, (2, 3, 4)), (512, (3, 4, 5, 6)), (1024, (6, 7, 8, 10, 12))):
                name = f"faiss IVF{lists}"
                index, *cost = measured(name.replace(" ", "-"), ivf(lists), lambda i, p: faiss.write_index(i, p),
                                        faiss.read_index, folder)
                add(name, index, *cost, [(f"nprobe={n} threads={t}", nprobe(index, n, t))
                                         for n in probes for t in (1, THREADS)])

        def graph():
            index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 100
            index.add(rows)
            return index

        def efsearch(index, ef):
            def search(question):
                index.hnsw.efSearch = ef
                return index.search(question[None], K)[1][0]
            return search
        if "faiss-hnsw" in others:
            index, *cost = measured("faiss HNSW32", graph, lambda i, p: faiss.write_index(i, p), faiss.read_index, folder)
            add("faiss HNSW32", index, *cost, [(f"ef={ef}", efsearch(index, ef)) for ef in (32, 48, 64, 96, 128, 256)])

        def usearch(kind):
            def make():
                index = Index(ndim=DIM, metric="ip", dtype=kind)
                index.add(np.arange(count), rows, threads=THREADS)
                return index
            return make

        def expansion(index, ef):
            def search(question):
                index.expansion_search = ef
                return index.search(question, K).keys
            return search
        if "usearch" in others:
            for kind in ("f32", "i8"):
                name = f"usearch {kind}"
                index, *cost = measured(name.replace(" ", "-"), usearch(kind), lambda i, p: i.save(p), Index.restore, folder)
                add(name, index, *cost, [(f"ef={ef}", expansion(index, ef)) for ef in (48, 64, 96, 128, 256)])

        def numpy_scan(question):
            cosines = rows @ question
            best = np.argpartition(-cosines, K)[:K]
            return best[np.argsort(-cosines[best])]
        if "exact" in others:
            add("exact numpy", None, 0.0, rows.nbytes, 0.0, [("", numpy_scan)])
            add("exact faiss", exact, 0.0, rows.nbytes, 0.0, [("", lambda q: exact.search(q[None], K)[1][0])])

        results = {name: ([], []) for name in [SCAN, NEWEST, INDEX, *kinds]}
        part = QUESTIONS // ROUNDS
        for turn in range(ROUNDS):
            first, end = turn * part, (turn + 1) * part
            for name, scan in ((SCAN, 0), (NEWEST, 3000), (INDEX, 1)):
                for kept, new in zip(results[name], ours.ask(scan, first, end)):
                    kept.extend(new)
            for name, (kind, ask) in kinds.items():
                both = kind.startswith("exact") or name.endswith(f"threads={THREADS}")
                faiss.omp_set_num_threads(THREADS if both else 1)
                for kept, new in zip(results[name], ask(questions[first:end])):
                    kept.extend(new)

        ours.process.stdin.close()

        one = hnswlib.Index("ip", DIM)
        one.init_index(1)
        one.add_items(rows[:1])
        one.set_num_threads(1)
        small = faiss.IndexFlatIP(DIM)
        small.add(rows[:1])
        tiny = Index(ndim=DIM, metric="ip")
        tiny.add(np.arange(1), rows[:1])
        calls = {}
        for name, search in (("hnswlib", lambda q: one.knn_query(q, k=1)), ("faiss", lambda q: small.search(q[None], 1)),
                             ("usearch", lambda q: tiny.search(q, 1))):
            calls[name] = np.median(timed(lambda q: (search(q), [])[1])(questions)[0])
            print(f"call {name}: {calls[name] * 1e3:.0f} us")
        print("\n| index | recall@10 | median ms | p99 ms | build s | bytes a vector | load s |\n|---|---|---|---|---|---|---|")
        mine = (ours.built, ours.bytes, ours.loaded)
        fast, scans = {}, {}
        for name, (times, found) in results.items():
            recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth)])
            built, size, loaded = mine if name.startswith("ours") else facts[kinds[name][0]]
            print(f"| {name} | {recall:.4f} | {np.median(times):.3f} | {np.percentile(times, 99):.3f} "
                  f"| {built:.1f} | {size:.0f} | {loaded:.2f} |")
            if "exact" in name and name in kinds:
                scans[name] = np.median(times)
            elif name in kinds and recall >= RECALL:
                fast[name] = np.median(times)
        approximate, exact_scan = (np.median(results[name][0]) for name in (INDEX, SCAN))
        print()
        if fast:
            best = min(fast, key=fast.get)
            bare = fast[best] - calls.get(best.split()[0], 0.0)
            print(f"index, recall@10 >= {RECALL}: ours {approximate:.3f} ms, best of the others {fast[best]:.3f} ms ({best}): "
                  f"ratio {approximate / fast[best]:.2f}, without its call {approximate / bare:.2f}")
        if scans:
            best = min(scans, key=scans.get)
            print(f"exact scan: ours {exact_scan:.2f} ms, best of the others {scans[best]:.2f} ms ({best}): "
                  f"ratio {exact_scan / scans[best]:.2f}")


main()
