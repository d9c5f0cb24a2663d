"""Tests of postern-verify: data objects, quarantine, and what hostile ones hold. test_verify.py runs them too."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zstandard

import generate
from generate import RENEWED, SECOND, Archive, Node, compact, session
from test_verify import Case, findings, one_partition


class Objects(Case):
    """Data objects and quarantine, where manifests and checkpoints follow from what was changed."""

    def rebuilt(self, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
        archive = one_partition([Node("gate-1", SECOND).seal(session(1, 2))])
        commit = archive.partitions[0].commits[0]
        [(name, data)] = commit.objects.items()
        commit.objects[name] = change(data)
        commit.document["object"] = generate.stated(name, change(data))
        return archive.objects()

    def test_a_data_object_is_what_its_batches_make(self) -> None:
        for change, detail in (
            (lambda data: data + b"\0", "does not end with its last batch"),
            (lambda data: data[:-1], "at its place"),
            (lambda data: data[:-1] + b"?", "at its place"),
            (lambda data: data.replace(b"zstandard", b"deflatexx"), "does not begin as its batches make it"),
            (lambda data: data.replace(b"One thing", b"Two thing"), None),
            (lambda data: data.replace(b"client_gone", b"client_back"), "its schema is not the one"),
            (lambda data: data.replace(b'"double"', b'"treble"'), "does not define"),
            (lambda data: b"", "does not begin"),
            (lambda data: b"Obj\x01" + b"\xff" * 100, "does not begin"),
        ):
            told = findings(self.rebuilt(change))
            if detail is None:  # what is said of a schema is not part of it
                self.assertEqual(told, [])
            else:
                self.found(told, "archive", detail, partition=0)

    def test_hostile_blocks(self) -> None:
        plain = b"".join(event.datum() for event in session(1, 1))
        frame = zstandard.ZstdCompressor().compress
        streamed = zstandard.ZstdCompressor().compressobj()
        statement = generate.words("x") + generate.blob(b"") + generate.long(1)
        nested = generate.session_id(1) + generate.long(0) * 2 + generate.long(2) + statement * 5_000
        for block in (
            b"", b"x", frame(plain) + b"x", frame(plain) + frame(b""), b"\x50\x2a\x4d\x18\0\0\0\0" + frame(plain),
            frame(bytes(64 << 20)), streamed.compress(bytes(64 << 20)) + streamed.flush(), frame(plain)[:-1],
            frame(plain + b"x"), frame(plain[:-1]), frame(nested), frame(b"\xff" * 1_000),
            frame(plain.replace(generate.words("psql"), generate.words("\0\0\0\0").replace(b"\0", b"\xff"))),
            frame(plain[:17] + b"\xff" * 12 + plain[17:]),
        ):
            batch = Node("gate-1", SECOND).seal(session(1, 1))
            batch.block = block
            self.found(findings(one_partition([batch]).objects()), "unreadable", partition=0, offset=0)

    def test_hostile_schemas(self) -> None:
        row = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "long"}]}
        for schema in (
            "{", "7", '"null"', "[" * 50_000, compact(row).decode(), compact({"type": {"type": {}}}).decode(),
            compact(row | {"fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}).decode(),
            compact(row | {"fields": [{"name": "a", "type": "A"}]}).decode(), compact(row | {"fields": 3}).decode(),
        ):
            old = generate.words(generate.SCHEMA)
            told = findings(self.rebuilt(lambda data: data.replace(old, generate.words(schema))))
            self.found(told, "archive", partition=0)

    def quarantine(self, change: Callable[[Any], None] = lambda commit: None) -> dict[str, bytes]:
        archive = generate.good(unreadable=True)
        commit = next(one for one in archive.partitions[0].commits if one.document["aside"])
        change(commit)
        return archive.objects()

    def test_what_cannot_be_read_lies_in_quarantine(self) -> None:
        self.only(findings(self.quarantine()), "unreadable")
        self.found(findings(self.quarantine()), "unreadable", partition=0, offset=10, batch="gate-1/0/9")

    def test_what_lies_in_quarantine_without_reason_is_found(self) -> None:
        archive, node = Archive(1), Node("gate-1", SECOND)
        archive.partitions[0].commit([node.seal(session(1, 1)), node.seal(session(2, 1))], unreadable=(1,))
        archive.checkpoint(RENEWED)
        told = findings(archive.objects())
        self.found(told, "archive", "although it can be read", offset=1, batch="gate-1/0/1")
        told = findings(self.quarantine(lambda commit: commit.document["faults"].clear()))
        self.found(told, "archive", "its faults are not those of its batches")

    def test_what_lies_in_quarantine_is_read_by_the_schema_of_a_manifest_before(self) -> None:
        archive, node = Archive(1), Node("gate-1", SECOND)
        for number, unreadable in enumerate(((), (), (0,))):
            archive.partitions[0].commit([node.seal(session(number, 1))], unreadable=unreadable)
        archive.checkpoint(RENEWED)
        self.found(findings(archive.objects()), "archive", "although it can be read", offset=2)
        archive = Archive(1)
        archive.partitions[0].commit([Node("gate-1", SECOND).seal(session(1, 1))], unreadable=(0,))
        archive.checkpoint(RENEWED)
        self.only(findings(archive.objects()), "unreadable")

    def test_what_lies_in_quarantine_is_what_was_put_there(self) -> None:
        def altered(change: Callable[[bytes], bytes], restate: bool) -> Callable[[Any], None]:
            def edit(commit: Any) -> None:
                name = commit.document["aside"][0]["name"]
                commit.objects[name] = change(commit.objects[name])
                if restate:
                    commit.document["aside"][0] = generate.stated(name, commit.objects[name])

            return edit

        self.found(findings(self.quarantine(altered(lambda data: data + b"x", False))), "archive", "length and SHA-256")
        for change, detail in (
            (lambda data: data + b"x", "not a batch"),
            (lambda data: data[:-70], "not a batch"),
            (lambda data: b"", "not a batch"),
            (lambda data: data.replace(b"gate-1", b"gate-2"), "is not what the manifest says"),
            (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is not what the manifest says"),
        ):
            self.found(findings(self.quarantine(altered(change, True))), "archive", detail, offset=10)

    def test_batches_that_another_partition_has_are_found(self) -> None:
        archive, node = Archive(2), Node("gate-1", SECOND)
        batches = node.cut(session(1, 8), 2)
        archive.partitions[0].commit(batches)
        archive.partitions[1].commit(batches[:3])
        archive.checkpoint(RENEWED)
        told = findings(archive.objects())
        self.only(told, "copied")
        self.found(told, "copied", "partition 0 holds it too", partition=1, offset=0, batch="gate-1/0/0")
