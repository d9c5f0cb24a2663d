"""Tests of postern-verify: evidence bundles, and the command's words and statuses. test_verify.py runs them too."""
from __future__ import annotations

import contextlib
import copy
import io
import json
import pathlib
import random
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import changes
import generate
from generate import KEYS, RENEWED, SECOND, STRANGER, Archive, Event, Node, compact, session
from test_verify import Case

verify = generate.verifier()


class Bundles(Case):
    def setUp(self) -> None:
        self.archive, self.batches, self.sessions, self.files = generate.good_bundle()

    def told(self, files: dict[str, bytes], keys: str = KEYS) -> list[Any]:
        return verify.verify_bundle(verify.Memory(files), verify.Keys(keys)).findings

    def edited(self, edit: Callable[[dict[str, Any]], Any], name: str = "proof.json") -> list[Any]:
        document = json.loads(self.files[name])
        edit(document)
        return self.told(generate.indexed(self.files | {name: compact(document)}, self.sessions))

    def without(self, *places: int) -> list[Any]:
        """The findings after these events of the first session were left out, proof and bytes."""
        kept = [copy.deepcopy(chain) for chain in self.batches]
        real = generate.bundle(self.archive, kept, self.sessions)
        document = json.loads(real["proof.json"])
        schema = next(name for name in real if name.endswith(".avro"))
        _, datums = verify.events_of(schema, real[schema])
        left = [place for place in range(len(datums)) if place not in places]
        blocks = b"".join(b"\2" + generate.blob(datums[place]) + bytes(16) for place in left)
        document["events"] = [document["events"][place] | {"block": at} for at, place in enumerate(left)]
        changed = {schema: generate.head_of("null", bytes(16)) + blocks, "proof.json": compact(document)}
        return self.told(generate.indexed(real | changed, self.sessions))

    def test_a_good_bundle_holds(self) -> None:
        report = verify.verify_bundle(verify.Memory(self.files), verify.Keys(KEYS))
        self.assertEqual(report.findings, [])
        self.assertEqual(report.counts, {"sessions": 2, "batches": 7, "events": 12})
        ends = [note for note in report.notes if "had not ended" in note]
        self.assertEqual(ends, [f"{generate.session_text(self.sessions[1])} had not ended at the checkpoint"])

    def test_a_missing_event_is_found_wherever_it_was(self) -> None:
        for place, sequence in ((0, 0), (3, 3), (7, 7)):
            event = f"evt_{self.sessions[0].hex()}_{sequence}"
            self.only(self.without(place), "bundle")
            self.found(self.without(place), "bundle", "1 events are missing", event=event)
        self.found(self.without(*range(12)), "bundle", "events are missing")

    def test_an_event_leads_to_the_root_of_its_batch_at_its_place_alone(self) -> None:
        for edit, detail in (
            (lambda d: d["events"][0].update(salt="00" * 16), "do not lead to the root"),
            (lambda d: d["events"][1]["path"].reverse(), "do not lead to the root"),
            (lambda d: d["events"][1]["path"].pop(), "has not the length"),
            (lambda d: d["events"][1]["path"].append("00" * 32), "has not the length"),
            (lambda d: d["events"][1].update(path=[]), "has not the length"),
            (lambda d: d["events"][0].update(index=1), "do not lead to the root"),
            (lambda d: d["events"][0].update(index=5), "do not lead to the root"),
            (lambda d: d["events"][0].update(index=2**40), "do not lead to the root"),
            (lambda d: d["events"][0].update(batch=1), "do not lead to the root"),
            (lambda d: d["events"][0].update(batch=7), "or no batch 7"),
            (lambda d: d["events"][0].update(block=1), "do not lead to the root"),
            (lambda d: d["events"][0].update(block=12), "no block 12 of"),
            (lambda d: d["events"][0].update(file="../x"), "of ../x"),
            (lambda d: d["events"].append(d["events"][0]), "event 12 of its list is there twice"),
            (lambda d: d["events"].pop(0), "block 0 is in no proof"),
        ):
            self.found(self.edited(edit), "bundle", detail)

    def made(self, *chains: list[Any], sessions: list[int]) -> list[Any]:
        """The findings in a bundle of these batches, by partition."""
        archive = Archive(len(chains))
        for partition, batches in zip(archive.partitions, chains):
            partition.commit(batches)
        archive.checkpoint(RENEWED)
        return self.told(generate.bundle(archive, list(chains), [generate.session_id(one) for one in sessions]))

    def test_a_session_is_whole(self) -> None:
        end, refused = session(1, 2), Event(generate.session_id(1), 0, "SessionRefused")
        late = [*end, Event(generate.session_id(1), 4, "Statement")]
        second = [Event(generate.session_id(1), 0, "Statement"), *end[1:]]
        for events, detail in (
            ([refused], None), (end, None), (end[1:], "0 was to come"), (late, "events come after the end"),
            (second, "it does not begin its session"),
        ):
            told = self.made([Node("gate-1", SECOND).seal(events)], sessions=[1])
            self.found(told, "bundle", detail) if detail else self.assertEqual(told, [])
        node = Node("gate-1", SECOND)
        told = self.made([node.seal(end[:2]), node.seal(end[3:])], sessions=[1])
        self.found(told, "bundle", "2 was to come", event=f"evt_{generate.session_id(1).hex()}_3")

    def test_a_header_says_of_an_event_what_it_is(self) -> None:
        ranges = [{"session": generate.session_text(generate.session_id(1)), "first": 0, "count": 2}]
        for claim, detail in (
            ({"schema": 1}, "another schema"), ({"first_time": generate.START + 1}, "its time is not within"),
            ({"last_time": generate.START + 1}, "its time is not within"), ({"sessions": ranges}, "does not count it"),
            ({"previous": "11" * 32}, "names one before it"),
        ):
            batch = Node("gate-1", SECOND).seal(session(1, 1), **claim)
            self.found(self.made([batch], sessions=[1]), "bundle", detail)

    def test_no_event_is_there_twice(self) -> None:
        def again(document: dict[str, Any]) -> None:
            document["events"].append(document["events"][0] | {"block": 12})

        name = next(name for name in self.files if name.endswith(".avro"))
        _, datums = verify.events_of(name, self.files[name])
        self.files[name] += b"\2" + generate.blob(datums[0]) + bytes(16)
        self.found(self.edited(again), "bundle", "it is there twice", event=f"evt_{self.sessions[0].hex()}_0")
        self.found(self.edited(lambda document: None), "bundle", "block 12 is in no proof", object=name)

    def test_the_file_of_events_holds_one_in_each_block(self) -> None:
        name = next(name for name in self.files if name.endswith(".avro"))
        good = self.files[name]
        _, datums = verify.events_of(name, good)
        head, one = generate.head_of("null", bytes(16)), generate.blob(datums[0])
        for data, detail in (
            (head + b"\4" + one + bytes(16), "block 0 is not one event"),
            (head + b"\2" + one + bytes(15) + b"\1", "block 0 is not one event"),
            (head + b"\2" + generate.blob(datums[0] + b"x") + bytes(16), "block 0 is not one event"),
            (head + b"\2" + one + bytes(15), "block 0 is not one event"), (good + b"\x80", "cut short"),
            (good + b"\2", "cut short"), (good.replace(b"null", b"nuxx", 1), "compressed"),
            (good.replace(b"shutdown", b"shutdoxx"), "its name is not that of its schema"),
        ):
            told = self.told(generate.indexed(self.files | {name: data}, self.sessions))
            self.found(told, "bundle", detail, object=name)

    def test_headers_are_what_was_signed_and_chained(self) -> None:
        for edit, detail in (
            (lambda d: d["batches"][1]["header"].update(first_time=1), "does not have the hash"),
            (lambda d: d["batches"][1].update(hash="00" * 32), "does not have the hash"),
            (lambda d: d["batches"].pop(1), "does not follow"),
            (lambda d: d["batches"].pop(3), "does not follow"),
            (lambda d: d["batches"].pop(4), "does not end here"),
            (lambda d: d["batches"][1].pop("signature"), "unsigned"),
            (lambda d: d["batches"][1].update(signature=d["batches"][0]["signature"]), "did not sign"),
            (lambda d: d["batches"][4].update(offset=5), "does not cover"),
            (lambda d: d["batches"][1].update(offset=0), "offset or epoch"),
            (lambda d: d["batches"][0].update(partition=7), "does not cover"),
        ):
            self.found(self.edited(edit), "bundle", detail, object="proof.json")

    def test_keys_and_checkpoint_are_those_that_count(self) -> None:
        for key in (SECOND, RENEWED):
            told = self.told(self.files, KEYS.replace(key.public, STRANGER.public))
            self.found(told, "bundle", "no line of the keys")
        damaged = self.edited(lambda d: d.update(payload=d["payload"][:-4] + "AAAA"), "checkpoint.json")
        self.found(damaged, "bundle", "did not sign", object="checkpoint.json")
        payload = changes.payload(self.files["checkpoint.json"])
        for edit, detail in (
            (lambda payload: payload.update(partitions=[]), "does not cover"),
            (lambda payload: payload["partitions"][0].update(next=1), "does not cover"),
            (lambda payload: payload["partitions"][1].update(chains=[]), "does not end here"),
            (lambda payload: payload["partitions"][0]["chains"][0].update(epoch=7), "does not end here"),
        ):
            other = copy.deepcopy(payload)
            edit(other)
            files = self.files | {"checkpoint.json": generate.enveloped(other, RENEWED)}
            self.found(self.told(generate.indexed(files, self.sessions)), "bundle", detail)

    def test_the_files_are_those_that_are_named(self) -> None:
        for change, detail in (
            ({"x": b""}, "no bundle has a file"), ({"report.html": b"<p>other"}, "length and SHA-256"),
            ({"bundle.json": b"[]"}, "not an object"),
            ({f"events-{0:016x}.avro": b""}, "does not name the files"),
        ):
            self.found(self.told(self.files | change), "bundle", detail)
        for name in self.files:
            without = {one: data for one, data in self.files.items() if one != name}
            detail = "is missing" if name in verify.PROVING_NAMES else "does not name the files"
            self.found(self.told(without), "bundle", detail)
            detail = "JSON" if name == "bundle.json" else "length and SHA-256"
            self.found(self.told(self.files | {name: self.files[name][:-1]}), "bundle", detail)
        twice = verify.Memory(self.files)
        twice.names = lambda: [*self.files, "proof.json"]
        self.found(verify.verify_bundle(twice, verify.Keys(KEYS)).findings, "bundle", "a file is there twice")
        self.found(self.told(generate.indexed(self.files, [])), "bundle", "names no session")
        more = [*self.sessions, generate.session_id(77)]
        self.found(self.told(generate.indexed(self.files, more)), "bundle", "there is no event of")
        self.found(self.told(generate.indexed(self.files, self.sessions[:1])), "bundle", "no session of the bundle")

    def test_random_changes_are_found(self) -> None:
        source = random.Random(3)
        for _ in range(300):
            name = source.choice(sorted(self.files))
            data = bytearray(self.files[name])
            at = source.randrange(len(data))
            data[at] ^= source.randrange(1, 256)
            told = self.told(self.files | {name: bytes(data)})
            if name != "bundle.json":  # nothing proves what it says of itself
                self.assertTrue(told, f"{name} {at}")


class Command(Case):
    def run_it(self, *arguments: str) -> tuple[int, str]:
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                status = verify.main(list(arguments))
            except SystemExit as ended:
                status = ended.code
        out.flush()
        return status, out.buffer.getvalue().decode()

    def test_statuses_and_words(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            objects = generate.good().objects()
            generate.write(objects, root / "archive")
            generate.write({"keys": KEYS.encode(), "kept": generate.last_checkpoint(objects), "bad": b"?"}, root)
            with zipfile.ZipFile(root / "b.zip", "w") as file:
                for name, data in generate.good_bundle()[3].items():
                    file.writestr(name, data)
            (root / "empty").mkdir()
            archive, keys, kept, bad = (str(root / name) for name in ("archive", "keys", "kept", "bad"))
            for expected, words, arguments in (
                (0, "the archive holds: 2 partitions", ["archive", archive, "--keys", keys, "--checkpoint", kept]),
                (0, '"holds": true', ["archive", archive, "--json"]),
                (0, "the bundle holds: 2 sessions", ["bundle", f"{root}/b.zip", "--keys", keys]),
                (1, "the bundle does NOT hold: 1 findings", ["bundle", bad, "--keys", keys]),
                (2, "cannot be listed", ["archive", f"{root}/missing"]),
                (2, "line 1 of the file of keys", ["archive", archive, "--keys", bad]),
                (2, "no checkpoint", ["archive", archive, "--checkpoint", bad]),
                (2, "cannot be read", ["bundle", f"{root}/missing", "--keys", keys]),
                (2, "required", ["bundle", f"{root}/b.zip"]),
                (2, "at least 1", ["archive", archive, "--jobs", "0"]),
                (2, "is it the folder of an archive", ["archive", f"{root}/empty"]),
            ):
                status, said = self.run_it(*arguments)
                self.assertEqual(status, expected, said)
                self.assertIn(words, said)
            (root / "archive" / "a\x1b[2J").write_bytes(b"")
            status, said = self.run_it("archive", archive)
            self.assertEqual(status, 1)
            self.assertTrue(said.startswith("the archive does NOT hold: 1 findings\na\\x1b[2J: foreign:"), said)
            said = json.loads(self.run_it("archive", archive, "--json")[1])
            self.assertEqual((said["holds"], said["found"], said["batches"]), (False, 1, 19))
            self.assertEqual(said["findings"][0]["object"], "a\x1b[2J")
