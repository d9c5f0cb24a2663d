"""Tests of postern-verify: what single values may be. test_verify.py runs them too."""
from __future__ import annotations

import json
import os
import pathlib
import tempfile
import unittest
import zipfile
from collections.abc import Callable
from typing import Any

import generate
from generate import blob, long, words

verify = generate.verifier()


class Documents(unittest.TestCase):
    def test_json_is_read_strictly(self) -> None:
        self.assertEqual(verify.read_json('{"a":[-1,"é"]}'.encode()), {"a": [-1, "é"]})
        for raw in (b"1.5", b"1e3", b"NaN", b"-Infinity", b'{"a":1,"a":1}', b"[", b"[" * 100_000, b"\xff", b"1 2", b""):
            with self.assertRaises(verify.Malformed, msg=raw[:20]):
                verify.read_json(raw)

    def test_values_are_of_their_types_and_within_their_bounds(self) -> None:
        for check, good, bad in (
            (verify.U64, [0, 2**64 - 1], [-1, 2**64, True, 1.0, "1", None]),
            (verify.I64, [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
            (verify.LONG, [0, 2**63 - 1], [-1, 2**63]),
            (verify.INT, [0, 2**31 - 1], [-1, 2**31]),
            (verify.PARTITION, [0, 999_999], [-1, 1_000_000]),
            (verify.text, ["", "a", "é", "\ue000"], ["\ud800", "a\udfff", 1, None, b"a"]),
            (verify.one_of(1), [1], [True, 1.0, 2, "1"]),
            (verify.DIGEST, ["0f" * 32], ["0F" * 32, "0f" * 31, "0f" * 32 + "\n", "0f" * 33, None, 0]),
            (verify.SESSION, ["ses_" + "0f" * 16], ["0f" * 16, "ses_" + "0f" * 15, "ses_" + "0F" * 16]),
            (verify.base64_bytes, ["", "AA==", "AAA="], ["AB==", "AA", "AA=\n", "A A=", "é", "AA==AA==", 1]),
            (verify.several(verify.INT), [[], [1]], [{}, "", None, [True]]),
            (verify.nullable(verify.INT), [None, 1], [False]),
        ):
            for value in good:
                check(value)
            for value in bad:
                with self.assertRaises(verify.Malformed, msg=repr(value)):
                    check(value)

    def test_objects_have_their_fields_and_no_other(self) -> None:
        check = verify.record(verify.Object, verify.text, verify.U64, verify.DIGEST, ordered=True)
        good = {"name": "a", "bytes": 1, "sha256": "00" * 32}
        self.assertEqual(check(good), ("a", 1, bytes(32)))
        less = {"name": "a", "bytes": 1}
        for value in (less, good | {"more": 1}, dict(reversed(good.items())), good | {"bytes": "1"}, [], None):
            with self.assertRaises(verify.Malformed, msg=repr(value)):
                check(value)


class Values(unittest.TestCase):
    def refused(self, read: Callable[[bytes, int], Any], data: bytes) -> None:
        with self.assertRaises((verify.Malformed, IndexError, UnicodeDecodeError), msg=data[:20]):
            read(data, 0)

    def test_numbers_of_avro(self) -> None:
        for number in (0, -1, 1, 63, 64, -64, -65, 127, 128, 2**31, 2**63 - 1, -(2**63)):
            self.assertEqual(verify.read_long(long(number), 0), (number, len(long(number))))
            self.assertEqual(verify.write_long(number), long(number))
        for data in (b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\0"):
            self.refused(verify.read_long, data)
        for number in (-(2**31) - 1, 2**31):
            self.refused(verify.read_int, long(number))
        self.assertEqual(verify.read_int(long(-(2**31)), 0)[0], -(2**31))

    def test_other_primitives(self) -> None:
        self.assertEqual(verify.read_boolean(b"\1", 0), (True, 1))
        self.assertEqual(verify.read_boolean(b"\0", 0), (False, 1))
        self.assertEqual(verify.read_text(words("é"), 0), ("é", 3))
        self.assertEqual(verify.read_bytes(blob(b""), 0), (b"", 1))
        self.assertEqual(verify.read_fixed(0)(b"", 0), (b"", 0))
        for read, data in (
            (verify.read_boolean, b"\2"), (verify.read_boolean, b"\x80\0"), (verify.read_boolean, b""),
            (verify.read_bytes, long(2) + b"a"), (verify.read_bytes, long(-1)), (verify.read_fixed(2), b"a"),
            (verify.read_text, blob(b"\xff")),
        ):
            self.refused(read, data)

    def compiled(self, schema: Any) -> Callable[[bytes, int], Any]:
        return verify.compiled(schema, "", {}).read

    def test_arrays_maps_unions_and_enumerations(self) -> None:
        array = self.compiled({"type": "array", "items": "boolean"})
        self.assertEqual(array(long(1) + b"\1" + long(-2) + long(2) + b"\0\1" + long(0), 0), ([True, False, True], 7))
        self.assertEqual(array(long(0), 0), ([], 1))
        for data in (long(1), long(2) + b"\1", long(2**40) + b"\1" * 9, long(-(2**40)) + long(1) + b"\1"):
            self.refused(array, data)
        union = self.compiled(["null", "int"])
        self.assertEqual((union(b"\0", 0), union(b"\2\2", 0)), ((("null", None), 1), (("int", 1), 2)))
        enumeration = self.compiled({"type": "enum", "name": "E", "symbols": ["a", "b"]})
        self.assertEqual(enumeration(long(1), 0), (1, 1))
        for read in (union, enumeration):
            self.refused(read, long(2) + b"\0")
            self.refused(read, long(-1) + b"\0")
        entries = self.compiled({"type": "map", "values": "null"})
        self.assertEqual(entries(long(1) + words("k") + long(0), 0), ([{"key": "k", "value": None}], 4))

    def test_schemas_that_are_none(self) -> None:
        row = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "long"}]}
        for schema in (
            "A", 7, {}, {"type": "array"}, {"type": "array", "items": "null"},
            {"type": "fixed", "name": "F", "size": -1}, {"type": "enum", "name": "E"},
            row | {"name": "long"}, row | {"fields": 1}, row | {"fields": [1]},
            row | {"fields": [{"name": "a", "type": "null"}]}, row | {"fields": [{"type": "long"}]}, [row, row],
            row | {"fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": 0}}]},
            row | {"fields": [{"name": "a", "type": row | {"name": "B", "fields": []}}]},
        ):
            with self.assertRaises(verify.Malformed, msg=schema):
                verify.Schema(json.dumps(schema))
        verify.Schema(json.dumps([row | {"fields": []}, "null"]))

    def test_canonical_forms(self) -> None:
        # of the Avro specification: the empty bytes, and {"type": "int", ...} is "int"
        self.assertEqual(verify.rabin(b"") % 2**64, 0xC15D213AA4D7A795)
        self.assertEqual(verify.Schema('{"type": "int", "doc": "x"}').fingerprint % 2**64, 0x7275D51A3F395C8F)

    def test_heads_of_container_files(self) -> None:
        good = generate.head_of("null", bytes(16))
        self.assertEqual(verify.container(good + b"more").end, len(good))
        metadata = good[4:-16]
        large = generate.SCHEMA[:-1] + ',"doc":"' + "x" * verify.MAX_SCHEMA + '"}'
        for data in (
            b"Obj\2" + good[4:], good[:-1], b"", b"Obj\1", b"Obj\1" + long(3) + metadata[1:] + bytes(16),
            b"Obj\1" + metadata[:-1] + long(1) + bytes(16), good.replace(b"avro.codec", b"avro.xodec"),
            generate.head_of("null", bytes(16), large),
        ):
            with self.assertRaises(verify.Malformed):
                verify.container(data)


class Stores(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def check(self, store: Any, good: str, *bad: str) -> None:
        self.assertEqual(store.read(good, 2), b"12")
        for name, limit in ((good, 1), ("missing", 9), *((name, 9) for name in bad)):
            with self.assertRaises(verify.Malformed, msg=name):
                store.read(name, limit)

    def test_memory(self) -> None:
        self.check(verify.Memory({"a": b"12"}), "a")

    def test_folders(self) -> None:
        generate.write({"a/b/c": b"12", "a/b/d/e": b"", "f": b""}, self.root)
        os.mkfifo(self.root / "fifo")
        (self.root / "empty").mkdir()
        store = verify.Directory(str(self.root))
        self.assertEqual(sorted(store.names()), ["a/b/c", "a/b/d", "f", "fifo"])
        self.check(store, "a/b/c", "fifo", "a/b/d", "f/g")
        with self.assertRaises(verify.CannotCheck):
            list(verify.Directory(str(self.root / "f")).names())

    def test_zip_files(self) -> None:
        with zipfile.ZipFile(self.root / "z", "w") as file:
            file.writestr("a", b"12")
            file.writestr("b", b"3456")
        damaged = (self.root / "z").read_bytes().replace(b"3456", b"3450")
        (self.root / "z").write_bytes(damaged)
        store = verify.Zip(str(self.root / "z"))
        self.assertEqual(store.names(), ["a", "b"])
        self.check(store, "a", "b")


class Batches(unittest.TestCase):
    def test_batches_as_they_were_shipped(self) -> None:
        node = generate.Node("gate-1", generate.FIRST)
        batch = node.seal(generate.session(1, 1))
        good, silent = batch.shipped(), batch.shipped(with_signature=False)
        # of a sealed session: its id, two ids of keys, the wrapped key
        key = bytes(16) + long(1) + b"k" + long(1) + b"e" + long(3) + b"abc"
        keyed = good + long(1) + key + long(0)
        for data, signed in ((good, True), (silent, False), (silent + long(0), False), (keyed, True), (good + long(0), True)):
            self.assertEqual(verify.shipped(data).signature is not None, signed)
            self.assertEqual(verify.shipped(data).header.hash(), batch.hash())
        for data in (b"\xc3\2" + good[2:], good + b"\0\0", keyed[:-1], keyed + b"\0", good[:-1], silent + long(2), silent[:-1], b"", good[:9]):
            with self.assertRaises(verify.Malformed):
                verify.shipped(data)

    def test_blocks_have_a_limit(self) -> None:
        compress = verify.zstandard.ZstdCompressor().compress
        full = verify.decompressed(compress(bytes(verify.MAX_BLOCK)))
        self.assertEqual(len(full), verify.MAX_BLOCK)
        for block in (compress(bytes(verify.MAX_BLOCK + 1)), compress(b"a") + b"b", compress(b"a")[:-1], b""):
            with self.assertRaises(verify.Malformed):
                verify.decompressed(block)

    def test_paths_lead_to_the_root(self) -> None:
        for count in range(1, 20):
            leaves = [bytes([number]) * 32 for number in range(count)]
            root = generate.merkle(leaves)
            self.assertEqual(verify.root_of(leaves), root)
            for index, leaf in enumerate(leaves):
                path = tuple(generate.path_of(leaves, index))
                self.assertEqual(verify.root_over(leaf, index, count, path), root)
                for wrong in (path[1:], path + path[:1]) if path else ((bytes(32),),):
                    with self.assertRaises(verify.Malformed):
                        verify.root_over(leaf, index, count, wrong)

    def test_time_is_told_whatever_it_is(self) -> None:
        self.assertEqual(verify.time_of(generate.START), "2023-11-14T22:13:20+00:00")
        self.assertIn("us after 1970", verify.time_of(2**63 - 1))


if __name__ == "__main__":
    unittest.main()
