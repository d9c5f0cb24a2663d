#!/usr/bin/env python3
"""Tests of postern-witness: it takes what leads on, refuses everything else, and has on the disk what it acknowledged.

    python3 deploy/verify/test_witness.py
"""
from __future__ import annotations

import base64
import datetime
import http.client
import importlib.machinery
import importlib.util
import json
import pathlib
import socket
import ssl
import sys
import tempfile
import threading
import time
import unittest
from typing import Any
from unittest import mock

import generate
from generate import KEYS, NOTARY, RENEWED, STRANGER, Archive, enveloped, sha256

TYPE = "application/vnd.dsse+json"


def program() -> Any:
    """postern-witness as a module."""
    if "postern_witness" not in sys.modules:
        path = str(pathlib.Path(__file__).with_name("postern-witness"))
        loader = importlib.machinery.SourceFileLoader("postern_witness", path)
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        sys.modules[loader.name] = module
        without, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        loader.exec_module(module)
        sys.dont_write_bytecode = without
    return sys.modules["postern_witness"]


witness = program()
witness.Handler.log_message = lambda *_: None


def checkpoints() -> list[bytes]:
    objects = generate.good().objects()
    return [objects[name] for name in sorted(objects) if name.startswith("checkpoint/")]


def changed(raw: bytes, key: Any = RENEWED, **fields: Any) -> bytes:
    """The checkpoint with other fields, signed again."""
    payload = json.loads(base64.b64decode(json.loads(raw)["payload"]))
    return enveloped(payload | fields, key)


class Running:
    """A witness on a free port of this machine."""

    def __init__(self, root: pathlib.Path, tls: Any = None, token: str | None = None) -> None:
        self.keys = root / "keys.txt"
        if not self.keys.exists():
            self.keys.write_text(KEYS)
        self.folder = witness.Folder(str(root / "kept"), str(self.keys))
        self.server = witness.Server(("127.0.0.1", 0), self.folder, tls, token)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, ({"content-type": TYPE} if body is not None else {}) | given)
        try:
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def put(self, number: int, raw: bytes, **headers: str) -> int:
        return self.ask("PUT", f"/checkpoint/{number}", raw, **headers)[0]

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        witness.os.close(self.folder.lock)


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.good = checkpoints()
        self.assertEqual(len(self.good), 3)

    def start(self, **options: Any) -> Running:
        running = Running(self.root, **options)
        self.addCleanup(running.stop)
        return running

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.root / "kept/checkpoint").iterdir())]


class Takes(Case):
    def test_what_leads_on_and_gives_it_back_byte_for_byte(self) -> None:
        running = self.start()
        self.assertEqual(running.ask("GET", "/checkpoint")[0], 404)
        for number, raw in enumerate(self.good):
            self.assertEqual(running.put(number, raw), 201)
            self.assertEqual(running.put(number, raw), 200, "it is there already")
            self.assertEqual(running.ask("GET", "/checkpoint"), (200, b'{"number":%d}' % number))
            self.assertEqual(running.ask("GET", f"/checkpoint/{number}"), (200, raw))
        self.assertEqual(running.put(0, self.good[0]), 200)
        self.assertEqual(running.ask("GET", "/checkpoint/3")[0], 404)
        self.assertEqual(self.kept(), self.good)

    def test_a_custody_log_grows_and_never_shrinks(self) -> None:
        running = self.start()
        self.assertEqual(running.put(0, self.good[0]), 201)
        extent = lambda entries, last: {"entries": entries, "last": sha256(last).hex()}
        # the same partitions as the second, of which each says more of the log
        second = changed(self.good[1], version=2, custody=extent(1, b"one"))
        self.assertEqual(running.put(1, second), 201)
        after = {"number": 2, "previous": sha256(second).hex()}
        for less in (
            changed(self.good[1], **after),
            changed(self.good[1], version=2, **after, custody=extent(1, b"other")),
        ):
            self.assertEqual(running.put(2, less), 409)
        self.assertEqual(running.put(2, changed(self.good[1], version=1, **after, custody=extent(2, b"two"))), 400)
        self.assertEqual(running.put(2, changed(self.good[1], version=2, **after, custody=extent(0, b"none"))), 400)
        longer = changed(self.good[1], version=2, **after, custody=extent(2, b"two"))
        self.assertEqual(running.put(2, longer), 201)
        shorter = {"number": 3, "previous": sha256(longer).hex()}
        less = changed(self.good[1], version=2, **shorter, custody=extent(1, b"one"))
        self.assertEqual(running.put(3, less), 409)

    def test_it_goes_on_after_a_restart(self) -> None:
        running = Running(self.root)
        self.assertEqual([running.put(number, self.good[number]) for number in (0, 1)], [201, 201])
        with self.assertRaisesRegex(witness.Unusable, "another witness's"):
            witness.Folder(str(self.root / "kept"), str(running.keys))
        running.stop()
        (self.root / "kept/checkpoint" / f"{2:020}.json.new").write_bytes(b"{")
        again = self.start()
        self.assertEqual(again.put(2, changed(self.good[2], previous=sha256(b"other").hex())), 409)
        self.assertEqual(again.put(2, self.good[2]), 201)
        self.assertEqual(self.kept(), self.good)

    def test_a_folder_that_somebody_was_at_is_not_used(self) -> None:
        running = Running(self.root)
        for number in range(3):
            running.put(number, self.good[number])
        running.stop()
        folder = self.root / "kept/checkpoint"
        last = folder / f"{2:020}.json"
        for spoil in (
            lambda: (folder / f"{1:020}.json").rename(folder / "aside"),
            lambda: last.write_bytes(self.good[1]),
            lambda: last.write_bytes(self.good[2][:-1]),
            lambda: (folder / "note.txt").write_text("hello"),
        ):
            before = {path: path.read_bytes() for path in folder.iterdir()}
            spoil()
            with self.assertRaises(witness.Unusable):
                witness.Folder(str(self.root / "kept"), str(self.root / "keys.txt"))
            for path in folder.iterdir():
                path.unlink()
            for path, raw in before.items():
                path.write_bytes(raw)

    def test_a_new_key_counts_without_a_restart(self) -> None:
        running = self.start()
        running.keys.write_text(KEYS.replace(f"checkpoints  gate-1  {RENEWED.public}", ""))
        self.assertEqual([running.put(number, self.good[number]) for number in (0, 1)], [201, 403])
        running.keys.write_text("checkpoints\n")
        self.assertEqual(running.put(1, self.good[1]), 503)
        running.keys.write_text(KEYS)
        self.assertEqual(running.put(1, self.good[1]), 201)

    def test_what_cannot_be_synced_is_not_acknowledged(self) -> None:
        running = self.start()
        for name in ("fsync", "link"):
            with mock.patch.object(witness.os, name, side_effect=OSError(28, "No space left on device")):
                self.assertEqual(running.put(0, self.good[0]), 503)
            self.assertEqual(running.ask("GET", "/checkpoint")[0], 404)
        # it was linked, and the folder was not synced
        with mock.patch.object(witness, "sync", side_effect=OSError(5, "Input/output error")):
            self.assertEqual(running.put(0, self.good[0]), 503)
        self.assertEqual(running.ask("GET", "/checkpoint")[0], 404)
        self.assertEqual(running.put(0, self.good[0]), 201)
        self.assertEqual(self.kept(), self.good[:1])

    def test_of_many_that_put_at_once_one_takes(self) -> None:
        running = self.start()
        rivals = [changed(self.good[0], NOTARY, time=number) for number in range(12)]
        told: list[int] = []
        threads = [threading.Thread(target=lambda raw=raw: told.append(running.put(0, raw))) for raw in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(told), [201] + [409] * 11)
        self.assertEqual(len(self.kept()), 1)


class Refuses(Case):
    def test_another_of_a_number_and_what_does_not_lead_on(self) -> None:
        running = self.start()
        zero, one, two = self.good
        self.assertEqual(running.put(1, one), 409, "the first one is to come")
        self.assertEqual(running.put(0, changed(zero, NOTARY, previous=sha256(b"x").hex())), 409)
        self.assertEqual(running.put(0, zero), 201)
        self.assertEqual(running.put(0, changed(zero, NOTARY, time=1)), 409)
        self.assertEqual(running.put(2, two), 409, "one was left out")
        self.assertEqual(running.put(1, changed(one, previous=None)), 409)
        self.assertEqual(running.put(1, changed(one, previous=sha256(b"x").hex())), 409)
        self.assertEqual(running.put(1, changed(one, partitions=[])), 409, "a partition is missing")
        self.assertEqual(running.put(1, one), 201)
        self.assertEqual(self.kept(), [zero, one])

    def test_what_is_no_checkpoint_or_signed_by_nobody_who_counts(self) -> None:
        running = self.start()
        zero = self.good[0]
        for number in range(0, len(zero), 7):
            spoilt = zero[:number] + bytes([zero[number] ^ 1]) + zero[number + 1 :]
            self.assertIn(running.put(0, spoilt), (400, 403, 409), f"byte {number}")
        for raw in (b"", b"{}", b"[" * 100_000, zero + b"\n", b" " + zero, zero.decode().encode("utf-16"), b"null"):
            self.assertEqual(running.put(0, raw), 400, raw[:20])
        self.assertEqual(running.put(0, changed(zero, STRANGER)), 403)
        self.assertEqual(running.put(0, changed(zero, NOTARY, node="gate-2")), 403)
        self.assertEqual(running.put(1, zero), 400, "it says another number")
        self.assertEqual(self.kept(), [])

    def test_a_key_after_its_end(self) -> None:
        running = self.start()
        running.put(0, self.good[0])
        self.assertEqual(running.put(1, changed(self.good[1], NOTARY)), 403, "until=0")

    def test_requests_of_other_forms(self) -> None:
        running = self.start()
        zero = self.good[0]
        for path in ("/", "/checkpoint/", "/checkpoint/00", "/checkpoint/-1", "/checkpoint/1x", "/checkpoint/../0", "/x"):
            self.assertEqual(running.ask("GET", path)[0], 404, path)
            self.assertEqual(running.ask("PUT", path, zero)[0], 404, path)
        self.assertEqual(running.put(0, zero, content_type="application/json"), 415)
        self.assertEqual(running.ask("PUT", "/checkpoint/0", zero, content_length="x")[0], 411)
        self.assertEqual(running.ask("PUT", "/checkpoint/0", b"", content_length=str(1 << 30))[0], 413)
        for method in ("POST", "DELETE", "PATCH"):
            self.assertEqual(running.ask(method, "/checkpoint/0", zero)[0], 501)
        self.assertEqual(running.ask("GET", "/healthz"), (200, b"ok\n"))

    def test_who_has_not_the_token(self) -> None:
        token = self.root / "token"
        token.write_text("a-token-of-some-length\n")
        running = self.start(token=str(token))
        large = b"x" * (4 << 20)
        for given in ({}, {"authorization": "Bearer x"}, {"authorization": "a-token-of-some-length"}):
            self.assertEqual(running.put(0, self.good[0], **given), 401)
            self.assertEqual(running.put(0, large, **given), 401, "it is told, however much was sent")
            self.assertEqual(running.ask("GET", "/checkpoint", **given)[0], 401)
        self.assertEqual(running.ask("GET", "/healthz")[0], 200)
        self.assertEqual(running.put(0, self.good[0], authorization="Bearer a-token-of-some-length"), 201)
        token.write_text("another-token-of-length")
        self.assertEqual(running.put(0, self.good[0], authorization="Bearer a-token-of-some-length"), 401)
        token.write_text("short")
        self.assertEqual(running.put(0, self.good[0], authorization="Bearer short"), 503)

    def test_who_is_slow_or_one_too_many(self) -> None:
        with mock.patch.object(witness, "MAX_SECONDS", 0.5), mock.patch.object(witness, "MAX_CONNECTIONS", 2):
            running = self.start()
            begun = time.monotonic()
            slow = socket.create_connection(("127.0.0.1", running.server.server_port))
            slow.sendall(b"PUT /checkpoint/0 HTTP/1.1\r\ncontent-length: 1000\r\ncontent-type: " + TYPE.encode() + b"\r\n\r\n")
            idle = socket.create_connection(("127.0.0.1", running.server.server_port))
            self.assertEqual(self.until_closed(running, "a third one"), b"", "there is no room")
            slow.settimeout(5)
            try:
                while time.monotonic() - begun < 5:  # a byte now and then holds no place for ever
                    slow.sendall(b"x")
                    time.sleep(0.1)
            except OSError:
                pass
            self.assertLess(time.monotonic() - begun, 4)
            idle.settimeout(5)
            self.assertEqual(idle.recv(1), b"")
            slow.close(), idle.close()
            deadline = time.monotonic() + 5
            while running.server.room._value < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertEqual(running.put(0, self.good[0]), 201, "there is room again")

    def until_closed(self, running: Running, words: str) -> bytes:
        deadline = time.monotonic() + 5
        while running.server.room._value > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", running.server.server_port)) as third:
            third.settimeout(5)
            try:
                return third.recv(100)
            except ConnectionResetError:
                return b""


class Speaks(Case):
    def test_tls(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        made = made.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.root / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (self.root / "key.pem").write_bytes(key.private_bytes(*form))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.root / "cert.pem", self.root / "key.pem")
        with mock.patch.object(witness, "MAX_SECONDS", 0.5):
            running = self.start(tls=tls)
            silent = socket.create_connection(("127.0.0.1", running.server.server_port))
            trusted = ssl.create_default_context(cafile=str(self.root / "cert.pem"))
            asked = http.client.HTTPSConnection("localhost", running.server.server_port, context=trusted, timeout=10)
            asked.request("PUT", "/checkpoint/0", self.good[0], {"content-type": TYPE})
            self.assertEqual(asked.getresponse().status, 201)
            asked.close()
            silent.settimeout(5)
            self.assertEqual(silent.recv(1), b"", "a handshake that never comes is not waited for")
            silent.close()

    def test_to_this_machine_alone_without_tls(self) -> None:
        (self.root / "keys.txt").write_text(KEYS)
        arguments = [str(self.root / "kept"), "--keys", str(self.root / "keys.txt"), "--listen"]
        with mock.patch("sys.stderr"):
            for listen in ("0.0.0.0:0", "[::]:0", "10.0.0.1:80", "127.0.0.1", "here:80", "127.0.0.1:99999"):
                self.assertEqual(witness.main([*arguments, listen]), 2, listen)
            self.assertEqual(witness.main([*arguments[:2], str(self.root / "none"), "--listen", "127.0.0.1:0"]), 2)
            (self.root / "keys.txt").write_text(f"batches gate-1 {NOTARY.public}\n")
            self.assertEqual(witness.main([*arguments, "127.0.0.1:0"]), 2, "no line of checkpoints")


if __name__ == "__main__":
    unittest.main()
