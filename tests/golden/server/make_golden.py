#!/usr/bin/env python3
"""Writes the golden heads of messages and the golden snapshots beside it, from docs/wire-format.md alone.

A second implementation. Files named good-* must parse to the values that the tests state and be written to the same bytes; files named
bad-* must be refused as corrupt_frame, request and answer alike.
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def text(value, size=None):
    return struct.pack("<H", len(value) if size is None else size) + value


def join(session=0x1122334455667788, worker=3, workers=4, server=1, servers=2, mode=1, staleness=3,
         push_codec=b"onebit:block=512", pull_codec=b"bf16", settings=b"batch: 64\nseed: 1\n"):
    return struct.pack("<BQIIIIBI", 1, session, worker, workers, server, servers, mode,
                       staleness) + text(push_codec) + text(pull_codec) + text(settings)


def make_key(request=9, key=b"layer/weights", optimizer=b"momentum:lr=0.1,mu=0.9", total=100000, first=50176,
             count=49824, key_size=None):
    return struct.pack("<BQ", 2, request) + text(key, key_size) + text(optimizer) + struct.pack("<QQQ", total, first, count)


def push(sequence=0x0102030405060708):
    return struct.pack("<BQIQ", 3, sequence, 17, 42)


def pulled(request, version, sealed, whole):
    return struct.pack("<BQQQIB", 68, request, version, 40, sealed, whole)


def refused(verb=3, code=40, happened=b"the lease of worker 3 is over", advice=b"join again"):
    return struct.pack("<BBQI", 69, verb, 12, code) + text(happened) + text(advice)


def snapshot(version=1, server=3, clock=1200, incarnation=0xDEADBEEFCAFEF00D, data=bytes(range(100)), crc=None):
    head = b"GWSERVER" + struct.pack("<IIQQQI", version, server, clock, incarnation, len(data),
                                     crc32c(data) if crc is None else crc)
    return head + struct.pack("<I", crc32c(head)) + data


FILES = {
    "good-join": join(),
    "good-make-key": make_key(),
    "good-make-key-longest": make_key(request=2**64 - 1, key=b"k" * 255, optimizer=b"o" * 255, total=2**40, first=0,
                                      count=2**40),
    "good-push": push(),
    "good-pull": struct.pack("<BQIQQQ", 4, 10, 17, 43, 0xDEADBEEFCAFEF00D, 41),
    "good-advance": struct.pack("<BQ", 5, 43),
    "good-beat": b"\6",
    "good-leave": b"\7",
    "good-joined": struct.pack("<BQQQIIQ", 65, 0xDEADBEEFCAFEF00D, 42, 7, 10000, 19, 0xBADC0FFEE),
    "good-key-made": struct.pack("<BQIQQ", 66, 9, 17, 5, 49824),
    "good-accepted": struct.pack("<BQ", 67, 0x0102030405060708),
    "good-pulled-sealed": pulled(10, 43, 2, 0),
    "good-pulled-whole": pulled(11, 43, 0, 1),
    "good-refused": refused(),
    "bad-empty": b"",
    "bad-verb-0": b"\0",
    "bad-verb-8": b"\x08",
    "bad-verb-70": b"\x46",
    "bad-join-no-workers": join(workers=0),
    "bad-join-server": join(server=2),
    "bad-join-mode": join(mode=3),
    "bad-join-staleness": join(mode=2),
    "bad-join-empty-codec": join(pull_codec=b""),
    "bad-join-long-codec": join(push_codec=b"c" * 256),
    "bad-join-long-settings": join(settings=b"s" * 1001),
    "bad-make-key-empty": make_key(key=b""),
    "bad-make-key-long": make_key(key=b"k" * 256),
    "bad-make-key-length": make_key(key_size=60000),
    "bad-make-key-too-large": make_key(total=2**40 + 1),
    "bad-make-key-outside": make_key(first=50177),
    "bad-make-key-wraps": make_key(first=100000, count=2**64 - 100000),
    "bad-push-sequence": push(sequence=0),
    "bad-push-trailing": push() + b"\0",
    "bad-push-short": push()[:-1],
    "bad-key-made-too-large": struct.pack("<BQIQQ", 66, 9, 17, 5, 2**40 + 1),
    "bad-pulled-both": pulled(10, 43, 1, 1),
    "bad-pulled-flag": pulled(10, 43, 0, 2),
    "bad-refused-verb": refused(verb=67),
    "bad-refused-code": refused(code=41),
    "bad-refused-long": refused(happened=b"h" * 1001),
    "snapshot-good": snapshot(),
    "snapshot-other-version": snapshot(version=2),
    "snapshot-damaged": snapshot(crc=0),
}

if __name__ == "__main__":
    for name, data in FILES.items():
        (HERE / (name + ".bin")).write_bytes(data)
