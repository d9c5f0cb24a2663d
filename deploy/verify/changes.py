#!/usr/bin/env python3
"""Changes an archive at random, one change at a time, and requires that postern-verify finds each.

    changes.py ARCHIVE KEYS CHECKPOINT [--count 10000] [--seed N]

The archive must hold, and CHECKPOINT be one of its own: what came after it is not changed, since docs/evidence.md does
not promise that it is proved. Prints `N changes, N found`. The status is 1 if a change was missed, and 2 if nothing was
tried.
"""
from __future__ import annotations

import argparse
import base64
import json
import pathlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from generate import verifier

verify = verifier()

Objects = dict[str, bytes]
# What a change is, in words, and the objects that it changes or, with `None`, removes.
Change = tuple[str, dict[str, bytes | None]]


def payload(checkpoint: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(checkpoint)["payload"]))


def proved(objects: Objects, checkpoint: bytes) -> list[str]:
    """The objects whose bytes the checkpoint proves.

    Nothing names a manifest of version 1 but a checkpoint, or a manifest of version 2 after it. Nothing of version 1
    has the hash of what lies in quarantine.
    """
    last = payload(checkpoint)
    names = [f"checkpoint/{number:020}.json" for number in range(last["number"] + 1)]
    marked = {(mark["partition"], mark["manifests"]) for name in names for mark in payload(objects[name])["partitions"]}
    for mark in last["partitions"]:
        folder = f"manifest/{mark['partition']:06}/"
        manifests = sorted(name for name in objects if name.startswith(folder))[: mark["manifests"]]
        documents = [json.loads(objects[name]) for name in manifests]
        for count, (name, document) in enumerate(zip(manifests, documents), 1):
            named_by_next = count < len(documents) and documents[count]["version"] == 2
            if document["version"] == 2 or named_by_next or (mark["partition"], count) in marked:
                names.append(name)
            stated = [one["name"] for one in [document["object"], *document.get("aside", [])] if one]
            # what retention deleted is there no more
            names += [name for name in stated if name in objects]
    entries = last.get("custody", {}).get("entries", 0)
    return names + [f"custody/{number:020}.json" for number in range(entries)]


def one_byte(source: random.Random, objects: Objects, names: list[str]) -> Change:
    name = source.choice(names)
    data, at = bytearray(objects[name]), source.randrange(len(objects[name]))
    data[at] ^= source.randrange(1, 256)
    return f"byte {at} of {name} is {data[at]}", {name: bytes(data)}


def cut(source: random.Random, objects: Objects, names: list[str]) -> Change:
    name = source.choice(names)
    end = source.randrange(len(objects[name]))
    return f"{name} ends at byte {end}", {name: objects[name][:end]}


def removal(source: random.Random, objects: Objects, names: list[str]) -> Change:
    name = source.choice(names)
    return f"{name} is removed", {name: None}


def exchange(source: random.Random, objects: Objects, names: list[str]) -> Change:
    one, other = source.sample(names, 2)
    return f"{one} and {other} have each other's bytes", {one: objects[other], other: objects[one]}


def ranges(source: random.Random, objects: Objects, names: list[str]) -> Change:
    name = source.choice(names)
    a, b, c, d = sorted(source.randrange(len(objects[name]) + 1) for _ in range(4))
    data = objects[name]
    moved = data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]
    return f"bytes {a} to {b} and {c} to {d} of {name} change places", {name: moved}


def insertion(source: random.Random, objects: Objects, names: list[str]) -> Change:
    name = source.choice(names)
    data, at, size = objects[name], source.randrange(len(objects[name]) + 1), source.randrange(1, 17)
    more = source.choice([source.randbytes(size), data[at : at + size] or b" ", b" " * size])
    return f"{more!r} is put into {name} at {at}", {name: data[:at] + more + data[at:]}


def tail(source: random.Random, objects: Objects, names: list[str]) -> Change:
    """The last manifests of a partition, or the last checkpoints."""
    folder = source.choice(sorted({name.rsplit("/", 1)[0] for name in names if not name.startswith("data/")}))
    names = sorted(name for name in objects if name.startswith(f"{folder}/"))
    gone = names[-source.randrange(1, len(names) + 1) :]
    return f"{folder} ends before {gone[0]}", dict.fromkeys(gone)


KINDS: list[tuple[Callable[..., Change], int]] = [
    (one_byte, 60), (cut, 8), (removal, 2), (exchange, 8), (ranges, 10), (insertion, 10), (tail, 2),
]


def missed(
    objects: Objects, keys: Any, checkpoint: bytes, count: int, seed: int, show: Callable[[int], None]
) -> list[str]:
    """Makes so many changes, and tells those after which nothing was found that was not found without them."""
    source, memo, names = random.Random(seed), verify.Memo(), proved(objects, checkpoint)
    before = set(verify.verify_archive(verify.Memory(objects), keys, checkpoint, memo=memo).findings)
    kinds, weights = zip(*KINDS)
    missing: list[str] = []
    made = 0
    while made < count:
        what, change = source.choices(kinds, weights)[0](source, objects, names)
        if all(objects[name] == data for name, data in change.items()):
            continue
        made += 1
        show(made)
        changed = verify.Memory({name: data for name, data in (objects | change).items() if data is not None})
        try:
            report = verify.verify_archive(changed, keys, checkpoint, memo=memo)
        except Exception as problem:
            missing.append(f"{what}: {type(problem).__name__}: {problem}")
            continue
        if report.holds or before.issuperset(report.findings):
            missing.append(what)
    return missing


def read(root: pathlib.Path) -> Objects:
    store = verify.Directory(str(root))
    return {name: store.read(name, verify.MAX_OBJECT) for name in store.names()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Requires that postern-verify finds every change of an archive.")
    parser.add_argument("archive", type=pathlib.Path)
    parser.add_argument("keys", type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=10_000, help="how many changes (default: 10000)")
    parser.add_argument("--seed", type=int, help="makes the same changes again (default: another each time)")
    options = parser.parse_args()
    seed = time.time_ns() if options.seed is None else options.seed
    try:
        objects, keys = read(options.archive), verify.Keys(options.keys.read_text())
        checkpoint = options.checkpoint.read_bytes()
        report = verify.verify_archive(verify.Memory(objects), keys, checkpoint)
    except (verify.CannotCheck, OSError) as problem:
        print(f"changes: {problem}", file=sys.stderr)
        return 2
    if not report.holds:
        print(f"changes: it does not hold before any change\n{verify.as_text(report)}", file=sys.stderr)
        return 2

    def show(made: int) -> None:
        if sys.stderr.isatty() and made % 100 == 0:
            print(f"\r{made}", end="\r", file=sys.stderr, flush=True)

    missing = missed(objects, keys, checkpoint, options.count, seed, show)
    print(f"{options.count} changes, {options.count - len(missing)} found")
    for what in missing:
        print(f"missed (--seed {seed}): {what}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
