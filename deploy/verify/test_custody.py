#!/usr/bin/env python3
"""Tests of postern-verify: the custody log, and archives of which retention disposed of something.

    python3 deploy/verify/test_custody.py
"""
from __future__ import annotations

import base64
import json
import random
import unittest
from typing import Any

import changes
import generate
from generate import (
    FIRST, KEYS, RENEWED, STRANGER, Archive, Event, Node, data_of, deletion, disposed, hold, session, session_id,
    session_text, shredding,
)
from test_verify import Case, findings, verify


def entry(number: int) -> str:
    return f"custody/{number:020}.json"


def one(*batches: Any) -> Archive:
    archive = Archive(1)
    for batch in batches:
        archive.partitions[0].commit([batch])
    archive.checkpoint(RENEWED)
    return archive


class Custody(Case):
    def test_what_is_disposed_of_is_excused_and_the_rest_proved(self) -> None:
        for covered in (True, False):
            objects = disposed(covered).objects()
            store, keys = verify.Memory(objects), verify.Keys(KEYS)
            report = verify.verify_archive(store, keys, generate.last_checkpoint(objects))
            self.assertEqual(report.findings, [])
            said = "5 entries of the custody log; deleted by retention: 2 objects with 18 events"
            self.assertTrue(any(note.startswith(said) for note in report.notes), report.notes)
            self.assertTrue(any("keys of 1 sessions erased" in note for note in report.notes), report.notes)

    def test_random_changes_are_found(self) -> None:
        objects = disposed().objects()
        kept = generate.last_checkpoint(objects)
        self.assertIn(entry(4), changes.proved(objects, kept))
        self.assertEqual(changes.missed(objects, verify.Keys(KEYS), kept, 600, 7, lambda made: None), [])

    def test_what_is_remembered_hides_nothing(self) -> None:
        objects, source, memo = disposed().objects(), random.Random(5), verify.Memo()
        names = changes.proved(objects, generate.last_checkpoint(objects))
        for _ in range(40):
            _, change = changes.one_byte(source, objects, names)
            store, keys = verify.Memory(objects | change), verify.Keys(KEYS)
            again = verify.verify_archive(store, keys, memo=memo).findings
            self.assertEqual(again, verify.verify_archive(store, keys).findings)

    def test_the_log_is_dense_chained_and_as_long_as_checkpoints_say(self) -> None:
        good = disposed().objects()
        for gone, told in ((2, "entry 2 was to come"), (4, "says that it has 5 entries; there are 4")):
            told_of = findings({name: data for name, data in good.items() if name != entry(gone)})
            self.found(told_of, "custody", told)
        # a tail that no checkpoint covers can be cut off unseen; what it excused is then missing without an excuse
        objects = disposed(False).objects()
        told = findings({name: data for name, data in objects.items() if not name.startswith("custody/")})
        self.found(told, "archive", "it is not there")
        self.found(told, "custody", f"the key of {session_text(session_id(30))} is not there")
        other = disposed()
        other.custody[0] = (RENEWED, "gate-1", hold("case 6"))
        told = findings(good | {entry(0): other.objects()[entry(0)]})
        self.found(told, "custody", "`previous`", object=entry(1))
        told = findings(good | {entry(4): disposed(False).objects()[entry(3)]})
        self.found(told, "custody", "it says that it is number 3")
        self.found(told, "custody", "says otherwise of it", object=entry(4))

    def test_a_checkpoint_takes_back_nothing_of_it(self) -> None:
        archive = disposed()
        archive.checkpoint(RENEWED)
        archive.marks[-1]["custody"] = 3
        self.found(findings(archive.objects()), "checkpoint", "the custody log of 5 entries goes back")
        payload = changes.payload(generate.last_checkpoint(disposed().objects()))
        name = f"checkpoint/{payload['number']:020}.json"
        for changed in (
            payload | {"version": 1}, payload | {"custody": None},
            payload | {"custody": payload["custody"] | {"entries": 0}},
            {field: value for field, value in payload.items() if field != "custody"},
        ):
            objects = disposed().objects() | {name: generate.enveloped(changed, RENEWED)}
            self.found(findings(objects, checkpoint=None), "checkpoint", object=name)

    def test_there_is_one_form_of_bytes(self) -> None:
        good = disposed().objects()
        raw = good[entry(1)]
        payload = json.loads(base64.b64decode(json.loads(raw)["payload"]))
        done = payload["entry"]["deleted"]

        def signed(document: Any, kind: str = generate.CUSTODY) -> bytes:
            return generate.enveloped(document, RENEWED, kind)

        for changed in (
            raw + b"\n", raw[:-1], b"{}", signed(payload, generate.CHECKPOINT), signed(payload | {"version": 2}),
            signed(payload | {"more": 1}), signed(dict(reversed(payload.items()))), signed(payload | {"number": 1.0}),
            signed(payload | {"entry": {}}), signed(payload | {"entry": {"held": done}}),
            signed(payload | {"entry": {"deleted": done | {"more": 1}}}),
            signed(payload | {"entry": {"deleted": dict(reversed(done.items()))}}),
            signed(payload | {"entry": payload["entry"] | {"hold_released": {"case": "a", "reason": "b"}}}),
        ):
            told = findings(good | {entry(1): changed})
            self.found(told, "custody", object=entry(1))

    def test_only_who_may_sign_checkpoints_disposes(self) -> None:
        for key, node, lines in (
            (STRANGER, "gate-1", KEYS), (FIRST, "gate-1", KEYS), (RENEWED, "gate-2", KEYS),
            (RENEWED, "gate-1", KEYS.replace(f"{RENEWED.public}\n", f"{RENEWED.public} until=3\n", 2)),
        ):
            archive = one_shop()
            archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)), key, node)
            for _ in range(4):
                archive.partitions[0].commit([archive.node.seal(session(40 + len(archive.marks), 1))])
                archive.checkpoint(RENEWED)
            # the last of five checkpoints is the first that covers the entry
            for mark in archive.marks[:-1]:
                mark["custody"] = 0
            told = findings(archive.objects(), lines)
            self.found(told, "custody", "no line of the keys lets", object=entry(0))
            self.found(told, "archive", "it is not there")

    def test_without_keys_only_who_signed_a_checkpoint_that_is_kept_disposes(self) -> None:
        told = "entry 0 is signed by a key that signed no checkpoint that you keep"
        for key, node in ((RENEWED, "gate-1"), (STRANGER, "gate-1"), (RENEWED, "gate-2")):
            archive = one_shop()
            kept = generate.last_checkpoint(archive.objects())
            archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)), key, node)
            # a later checkpoint by the same key vouches for nothing: whoever can write can make one
            archive.checkpoint(key, node)
            for checkpoint in (kept, None):
                found = findings(archive.objects(), None, checkpoint)
                if (key, node) == (RENEWED, "gate-1"):
                    self.assertEqual(found, [])
                else:
                    self.found(found, "custody", told, object=entry(0))
                    self.found(found, "archive", "it is not there")
            # who keeps that one believes its key
            self.assertEqual(findings(archive.objects(), None), [])
        # nor does a stranger's release end a hold
        archive = one_shop()
        kept = generate.last_checkpoint(archive.objects())
        archive.enter(hold("case 9"))
        archive.enter({"hold_released": {"case": "case 9", "reason": "closed"}}, STRANGER)
        archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
        self.found(findings(archive.objects(), None, kept), "custody", "was held then, for case 9", object=entry(2))

    def test_what_is_not_said_of_what_stands_alone_is_held(self) -> None:
        for said in (
            {"refused": {"time": 1, "event": {"identity": None, "resource": None}}},
            {"gap": {"time": 1, "event": {}}}, {"control": "RoleDropped"},
        ):
            archive = one(Node("gate-2", FIRST).seal([Event(session_id(1), 0, "SessionRefused")]))
            note = archive.partitions[0].commits[0].document["sessions"][0]
            del note["refused"]
            note |= said
            archive.marks = []
            archive.checkpoint(RENEWED)
            for held in (hold("case 9", subjects=["bot-7"]), hold("case 9", resources=["hr"], groups=["x"])):
                archive.custody = []
                archive.erased = set()
                archive.enter(held)
                archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
                told = findings(archive.objects())
                self.found(told, "custody", "was held then, for case 9", object=entry(1))

    def test_sessions_of_the_notes_are_held_too(self) -> None:
        archive = one_shop()
        notes = archive.partitions[0].commits[0].document["sessions"]
        notes.append(notes[0] | {"session": session_text(session_id(7))})
        archive.marks = []
        archive.checkpoint(RENEWED)
        archive.enter(hold("case 9", sessions=[session_text(session_id(7))]))
        archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
        self.found(findings(archive.objects()), "custody", "was held then, for case 9", object=entry(1))

    def test_an_excuse_names_length_and_hash(self) -> None:
        archive = one_shop()
        wrong = deletion(archive.objects(), data_of(archive, 0, 0))
        wrong["deleted"]["objects"][0]["sha256"] = "00" * 32
        archive.enter(wrong)
        told = findings(archive.objects())
        self.found(told, "archive", "custody entry 0 deleted another of its name")
        self.found(told, "custody", "no manifest names", object=entry(0))

    def test_what_was_to_be_erased_and_is_there_is_found(self) -> None:
        archive = disposed()
        archive.erased = set()
        told = findings(archive.objects())
        self.found(told, "custody", "is not deleted yet", object=entry(1))
        self.found(told, "custody", "is not erased yet", object=entry(4))
        self.only(told, *["custody"] * 3)

    def test_a_missing_key_needs_an_entry(self) -> None:
        archive = disposed()
        archive.keys.remove(session_id(31))
        self.only(findings(archive.objects()), "custody")
        self.found(findings(archive.objects()), "custody", "no entry of the custody log says why")

    def test_a_disposal_of_what_was_held_is_found(self) -> None:
        for held in (
            hold("case 9"), hold("case 9", subjects=["bot-1"]), hold("case 9", subjects=["ada@example.com"]),
            hold("case 9", identity_kind="machine", groups=["agents"], issuers=["https://issuer.example"]),
            hold("case 9", resources=["shop"], sessions=[session_text(session_id(1))]),
            hold("case 9", **{"from": generate.START, "to": generate.START + 1}),
        ):
            for released in (False, True):
                archive = one_shop()
                archive.enter(held)
                if released:
                    archive.enter({"hold_released": {"case": "case 9", "reason": "closed"}})
                archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
                told = findings(archive.objects())
                if released:
                    self.assertEqual(told, [])
                else:
                    self.found(told, "custody", "was held then, for case 9", object=entry(1))
        for held in (
            hold("case 9", subjects=["bot-2"]), hold("case 9", identity_kind="human"), hold("case 9", groups=["x"]),
            hold("case 9", issuers=["x"]), hold("case 9", resources=["hr"]), hold("case 9", to=generate.START),
            hold("case 9", **{"from": generate.START + 100}), hold("case 9", sessions=[session_text(session_id(9))]),
        ):
            archive = one_shop()
            archive.enter(held)
            archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
            self.assertEqual(findings(archive.objects()), [], held)
        # of whom nothing is said, everything may be meant
        archive = one(Node("gate-2", FIRST).seal([Event(session_id(1), 3, "Statement")]))
        archive.enter(hold("case 9", subjects=["bot-7"]))
        archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
        self.found(findings(archive.objects()), "custody", "was held then, for case 9")

    def test_notes_that_cannot_be_read_end_nothing(self) -> None:
        strange = {"first_time": 1, "last_time": 2, "opened": {"event": {"identity": 1}}}
        for notes in ([1], [{}], [{"session": session_text(session_id(1)), "events": 3} | strange]):
            archive = one_shop()
            archive.partitions[0].commits[0].document["sessions"] = notes
            archive.marks = []
            archive.checkpoint(RENEWED)
            archive.enter(hold("case 9", subjects=["bot-1"]))
            archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
            self.assertTrue(findings(archive.objects()))

    def test_it_names_what_manifests_know(self) -> None:
        archive = one_shop()
        archive.enter(shredding(session_id(90)))
        archive.enter({"deleted": {"class": "c", "reason": "r", "objects": [generate.stated("manifest/x", b"")]}})
        told = findings(archive.objects())
        self.found(told, "custody", "no manifest knows", object=entry(0))
        self.found(told, "custody", "no manifest names manifest/x", object=entry(1))

    def test_headers_prove_chains_signatures_and_sequences_without_events(self) -> None:
        def told(change: Any) -> list[Any]:
            node = Node("gate-2", FIRST)
            batches = node.cut(session(1, 8), 3)
            archive = Archive(1)
            archive.node = node
            archive.partitions[0].commit(change(batches, node) or batches)
            archive.checkpoint(RENEWED)
            archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
            return findings(archive.objects())

        self.assertEqual(told(lambda batches, node: None), [])
        self.found(told(lambda batches, node: batches[:1] + batches[2:]), "batches_missing")
        self.found(told(lambda batches, node: batches[:1] + batches[2:]), "events_missing", "events 3 to 5 are missing")
        self.found(told(lambda batches, node: batches[1:]), "not_open", "without their beginning")
        self.found(told(lambda batches, node: [*batches, node.seal(session(1, 8)[-1:])]), "not_open")

        def stranger(batches: list[Any], node: Any) -> None:
            batches[1].key = STRANGER

        self.found(told(stranger), "unknown_key")

        def fewer(batches: list[Any], node: Any) -> list[Any]:
            other = Node("gate-2", FIRST)
            return [other.seal(batches[0].events, count=2), *[other.seal(batch.events) for batch in batches[1:]]]

        self.found(told(fewer), "header", "not as many as it counts")

    def test_notes_count_what_headers_count(self) -> None:
        archive = one_shop()
        archive.partitions[0].commits[0].document["sessions"][0]["events"] += 1
        archive.marks = []
        archive.checkpoint(RENEWED)
        archive.enter(deletion(archive.objects(), data_of(archive, 0, 0)))
        self.found(findings(archive.objects()), "archive", "do not count the events")

    def test_what_lay_aside_and_is_gone_is_told_as_the_recorder_told_it(self) -> None:
        archive, node = Archive(1), Node("gate-2", FIRST)
        archive.node = node
        batches = [*node.cut(session(1, 1), 2), node.seal(session(2, 1)[:1])]
        batches[2].block = batches[2].block[:-1]
        commit = archive.partitions[0].commit(batches, unreadable=(2,))
        archive.checkpoint(RENEWED)
        before = findings(archive.objects())
        self.only(before, "unreadable")
        names = [one["name"] for one in commit.document["aside"]]
        archive.enter(deletion(archive.objects(), *names, data_of(archive, 0, 0)))
        self.only(findings(archive.objects()), "unreadable")

    def test_names_of_another_form_are_foreign(self) -> None:
        good = disposed().objects()
        names = ["custody/1.json", "custody/notes.txt", "key/00/x.json", f"key/00/{session_text(session_id(31))}.json"]
        told = findings(good | dict.fromkeys(names, b"x"))
        self.only(told, *["foreign"] * len(names))

    def test_several_processes_find_the_same(self) -> None:
        names = sorted(name for name in disposed().objects() if name.startswith("manifest/"))
        deleted = {f"data/000000/{0:020}-{1:020}.avro": (1, None), "data/000009/x": (2, None)}
        around = verify.around(names, deleted)
        self.assertEqual(list(around), [f"manifest/000000/{0:020}.json"])


def one_shop() -> Archive:
    """An archive of one session in two objects of one partition."""
    node = Node("gate-2", FIRST)
    archive = one(*node.cut(session(1, 4), 3))
    archive.node = node
    return archive


if __name__ == "__main__":
    unittest.main()
