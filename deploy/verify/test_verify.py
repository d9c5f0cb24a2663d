#!/usr/bin/env python3
"""Tests of postern-verify: what holds is said to hold, and each thing that may not be is found, with its place.

    python3 deploy/verify/test_verify.py
"""
from __future__ import annotations

import base64
import copy
import json
import pathlib
import random
import tempfile
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import changes
import generate
from generate import (
    FIRST, KEYS, KINDS, NOTARY, RENEWED, SECOND, STRANGER, Archive, Event, Key, Node, compact, session, sha256,
)

verify = generate.verifier()
SCHEMAS = pathlib.Path(__file__).parents[2] / "schemas/tests/data"
LAST = object()


def findings(objects: dict[str, bytes], keys: str | None = KEYS, checkpoint: Any = LAST) -> list[Any]:
    kept = generate.last_checkpoint(objects) if checkpoint is LAST else checkpoint
    return verify.verify_archive(verify.Memory(objects), keys and verify.Keys(keys), kept).findings


class Case(unittest.TestCase):
    def found(self, report: list[Any], kind: str, detail: str = "", **place: Any) -> Any:
        """The finding of this kind, with these words, at this place. It must be there."""
        for one in report:
            if one.kind == kind and detail in one.detail and all(getattr(one, k) == v for k, v in place.items()):
                return one
        self.fail(f"no {kind} {detail!r} {place} in " + "\n".join(map(str, report)))

    def only(self, report: list[Any], *kinds: str) -> None:
        self.assertEqual(sorted(one.kind for one in report), sorted(kinds), "\n".join(map(str, report)))


def one_partition(*commits: list[Any], faults: list[dict[str, Any]] | None = None) -> Archive:
    """An archive of one partition, with a checkpoint at its end; its last commit says that it has these faults."""
    archive = Archive(1)
    for batches in commits:
        archive.partitions[0].commit(batches)
    archive.partitions[0].commits[-1].document["faults"] += faults or []
    archive.checkpoint(RENEWED)
    return archive


def edited(archive: Archive, edit: Callable[[dict[str, Any]], Any], commit: int = -1) -> dict[str, bytes]:
    """The objects after a manifest of the first partition was changed; all hashes after it follow."""
    archive = copy.copy(archive)
    archive.partitions = copy.deepcopy(archive.partitions)
    edit(archive.partitions[0].commits[commit].document)
    return archive.objects()


class WhatHolds(Case):
    def test_a_good_archive_holds(self) -> None:
        objects = generate.good().objects()
        report = verify.verify_archive(verify.Memory(objects), verify.Keys(KEYS), generate.last_checkpoint(objects))
        self.assertEqual(report.findings, [])
        self.assertEqual(list(report.counts.values()), [2, 7, 19, 50, 3])
        last = "the last checkpoint is number 2 of 2023-11-14T22:13:20+00:00; 0 batches lie after it"
        self.assertIn(last, report.notes)

    def test_what_is_not_proved_is_said(self) -> None:
        archive = generate.good()
        archive.partitions[0].commit([Node("gate-3", STRANGER).seal(session(90, 1))])
        report = verify.verify_archive(verify.Memory(archive.objects()))
        self.assertEqual(report.findings, [])
        notes = "\n".join(report.notes)
        for part in ("; 1 batches lie after it", "no keys were given", "no checkpoint was given", "have no signature"):
            self.assertIn(part, notes)

    def test_what_was_never_committed_is_no_finding(self) -> None:
        objects = generate.good().objects()
        for name in (f"data/000000/{90:020}-{91:020}.avro", f"quarantine/000000/{90:020}.bin", "data/000001/x.avro#1"):
            objects[name] = b"?"
        self.assertEqual(findings(objects), [])

    def test_the_bytes_that_were_ever_written_are_read(self) -> None:
        for folder in sorted(SCHEMAS.iterdir()):
            batch = verify.shipped((folder / "batch.bin").read_bytes())
            schema = verify.schema_of((folder / "event.avsc").read_text())
            self.assertEqual(schema.fingerprint, batch.header.schema, folder.name)
            self.assertIsNone(verify.opened(batch, schema).fault, folder.name)

    def test_several_processes_find_the_same(self) -> None:
        objects = generate.good(unreadable=True).objects()
        with tempfile.TemporaryDirectory() as root:
            generate.write(objects, pathlib.Path(root))
            for jobs in (1, 2):
                found = verify.verify_archive(verify.Directory(root), verify.Keys(KEYS), jobs=jobs).findings
                self.assertEqual(found, findings(objects))

    def test_random_changes_are_found(self) -> None:
        for unreadable in (False, True):
            objects = generate.good(unreadable=unreadable).objects()
            kept = generate.last_checkpoint(objects)
            missed = changes.missed(objects, verify.Keys(KEYS), kept, 400, 7, lambda made: None)
            self.assertEqual(missed, [])

    def test_what_is_remembered_hides_nothing(self) -> None:
        objects, source, memo = generate.good().objects(), random.Random(5), verify.Memo()
        names = changes.proved(objects, generate.last_checkpoint(objects))
        for _ in range(60):
            _, change = changes.one_byte(source, objects, names)
            store, keys = verify.Memory(objects | change), verify.Keys(KEYS)
            again = verify.verify_archive(store, keys, memo=memo).findings
            self.assertEqual(again, verify.verify_archive(store, keys).findings)


class Chains(Case):
    """Each fault that the recorder knows, told with its place; and told besides where the recorder kept silent."""

    def check(self, batches: list[Any], kind: str, offset: int, event: tuple[int, int] | None = None) -> None:
        identity: dict[str, Any] = {"offset": offset, "kind": kind, "detail": "", "batch": None}
        if event:
            identity |= {"session": generate.session_text(generate.session_id(event[0])), "sequence": event[1]}
        header = batches[offset].header
        place = {"partition": 0, "offset": offset, "batch": f"gate-1/0/{header['sequence']}"}
        told = findings(one_partition(batches, faults=[identity]).objects())
        self.only(told, kind)
        first = header["sessions"][0]
        number, sequence = event or (int(first["session"][-8:], 16), first["first"])
        self.found(told, kind, event=f"evt_{generate.session_id(number).hex()}_{sequence}", **place)
        silent = findings(one_partition(batches).objects())
        self.only(silent, kind, "archive")
        self.found(silent, kind, **place)
        self.found(silent, "archive", "its faults are not those of its batches")

    def test_the_root_is_of_other_events(self) -> None:
        node = Node("gate-1", SECOND)
        self.check([node.seal(session(1, 1)), node.seal(session(2, 1), root="00" * 32)], "root", 1)

    def test_the_header_claims_something_else(self) -> None:
        for claim in ({"first_time": 0}, {"last_time": 0}):
            self.check([Node("gate-1", SECOND).seal(session(1, 1), **claim)], "header", 0)
        other = [{"session": generate.session_text(generate.session_id(1)), "first": 0, "count": 2}]
        self.check([Node("gate-1", SECOND).seal(session(1, 1), sessions=other)], "header", 0)

    def test_the_chain_is_seen_in_its_middle(self) -> None:
        node = Node("gate-1", SECOND)
        node.sequence = 3
        self.check([node.seal(session(1, 1))], "chain_start", 0)

    def test_the_first_batch_names_one_before_it(self) -> None:
        self.check([Node("gate-1", SECOND).seal(session(1, 1), previous="11" * 32)], "chain_broken", 0)

    def test_a_batch_names_another_before_it(self) -> None:
        node = Node("gate-1", SECOND)
        self.check([node.seal(session(1, 1)), node.seal(session(2, 1), previous="11" * 32)], "chain_broken", 1)

    def test_a_batch_is_missing(self) -> None:
        node = Node("gate-1", SECOND)
        batches = [node.seal(session(number, 1)) for number in range(3)]
        self.check([batches[0], batches[2]], "batches_missing", 1)

    def test_a_batch_comes_again(self) -> None:
        node = Node("gate-1", SECOND)
        batches = [node.seal([Event(generate.session_id(n), 0, "SessionRefused")]) for n in range(2)]
        self.check([*batches, batches[0]], "late", 2)
        self.check([*batches, batches[1]], "late", 2)

    def test_the_epoch_goes_back(self) -> None:
        node = Node("gate-1", SECOND)
        node.epoch = 2
        batches = [node.seal(session(1, 1))]
        node.epoch = 1
        self.check([*batches, node.seal(session(2, 1))], "epoch_went_back", 1)

    def test_events_of_a_session_are_missing_or_come_again(self) -> None:
        events = session(1, 4)
        for second, kind, sequence in ((events[3:], "events_missing", 3), (events[1:2], "events_repeated", 1)):
            node = Node("gate-1", SECOND)
            archive = [node.seal(events[:2]), node.seal(second)]
            self.check(archive, kind, 1, (1, sequence))

    def test_events_stand_outside_of_their_session(self) -> None:
        closed = [*session(1, 1), Event(generate.session_id(1), 3, "Statement")]
        unopened = Event(generate.session_id(1), 0, "Statement")
        opened_late = Event(generate.session_id(1), 1, KINDS[0])
        for events, sequence in (
            (session(1, 2)[1:], 1), (closed, 3), (session(1, 1)[2:], 2), ([unopened], 0), ([opened_late], 1),
        ):
            self.check([Node("gate-1", SECOND).seal(events)], "not_open", 0, (1, sequence))

    def test_sessions_beyond_the_limit_are_let_go(self) -> None:
        opened = [session(number, 1)[0] for number in (1, 2, 3)]
        fault = {"offset": 0, "kind": "not_open", "detail": "", "sequence": 1}
        fault["session"] = generate.session_text(generate.session_id(1))
        archive = one_partition([Node("gate-1", SECOND).seal(opened)], faults=[fault])
        objects = edited(archive, lambda document: document["state"]["open"].pop(0))
        with mock.patch.object(verify, "MAX_OPEN", 2):
            self.only(findings(objects), "not_open")
            self.found(findings(objects), "not_open", event=f"evt_{generate.session_id(1).hex()}_1")
        with mock.patch.object(verify, "MAX_OPEN", 3):
            self.only(findings(one_partition([Node("gate-1", SECOND).seal(opened)]).objects()))

    def test_a_batch_reports_so_many_faults(self) -> None:
        wrong = [session(number, 1)[1] for number in (1, 2, 3)]
        objects = one_partition([Node("gate-1", SECOND).seal(wrong)]).objects()
        with mock.patch.object(verify, "MAX_FAULTS", 2):
            self.only(findings(objects), "not_open", "not_open", "archive")
        twice = [session(1, 2)[1], *session(2, 1), session(1, 2)[2]]
        objects = one_partition([Node("gate-1", SECOND).seal(twice)]).objects()
        self.only(findings(objects), "not_open", "archive")

    def test_the_first_finding_names_the_first_bad_batch(self) -> None:
        archive = generate.good()
        objects = archive.objects()
        name = archive.partitions[0].commits[1].document["object"]["name"]
        entry = archive.partitions[0].commits[1].document["batches"][1]
        at = entry["place"]["spliced"]["at"] + 20
        objects[name] = objects[name][:at] + bytes([objects[name][at] ^ 1]) + objects[name][at + 1 :]
        first = findings(objects)[0]
        self.assertEqual((first.partition, first.offset, first.batch), (0, entry["offset"], "gate-1/0/4"))
        self.assertTrue(first.place().startswith("partition 0, manifest/000000/"), first.place())


class Signatures(Case):
    def archive(self, key: Key | None, epoch: int = 1) -> dict[str, bytes]:
        node = Node("gate-1", key)
        node.epoch = epoch
        return one_partition([node.seal(session(1, 1))]).objects()

    def test_a_key_counts_for_its_node_and_use_until_its_end(self) -> None:
        self.only(findings(self.archive(FIRST, 1)))
        self.only(findings(self.archive(FIRST, 2)), "unknown_key")
        for key in (STRANGER, RENEWED):
            told = findings(self.archive(key))
            self.only(told, "unknown_key")
            self.found(told, "unknown_key", key.public, partition=0, offset=0, batch="gate-1/0/0")

    def test_only_named_nodes_leave_batches_unsigned(self) -> None:
        self.only(findings(self.archive(None)), "unsigned")
        self.only(findings(self.archive(None), KEYS + "unsigned gate-1 until=1"))
        self.only(findings(self.archive(None, 2), KEYS + "unsigned gate-1 until=1"), "unsigned")
        self.only(findings(self.archive(None), keys=None))

    def test_a_signature_is_of_its_header(self) -> None:
        node = Node("gate-1", SECOND)
        archive = one_partition([node.seal(session(1, 1)), node.seal(session(2, 1))])

        def exchange(document: dict[str, Any]) -> None:
            one, other = document["batches"]
            one["signature"], other["signature"] = other["signature"], one["signature"]

        for keys in (KEYS, None):
            told = findings(edited(archive, exchange), keys)
            self.only(told, "signature", "signature")
            self.found(told, "signature", offset=1, batch="gate-1/0/1")

    def test_a_key_of_batches_signs_no_checkpoint(self) -> None:
        for key, node in ((SECOND, "gate-1"), (NOTARY, "gate-1"), (RENEWED, "gate-2")):
            archive = generate.good()
            archive.checkpoint(key, node)
            told = findings(archive.objects())
            self.only(told, "checkpoint")
            self.found(told, "checkpoint", key.public, object=f"checkpoint/{3:020}.json")

    def test_the_file_of_keys_is_read_strictly(self) -> None:
        key = FIRST.public
        for line in (
            "", "# only this", f"batches gate-1 {key.upper()}", "batches gate-1", f"keys gate-1 {key}", "unsigned a",
            f"batches gate-1 {key} until=x", f"batches gate-1 {key} until=1 2", f"batches gate-1 {key}0",
        ):
            with self.assertRaises(verify.CannotCheck, msg=line):
                verify.Keys(line)


class Checkpoints(Case):
    def test_names_are_dense_and_chained(self) -> None:
        objects = generate.good().objects()
        del objects[f"checkpoint/{1:020}.json"]
        self.only(findings(objects), "checkpoint")
        self.found(findings(objects), "checkpoint", "checkpoint 1 was to come", object=f"checkpoint/{2:020}.json")
        other = generate.good()
        other.marks[0]["time"] += 1
        objects = generate.good().objects() | {f"checkpoint/{0:020}.json": other.objects()[f"checkpoint/{0:020}.json"]}
        self.only(findings(objects), "checkpoint")
        self.found(findings(objects), "checkpoint", "`previous`", object=f"checkpoint/{1:020}.json")

    def test_there_is_one_form_of_bytes(self) -> None:
        archive = generate.good()
        name, raw = f"checkpoint/{2:020}.json", generate.last_checkpoint(archive.objects())
        document = json.loads(raw)
        payload = base64.b64decode(document["payload"])
        spaced = json.dumps(json.loads(payload)).encode()
        moved = dict(reversed(json.loads(payload).items()))
        for changed in (
            raw + b"\n", json.dumps(document).encode(), compact(dict(reversed(document.items()))), raw[:-1], b"",
            b"null", compact(document | {"signatures": document["signatures"] * 2}),
            compact(document | {"signatures": []}), compact(document | {"more": 1}),
            raw.replace(b"payload", b"pay\\u006coad"), raw.replace(b"==", b"="), signed_as(spaced),
            signed_as(compact(moved)), signed_as(payload.replace(b'"version":1', b'"version":1.0')),
            signed_as(payload.replace(b'"version":1', b'"version":true')),
            signed_as(payload.replace(b"{", b'{"a":1,', 1)), signed_as(payload.replace(b'"version":1', b'"version":2')),
            signed_as(b"[" * 100_000),
        ):
            told = findings(archive.objects() | {name: changed}, checkpoint=None)
            self.found(told, "checkpoint", object=name)

    def test_no_partition_goes_back(self) -> None:
        for back in ([0, 1], [2, 0], [3, 2]):
            archive = generate.good()
            archive.marks[2]["counts"] = back
            told = findings(archive.objects())
            self.only(told, *["checkpoint"] * len(told))
            detail = "is missing" if 0 in back else "goes back"
            self.found(told, "checkpoint", detail, object=f"checkpoint/{2:020}.json")

    def test_each_names_the_manifest_that_is_there(self) -> None:
        for field, value in (("next", 3), ("first", 0), ("manifest", "00" * 32), ("manifests", 2), ("chains", [])):
            objects = generate.good().objects()
            payload = changes.payload(generate.last_checkpoint(objects))
            payload["partitions"][1][field] = value if field != "next" else payload["partitions"][1]["next"] + 1
            objects[f"checkpoint/{2:020}.json"] = generate.enveloped(payload, RENEWED)
            self.found(findings(objects), "checkpoint")

    def test_a_shorter_archive_is_not_the_one_of_the_checkpoint_that_was_kept(self) -> None:
        archive = generate.good()
        kept = generate.last_checkpoint(archive.objects())
        archive.marks.pop()
        for partition, count in zip(archive.partitions, archive.marks[-1]["counts"]):
            del partition.commits[count:]
        shorter = archive.objects()
        self.assertEqual(findings(shorter), [])
        told = findings(shorter, checkpoint=kept)
        self.only(told, "checkpoint")
        self.found(told, "checkpoint", "kept elsewhere", object=f"checkpoint/{2:020}.json")
        self.only(findings({}, checkpoint=kept), "checkpoint")

    def test_a_checkpoint_has_the_number_of_its_name(self) -> None:
        archive = generate.good()
        objects = archive.objects()
        payload = changes.payload(generate.last_checkpoint(objects)) | {"number": 3}
        objects[f"checkpoint/{2:020}.json"] = generate.enveloped(payload, RENEWED)
        self.only(findings(objects, checkpoint=None), "checkpoint")
        self.found(findings(objects, checkpoint=None), "checkpoint", "it says that it is number 3")

    def test_manifests_that_a_checkpoint_names_are_gone(self) -> None:
        objects = generate.good().objects()
        gone = [name for name in objects if name.startswith("manifest/000001/")]
        told = findings({name: data for name, data in objects.items() if name not in gone[-1:]})
        self.found(told, "checkpoint", "there are 2", partition=1, object=f"checkpoint/{1:020}.json")
        told = findings({name: data for name, data in objects.items() if name not in gone})
        self.found(told, "checkpoint", "there are 0", partition=1)
        told = findings({name: data for name, data in objects.items() if name not in gone[1:2]})
        self.found(told, "manifest", "was to come", partition=1, object=gone[2])


def signed_as(payload: bytes) -> bytes:
    """A checkpoint with these bytes as its payload."""
    kind = "application/vnd.postern.checkpoint+json"
    made = RENEWED.sign(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    signatures = [{"keyid": RENEWED.public, "sig": base64.b64encode(made).decode()}]
    return compact({"payloadType": kind, "payload": base64.b64encode(payload).decode(), "signatures": signatures})


class Manifests(Case):
    def test_forms_that_are_not_of_a_manifest(self) -> None:
        archive = generate.good()
        objects = archive.objects()
        name = sorted(name for name in objects if name.startswith("manifest/000000/"))[1]
        raw = objects[name]
        for changed, detail in (
            (b"", "not JSON"), (b"null", "not an object"), (b"[]", "not an object"), (b"{}", "is missing"),
            (b"[" * 100_000, "not JSON"), (b'{"version":' + b"9" * 5_000 + b"}", "not JSON"),
            (raw.decode().encode("utf-16"), "not JSON"), (b"\xef\xbb\xbf" + raw, "not JSON"),
            (raw[:-1] + b',"more":1}', "`more` is not known"), (raw.replace(b'"aside":[],', b""), "it lacks aside"),
            (raw.replace(b'"version":2', b'"version":2,"version":2'), "a field is there twice"),
            (raw.replace(b'"version":2', b'"version":3'), "not 1 or 2"),
            (raw.replace(b'"version":2', b'"version":1'), "neither `previous` nor `aside`"),
            (raw.replace(b'"created":17', b'"created":NaN,"x":17'), "NaN is no whole number"),
            (raw.replace(b'"duplicates":0', b'"duplicates":0.0'), "0.0 is no whole number"),
            (raw.replace(b'"duplicates":0', b'"duplicates":false'), "not a whole number"),
            (raw.replace(b'"duplicates":0', b'"duplicates":1'), "more batches than it covers"),
            (raw.replace(b'"partition":0', b'"partition":1'), "it says that it is manifest/000001/"),
            (raw.replace(b'"gate-1"', b'"\\ud800"'), "not a text"),
            (raw.replace(b"data/000000/", b"../000000/"), "not the name of its data object"),
        ):
            self.assertNotEqual(changed, raw)
            self.found(findings(objects | {name: changed}, checkpoint=None), "manifest", detail, object=name)

    def test_what_a_manifest_cannot_say(self) -> None:
        node = Node("gate-1", SECOND)
        archive = one_partition([node.seal(session(1, 2))], [node.seal(session(2, 2)), node.seal(session(3, 2)[:2])])
        quarantined = {"quarantined": {"object": f"quarantine/000000/{1:020}.bin"}}
        upper = sha256(b"").hex().upper()
        for edit, kind, detail in (
            (lambda d: d.update(object=None), "manifest", "batches without their data object"),
            (lambda d: d.update(batches=[]), "manifest", "a data object without batches"),
            (lambda d: d.update(last=0), "manifest", "it ends before it begins"),
            (lambda d: d["batches"].reverse(), "manifest", "not in the order"),
            (lambda d: d["batches"][0].update(offset=0), "manifest", "not in the order"),
            (lambda d: d["batches"][0].update(hash=upper), "manifest", "lower-case"),
            (lambda d: d["batches"][0].update(hash="00" * 32), "archive", "does not have the hash"),
            (lambda d: d["batches"][0].update(salt="00" * 32), "root", ""),
            (lambda d: d["batches"][0]["place"].update(quarantined), "manifest", "no place, or two"),
            (lambda d: d["batches"][0].update(place=quarantined), "manifest", "`aside`"),
            (lambda d: d["batches"][0]["place"]["spliced"].update(at=2**64 - 1), "archive", "at its place"),
            (lambda d: d["batches"][0]["place"]["spliced"].update(bytes=2**63), "archive", "at its place"),
            (lambda d: d["batches"][0]["header"].update(count=2**31 - 1), "unreadable", ""),
            (lambda d: d["object"].update(name="data/000000/../x.avro"), "manifest", "not the name of its data object"),
            (lambda d: d["object"].update(bytes=1), "archive", "length and SHA-256"),
            (lambda d: d["aside"].append(generate.stated("/etc/passwd", b"")), "manifest", "`aside`"),
            (lambda d: d["state"]["open"][0].update(next=9), "archive", "the state that it carries"),
            (lambda d: d["state"]["chains"][0].update(hash="00" * 32), "archive", "the state that it carries"),
            (lambda d: d["state"]["chains"].append(d["state"]["chains"][0]), "manifest", "not in order"),
            (lambda d: d["batches"][1].update(offset=1), "manifest", "not in the order"),
        ):
            told = findings(edited(archive, edit))
            self.found(told, kind, detail, partition=0)

    def test_faults_that_were_written_down_are_told_again(self) -> None:
        archive = one_partition([Node("gate-1", SECOND).seal(session(1, 1))])
        fault = {"offset": 0, "kind": "something_new", "detail": "so it was"}
        told = findings(edited(archive, lambda document: document["faults"].append(fault)))
        self.found(told, "something_new", "so it was", partition=0, offset=0, batch="gate-1/0/0")

    def test_what_was_set_aside_is_told_and_checked(self) -> None:
        name, wrong = (f"quarantine/000000/{at:020}.bin" for at in (1, 2))
        fault = {"offset": 1, "kind": "undecodable", "detail": "no batch", "quarantine": name}
        for change, kind, detail in (
            ({}, None, ""),
            ({"offset": 0}, "manifest", "it sets aside what it does not cover, or what it has"),
            ({"offset": 2}, "manifest", "it sets aside what it does not cover, or what it has"),
            ({"quarantine": wrong}, "manifest", "under the name of its offset"),
        ):
            archive = one_partition([Node("gate-1", SECOND).seal(session(1, 1))], faults=[fault | change])
            commit = archive.partitions[0].commits[0]
            commit.document |= {"last": 1, "aside": [generate.stated(name, b"junk")]}
            [old] = commit.objects
            commit.document["object"]["name"] = f"data/000000/{0:020}-{1:020}.avro"
            commit.objects = {commit.document["object"]["name"]: commit.objects[old], name: b"junk"}
            told = findings(archive.objects())
            self.found(told, "undecodable", "no batch", partition=0, offset=change.get("offset", 1))
            if kind:
                self.found(told, kind, detail)
                continue
            self.only(told, "undecodable")
            without = {one: data for one, data in archive.objects().items() if one != name}
            self.found(findings(without), "archive", f"{name}: it is not there", partition=0, offset=1)
            self.found(findings(archive.objects() | {name: b"gunk"}), "archive", "length and SHA-256", offset=1)

    def test_version_1_comes_before_version_2_alone(self) -> None:
        archive, node = Archive(1), Node("gate-2", None)
        for version in (1, 2, 1):
            archive.partitions[0].commit([node.seal(session(node.sequence, 1))], version=version)
        archive.checkpoint(RENEWED)
        told = findings(archive.objects())
        self.only(told, "manifest")
        self.found(told, "manifest", "version 1 after", object=f"manifest/000000/{2:020}.json")

    def test_each_names_the_one_before(self) -> None:
        node, name = Node("gate-1", SECOND), f"manifest/000000/{1:020}.json"
        archive = one_partition([node.seal(session(1, 2))], [node.seal(session(2, 2))])
        objects = archive.objects()
        archive.partitions[0].commits[0].document["created"] += 1
        objects[f"manifest/000000/{0:020}.json"] = archive.objects()[f"manifest/000000/{0:020}.json"]
        self.only(findings(objects), "manifest")
        self.found(findings(objects), "manifest", "`previous`", object=name)

    def test_names_of_another_form_are_foreign(self) -> None:
        for name in (
            "x", "data/0/1.avro", f"manifest/000000/{0:020}.json.tmp", f"data/000000/{0:020}-{1:020}.avro/x", "x#",
            f"checkpoint/{0:021}.json", f"manifest/٠٠٠٠٠٠/{0:020}.json", "x#a", "manifest/000000/\udcff",
        ):
            told = findings(generate.good().objects() | {name: b""})
            self.only(told, "foreign")
            self.found(told, "foreign", object=name)
        self.only(findings(generate.good().objects() | {"x#1": b"", "data/000000/y#23": b""}))

    def test_an_archive_in_a_bucket_says_what_it_is(self) -> None:
        marker = b'{"format":"postern archive","version":1}\n'
        self.only(findings(generate.good().objects() | {"archive.json": marker}))
        for other in (b"", marker[:-1], marker + b" ", marker.replace(b"1", b"2")):
            self.only(findings(generate.good().objects() | {"archive.json": other}), "foreign")


if __name__ == "__main__":
    folder = str(pathlib.Path(__file__).parent)
    unittest.main(module=None, argv=[__file__, "discover", "-s", folder, "-t", folder])
