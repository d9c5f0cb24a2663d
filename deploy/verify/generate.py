#!/usr/bin/env python3
"""Makes small archives and evidence bundles as docs/evidence.md has them, in memory, for the tests of postern-verify.

    generate.py DIR [--commits N]      writes DIR/archive, DIR/keys.txt, DIR/checkpoint.json and DIR/bundle.zip

It encodes on its own and takes nothing from postern-verify but the fingerprint of a schema. What it makes is encoded
only when it is asked for: a test changes a batch or a document first, and hashes and signatures of all that comes after
follow, as they would of a recorder that lies.
"""
from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import importlib.machinery
import importlib.util
import json
import pathlib
import random
import sys
import zipfile
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def verifier() -> Any:
    """postern-verify as a module."""
    if "postern_verify" not in sys.modules:
        path = str(pathlib.Path(__file__).with_name("postern-verify"))
        loader = importlib.machinery.SourceFileLoader("postern_verify", path)
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        sys.modules[loader.name] = module
        without, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        loader.exec_module(module)
        sys.dont_write_bytecode = without
    return sys.modules["postern_verify"]


START = 1_700_000_000_000_000

# of every kind of type that Avro has
SCHEMA = json.dumps({
    "type": "record", "name": "Event", "namespace": "dev.postern.v1", "doc": "One thing.", "fields": [
        {"name": "session", "type": {"type": "fixed", "name": "SessionId", "size": 16}},
        {"name": "sequence", "type": "long", "doc": "Dense."},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "body", "type": [
            {"type": "record", "name": "SessionOpened", "fields": [
                {"name": "node", "type": "string"}, {"name": "labels", "type": {"type": "map", "values": "string"}},
                {"name": "expires", "type": ["null", "long"], "default": None}]},
            {"type": "record", "name": "SessionRefused", "fields": [{"name": "reason", "type": "string"}]},
            {"type": "record", "name": "Statement", "namespace": "dev.postern.v2", "fields": [
                {"name": "text", "type": "string"}, {"name": "payload", "type": "bytes"},
                {"name": "inner", "type": ["null", "Statement"]},
                {"name": "flags", "type": {"type": "array", "items": "boolean"}},
                {"name": "cost", "type": "double"}, {"name": "share", "type": "float"},
                {"name": "rows", "type": "int"}]},
            {"type": "record", "name": "SessionClosed", "fields": [
                {"name": "reason", "type": {
                    "type": "enum", "name": "Reason", "symbols": ["client_gone", "shutdown"]}}]},
            {"type": "record", "name": "Frames", "fields": [
                {"name": "payload", "type": {"type": "record", "name": "Payload", "fields": [
                    {"name": "codec", "type": {
                        "type": "enum", "name": "PayloadCodec", "symbols": ["plain", "sealed_zstd", "digest"]}},
                    {"name": "key", "type": ["null", "string"]}, {"name": "bytes", "type": "bytes"}]}}]},
        ]},
    ],
})
KINDS = ["SessionOpened", "SessionRefused", "Statement", "SessionClosed", "Frames"]


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def long(value: int) -> bytes:
    rest, out = value * 2 if value >= 0 else -value * 2 - 1, []
    while rest >= 128:
        rest, low = divmod(rest, 128)
        out.append(low + 128)
    return bytes([*out, rest])


def blob(value: bytes) -> bytes:
    return long(len(value)) + value


def words(value: str) -> bytes:
    return blob(value.encode())


@dataclasses.dataclass
class Event:
    session: bytes
    sequence: int
    kind: str
    time: int = START
    text: str = "select 1"

    def datum(self) -> bytes:
        head = self.session + long(self.sequence) + long(self.time) + long(KINDS.index(self.kind))
        inner = words("inner") + blob(b"") + long(0) + long(0) + bytes(12) + long(0)
        labels = long(1) + words("application") + words("psql") + long(0)
        return head + {
            "SessionOpened": words("gate-1") + labels + long(1) + long(9),
            "SessionRefused": words("the token has expired"),
            "Statement": words(self.text) + blob(b"\0\1") + long(1) + inner + long(-2) + long(2) + b"\0\1" + long(0)
            + bytes(12) + long(-3),
            "SessionClosed": long(1),
            "Frames": long(1) + long(1) + words("key-1") + blob(b"sealed"),
        }[self.kind]


def session_id(number: int) -> bytes:
    return bytes([1]) + number.to_bytes(15, "big")


def session_text(session: bytes) -> str:
    return "ses_" + session.hex()


def session(number: int, statements: int, source: random.Random | None = None) -> list[Event]:
    """All events of one session."""
    kinds = ["SessionOpened", *["Statement"] * statements, "SessionClosed"]
    said = (lambda: f"select {source.getrandbits(16_000):x}") if source else lambda: "select 1"
    return [Event(session_id(number), at, kind, START + at, said()) for at, kind in enumerate(kinds)]


def sealed_session(number: int) -> list[Event]:
    """All events of a session with a payload that is sealed."""
    kinds = ["SessionOpened", "Statement", "Frames", "SessionClosed"]
    return [Event(session_id(number), at, kind, START + at) for at, kind in enumerate(kinds)]


def identity(subject: str) -> dict[str, Any]:
    return {
        "kind": "machine", "subject": subject, "issuer": "https://issuer.example", "name": subject.title(),
        "groups": ["agents"], "on_behalf_of": ["ada@example.com"], "task": None,
    }


def notes_of(events: list[Event]) -> list[dict[str, Any]]:
    """What a manifest notes of the sessions in it, as far as it is read. The subject of a session is its number."""
    notes: dict[bytes, dict[str, Any]] = {}
    for event in events:
        blank = {"session": session_text(event.session), "events": 0, "first_time": event.time, "last_time": event.time}
        note = notes.setdefault(event.session, blank)
        note["events"] += 1
        note["first_time"], note["last_time"] = min(note["first_time"], event.time), max(note["last_time"], event.time)
        who = identity(f"bot-{int.from_bytes(event.session[1:])}")
        if event.kind == "SessionOpened":
            note["opened"] = {"time": event.time, "event": {"identity": who, "resource": "shop"}}
        elif event.kind == "SessionClosed":
            note["closed"] = {"time": event.time, "event": {"reason": "shutdown"}}
        elif event.kind == "SessionRefused":
            note["refused"] = {"time": event.time, "event": {"identity": None, "resource": "shop"}}
    return [notes[session] for session in sorted(notes)]


class Key:
    """An Ed25519 key; the same number is the same key."""

    def __init__(self, number: int) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self.public = self.private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


def merkle(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return sha256(b"\1", merkle(leaves[:middle]), merkle(leaves[middle:]))


def path_of(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    if index < middle:
        return [*path_of(leaves[:middle], index), merkle(leaves[middle:])]
    return [*path_of(leaves[middle:], index - middle), merkle(leaves[:middle])]


def header_hash(header: dict[str, Any]) -> bytes:
    return sha256(b"postern.batch.v1", header_datum(header))


def header_datum(header: dict[str, Any]) -> bytes:
    out = words(header["node"]) + b"".join(long(header[name]) for name in ("epoch", "shard", "sequence"))
    out += bytes.fromhex(header["previous"] + header["root"])
    out += b"".join(long(header[name]) for name in ("first_time", "last_time", "schema", "count"))
    out += long(len(header["sessions"])) if header["sessions"] else b""
    for one in header["sessions"]:
        out += bytes.fromhex(one["session"][4:]) + long(one["first"]) + long(one["count"])
    return out + long(0)


@dataclasses.dataclass
class Batch:
    """A sealed batch; `hash` and `signature` are those of its header."""

    header: dict[str, Any]
    salt: bytes
    block: bytes
    events: list[Event]
    key: Key | None

    def hash(self) -> bytes:
        return header_hash(self.header)

    def signature(self) -> dict[str, str] | None:
        if self.key is None:
            return None
        return {"key": self.key.public, "signature": self.key.sign(b"postern.sign.batch.v1" + self.hash()).hex()}

    def salts(self) -> list[bytes]:
        numbers = (index.to_bytes(4, "big") for index in range(len(self.events)))
        return [sha256(b"postern.salt.v1", self.salt, number)[:16] for number in numbers]

    def leaves(self) -> list[bytes]:
        return [sha256(b"\0", salt, event.datum()) for salt, event in zip(self.salts(), self.events)]

    def shipped(self, with_signature: bool = True) -> bytes:
        out = b"\xc3\x01" + bytes(8) + header_datum(self.header) + self.salt + blob(self.block)
        if not with_signature:
            return out
        made = self.signature()
        return out + (long(1) + bytes.fromhex(made["key"] + made["signature"]) if made else long(0))


class Node:
    """Seals batches of one shard."""

    def __init__(self, name: str, key: Key | None, shard: int = 0) -> None:
        self.name, self.key, self.shard = name, key, shard
        self.epoch, self.sequence, self.previous = 1, 0, bytes(32)

    def seal(self, events: list[Event], **claims: Any) -> Batch:
        """Seals the next batch; `claims` stand in the header instead of what is true."""
        ranges: dict[bytes, dict[str, Any]] = {}
        for event in events:
            one = {"session": session_text(event.session), "first": event.sequence, "count": 0}
            ranges.setdefault(event.session, one)["count"] += 1
        salt = sha256(self.name.encode(), bytes([self.shard]), long(self.sequence))
        block = zstandard.ZstdCompressor(level=1).compress(b"".join(event.datum() for event in events))
        batch = Batch({}, salt, block, events, self.key)
        times = [event.time for event in events]
        batch.header = {
            "node": self.name, "epoch": self.epoch, "shard": self.shard, "sequence": self.sequence,
            "previous": self.previous.hex(), "root": merkle(batch.leaves()).hex(), "first_time": min(times),
            "last_time": max(times), "schema": verifier().schema_of(SCHEMA).fingerprint, "count": len(events),
            "sessions": list(ranges.values()),
        } | claims
        self.sequence, self.previous = batch.header["sequence"] + 1, batch.hash()
        return batch

    def cut(self, events: list[Event], size: int) -> list[Batch]:
        return [self.seal(events[at : at + size]) for at in range(0, len(events), size)]


@dataclasses.dataclass
class Commit:
    """A manifest's document, but for what follows from the commit before it, and its objects."""

    document: dict[str, Any]
    objects: dict[str, bytes]


def stated(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(data), "sha256": sha256(data).hex()}


class Partition:
    """Commits batches as they come."""

    def __init__(self, number: int) -> None:
        self.number, self.next, self.commits = number, 0, []
        self.chains: dict[tuple[str, int], dict[str, Any]] = {}
        self.open: dict[bytes, int] = {}

    def commit(
        self, batches: list[Batch], version: int = 2, duplicates: int = 0, unreadable: tuple[int, ...] = ()
    ) -> Commit:
        """Commits; the batches with these places in the list go to quarantine, as their blocks cannot be read."""
        first, objects, entries, faults = self.next, {}, [], []
        last = first + len(batches) + duplicates - 1
        readable = [batch for place, batch in enumerate(batches) if place not in unreadable]
        container = head_of("zstandard", readable[0].hash()[:16]) if readable else b""
        for place, batch in enumerate(batches):
            entry = {"offset": first + place, "header": batch.header, "hash": batch.hash().hex()}
            entry["salt"] = batch.salt.hex()
            if batch.key and version == 2:
                entry["signature"] = batch.signature()
            if place in unreadable:
                name = f"quarantine/{self.number:06}/{first + place:020}.bin"
                objects[name] = batch.shipped(version == 2)
                entry["place"] = {"quarantined": {"object": name}}
                said = {"offset": first + place, "kind": "unreadable", "detail": "the block cannot be read"}
                faults.append(said | {"batch": {k: batch.header[k] for k in ("node", "shard", "epoch", "sequence")}})
            else:
                container += long(len(batch.events)) + long(len(batch.block))
                entry["place"] = {"spliced": {"at": len(container), "bytes": len(batch.block)}}
                container += batch.block + readable[0].hash()[:16]
            entries.append(entry)
            self.follow(batch, place not in unreadable)
        aside = [stated(name, data) for name, data in objects.items()]
        document = {"version": version, "partition": self.number, "first": first, "last": last, "created": START}
        document |= {"previous": None, "object": None, "aside": aside} if version == 2 else {"object": None}
        if readable:
            name = f"data/{self.number:06}/{first:020}-{last:020}.avro"
            objects[name] = container
            document["object"] = stated(name, container)
        document |= {"batches": entries, "sessions": notes_of([e for batch in readable for e in batch.events])}
        document |= {"duplicates": duplicates, "faults": faults}
        document["state"] = self.state()
        self.next = last + 1
        self.commits.append(Commit(document, objects))
        return self.commits[-1]

    def follow(self, batch: Batch, readable: bool) -> None:
        header, chain = batch.header, (batch.header["node"], batch.header["shard"])
        if chain not in self.chains or header["sequence"] > self.chains[chain]["sequence"]:
            names = ("node", "shard", "epoch", "sequence")
            self.chains[chain] = {name: header[name] for name in names} | {"hash": batch.hash().hex()}
        for event in batch.events if readable else []:
            if event.kind == "SessionClosed":
                self.open.pop(event.session, None)
            elif event.session in self.open or (event.kind, event.sequence) == ("SessionOpened", 0):
                self.open[event.session] = event.sequence + 1

    def state(self) -> dict[str, Any]:
        chains = [dict(self.chains[chain]) for chain in sorted(self.chains)]
        opened = [{"session": session_text(one), "next": self.open[one]} for one in sorted(self.open)]
        return {"chains": chains, "open": opened}


def head_of(codec: str, sync: bytes, schema: str = SCHEMA) -> bytes:
    metadata = b"".join(map(words, ("avro.codec", codec, "avro.schema", schema)))
    return b"Obj\x01" + long(2) + metadata + long(0) + sync


class Archive:
    """Partitions, and the moments at which checkpoints were made. `marks` has of each how far the partitions were.

    `custody` has the entries of the custody log, each with who signs it; what is `erased` is in no object.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = [Partition(number) for number in range(partitions)]
        self.marks: list[dict[str, Any]] = []
        self.custody: list[tuple[Key, str, dict[str, Any]]] = []
        self.keys: set[bytes] = set()
        self.erased: set[str] = set()

    def enter(self, entry: dict[str, Any], key: Key | None = None, node: str = "gate-1") -> None:
        """Writes into the custody log, and erases what the entry names."""
        self.custody.append((key or RENEWED, node, entry))
        for one in entry.get("deleted", {}).get("objects", []):
            self.erased.add(one["name"])
        self.erased |= {key_name(bytes.fromhex(one[4:])) for one in entry.get("shredded", {}).get("sessions", [])}

    def checkpoint(self, key: Key, node: str = "gate-1") -> None:
        counts = [len(partition.commits) for partition in self.partitions]
        mark = {"key": key, "node": node, "time": START + len(self.marks), "counts": counts}
        self.marks.append(mark | {"custody": len(self.custody)})

    def objects(self) -> dict[str, bytes]:
        """Encodes it. Manifests and checkpoints get the hashes of the ones before them."""
        objects: dict[str, bytes] = {}
        manifests: list[list[tuple[dict[str, Any], bytes]]] = []
        for partition in self.partitions:
            encoded: list[tuple[dict[str, Any], bytes]] = []
            for commit in partition.commits:
                document = dict(commit.document)
                if document["version"] == 2:
                    document["previous"] = sha256(encoded[-1][1]).hex() if encoded else None
                encoded.append((document, compact(document)))
                objects[f"manifest/{document['partition']:06}/{document['first']:020}.json"] = encoded[-1][1]
                objects |= commit.objects
            manifests.append(encoded)
        entries: list[bytes] = []
        for number, (key, node, entry) in enumerate(self.custody):
            payload = {"version": 1, "number": number, "time": START + number, "node": node, "by": "ada"}
            payload |= {"previous": sha256(entries[-1]).hex() if entries else None, "entry": entry}
            entries.append(enveloped(payload, key, CUSTODY))
            objects[f"custody/{number:020}.json"] = entries[-1]
        objects |= {key_name(session): b"{}" for session in self.keys}
        objects = {name: data for name, data in objects.items() if name not in self.erased}
        previous = None
        for number, mark in enumerate(self.marks):
            covered = [encoded[count - 1] + (count,) for encoded, count in zip(manifests, mark["counts"]) if count]
            payload = payload_of(number, mark, previous, covered)
            if count := mark["custody"]:
                last = sha256(entries[count - 1]).hex()
                payload |= {"version": 2, "custody": {"entries": count, "last": last}}
            raw = enveloped(payload, mark["key"])
            objects[f"checkpoint/{number:020}.json"] = raw
            previous = sha256(raw).hex()
        return objects


def payload_of(number: int, mark: dict[str, Any], previous: str | None, covered: list[Any]) -> dict[str, Any]:
    partitions = [
        {"partition": document["partition"], "manifests": count, "first": document["first"],
         "next": document["last"] + 1, "manifest": sha256(raw).hex(), "chains": document["state"]["chains"]}
        for document, raw, count in covered
    ]
    head = {"version": 1, "number": number, "time": mark["time"], "node": mark["node"], "previous": previous}
    return head | {"partitions": partitions}


CHECKPOINT, CUSTODY = "application/vnd.postern.checkpoint+json", "application/vnd.postern.custody+json"


def key_name(session: bytes) -> str:
    return f"key/{session[-1]:02x}/{session_text(session)}.json"


def hold(case: str, **selection: Any) -> dict[str, Any]:
    """The entry of a hold that keeps what is said, or else everything."""
    lists = {name: [] for name in ("sessions", "subjects")} | {"identity_kind": None}
    lists |= {name: [] for name in ("groups", "issuers", "resources")} | {"from": None, "to": None}
    return {"hold_placed": {"case": case, "reason": "asked for by court", "selection": lists | selection}}


def deletion(objects: dict[str, bytes], *names: str) -> dict[str, Any]:
    listed = [stated(name, objects[name]) for name in names]
    return {"deleted": {"class": "bots", "reason": "its time is over", "objects": listed}}


def shredding(*sessions: bytes) -> dict[str, Any]:
    listed = [session_text(one) for one in sessions]
    return {"shredded": {"class": "bots", "reason": "its time is over", "sessions": listed}}


def enveloped(payload: dict[str, Any], key: Key, kind: str = CHECKPOINT) -> bytes:
    body = compact(payload)
    made = key.sign(f"DSSEv1 {len(kind)} {kind} {len(body)} ".encode() + body)
    signatures = [{"keyid": key.public, "sig": base64.b64encode(made).decode()}]
    return compact({"payloadType": kind, "payload": base64.b64encode(body).decode(), "signatures": signatures})


def last_checkpoint(objects: dict[str, bytes]) -> bytes:
    return objects[max(name for name in objects if name.startswith("checkpoint/"))]


FIRST, SECOND, NOTARY, RENEWED, STRANGER = Key(1), Key(2), Key(3), Key(4), Key(9)
KEYS = f"""# made by generate.py
batches      gate-3  {FIRST.public}
batches      gate-1  {FIRST.public}  until=1
batches      gate-1  {SECOND.public}
batches      gate-2  {FIRST.public}
unsigned     gate-2  until=1   # from before batches were signed
checkpoints  gate-1  {NOTARY.public}  until=0
checkpoints  gate-1  {RENEWED.public}
"""


def good(commits: int = 2, unreadable: bool = False, source: random.Random | None = None) -> Archive:
    """An archive that holds: two partitions, three nodes' shards, version 1 and 2, rotated keys, three checkpoints."""
    archive, one, other, old = Archive(2), Node("gate-1", FIRST), Node("gate-1", FIRST, 1), Node("gate-2", None)
    left, right = archive.partitions
    left.commit(one.cut([*session(1, 4), Event(session_id(2), 0, "SessionRefused")], 3), duplicates=1)
    right.commit(old.cut(session(3, 2), 3), version=1)
    archive.checkpoint(NOTARY)
    one.key = other.key = SECOND
    one.epoch = other.epoch = old.epoch = 2
    old.key = FIRST
    for number in range(commits):
        left.commit(one.cut(session(10 + number, 5, source), 4))
        new = other.cut(session(1_000 + number, 6, source), 4)
        right.commit([*new, *old.cut(session(2_000 + number, 1, source), 2)])
    archive.checkpoint(RENEWED)
    if unreadable:
        batches = [*one.cut(session(6, 1), 2), one.seal(session(5, 1)), one.seal(session(7, 1)[:1])]
        batches[2].block = batches[2].block[:-1]
        left.commit(batches, unreadable=(2,))
    left.commit(one.cut(session(8, 2)[:3], 2))
    archive.checkpoint(RENEWED)
    return archive


def disposed(covered: bool = True) -> Archive:
    """The same after retention: two data objects are gone, a key is erased, a hold stands."""
    archive, node = good(), Node("gate-3", FIRST)
    archive.partitions[1].commit(node.cut(sealed_session(30), 4))
    archive.partitions[1].commit(node.cut(sealed_session(31), 4))
    archive.keys = {session_id(30), session_id(31)}
    archive.checkpoint(RENEWED)
    objects = archive.objects()
    # of the refused connection in the first object nobody says who it was: by the subject alone it would be meant too
    archive.enter(hold("case 7", sessions=[session_text(session_id(31))], subjects=["bot-31"]))
    archive.enter(deletion(objects, data_of(archive, 0, 0), data_of(archive, 1, 1)))
    archive.enter(hold("case 8", sessions=[session_text(session_id(10))]))
    archive.enter({"hold_released": {"case": "case 8", "reason": "closed"}})
    archive.enter(shredding(session_id(30)))
    if covered:
        archive.checkpoint(RENEWED)
    return archive


def data_of(archive: Archive, partition: int, commit: int) -> str:
    return archive.partitions[partition].commits[commit].document["object"]["name"]


def bundle(archive: Archive, batches: list[list[Batch]], sessions: list[bytes]) -> dict[str, bytes]:
    """A bundle of sessions, whose batches are given by partition in their order, to the last checkpoint."""
    schema = verifier().schema_of(SCHEMA)
    name = f"events-{schema.fingerprint % 2**64:016x}.avro"
    file, listed, events = head_of("null", bytes(16)), [], []
    for number, chain in enumerate(batches):
        for offset, batch in enumerate(chain):
            made = batch.signature()
            entry = {"partition": number, "offset": offset, "header": batch.header, "hash": batch.hash().hex()}
            listed.append(entry | ({"signature": made} if made else {}))
            leaves, salts = batch.leaves(), batch.salts()
            for index, event in enumerate(batch.events):
                if event.session in sessions:
                    claim = {"file": name, "block": len(events), "batch": len(listed) - 1, "index": index}
                    path = [one.hex() for one in path_of(leaves, index)]
                    events.append(claim | {"salt": salts[index].hex(), "path": path})
                    file += long(1) + blob(event.datum()) + bytes(16)
    proof = compact({"version": 1, "batches": listed, "events": events})
    files = {"checkpoint.json": last_checkpoint(archive.objects()), "proof.json": proof, name: file}
    derived = {"events.jsonl": b"{}\n", "statements.csv": b"\n", "report.html": b"<p>\n"}
    derived |= {"statements.parquet": b"PAR1PAR1", "ocsf.jsonl": b"{}\n"}
    return indexed(files | derived, sessions)


def indexed(files: dict[str, bytes], sessions: list[bytes]) -> dict[str, bytes]:
    """The files with their bundle.json."""
    files = {name: data for name, data in files.items() if name != "bundle.json"}
    listed = [stated(name, data) for name, data in files.items()]
    index = {"version": 1, "created": START, "sessions": [session_text(one) for one in sessions], "files": listed}
    return {"bundle.json": compact(index), **files}


def good_bundle() -> tuple[Archive, list[list[Batch]], list[bytes], dict[str, bytes]]:
    """A bundle that holds, and what it was made of: of three sessions two, of which one has not ended."""
    archive, node, other = Archive(2), Node("gate-1", SECOND), Node("gate-2", FIRST)
    events = [event for three in zip(session(1, 6), session(2, 6), session(3, 6)) for event in three]
    batches = [node.cut(events, 5), other.cut(session(4, 3)[:4], 2)]
    for partition, chain in zip(archive.partitions, batches):
        partition.commit(chain)
    archive.checkpoint(RENEWED)
    sessions = [session_id(1), session_id(4)]
    return archive, batches, sessions, bundle(archive, batches, sessions)


def write(objects: dict[str, bytes], root: pathlib.Path) -> None:
    for name, data in objects.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes an archive and a bundle that hold, with keys and a checkpoint.")
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--commits", type=int, default=7, metavar="N", help="of each partition (default: 7)")
    options = parser.parse_args()
    objects = good(options.commits, source=random.Random(1)).objects()
    write(objects, options.directory / "archive")
    write({"keys.txt": KEYS.encode(), "checkpoint.json": last_checkpoint(objects)}, options.directory)
    with zipfile.ZipFile(options.directory / "bundle.zip", "w") as file:
        for name, data in good_bundle()[3].items():
            file.writestr(name, data)


if __name__ == "__main__":
    main()
