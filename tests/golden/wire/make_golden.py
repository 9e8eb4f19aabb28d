#!/usr/bin/env python3
"""Writes the golden headers and hellos beside it, from docs/wire-format.md alone: a second implementation.

Files named good-* must parse to the values that golden_test.cpp states; files named bad-CODE-* must be refused
with that error code. Committed files never change; a new version of the format adds new ones.
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


def sealed(data):
    return data + struct.pack("<I", crc32c(data))


def header(magic=b"GWF1", version=1, kind=1, codec=3, dtype=0, flags=0, layer=5, communicator=0x01020304,
           order_hash=0x1122334455667788, operation=42, chunk=7, segment=9, sender=2, count=1024,
           payload_bytes=144, payload_crc=0, reserved=b"\0" * 8):
    return sealed(magic + struct.pack("<BBBBHHIQIIIIIII", version, kind, codec, dtype, flags, layer, communicator,
                                      order_hash, operation, chunk, segment, sender, count, payload_bytes,
                                      payload_crc) + reserved)


def hello(magic=b"GWH1", version=1, reserved=0, job=b"mnist-17", communicator=3, world_size=4, rank=2, peer=1,
          connection=1, connections=3, padding=0, token=0xDEADBEEFCAFEF00D, layout=0, job_bytes=None):
    return sealed(magic + struct.pack("<BBHIIIIHHIQQ", version, reserved,
                                      len(job) if job_bytes is None else job_bytes, communicator, world_size, rank,
                                      peer, connection, connections, padding, token, layout) + job)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]


FILES = {
    "good-header-data": header(),
    "good-header-largest": header(payload_bytes=65536, flags=3, payload_crc=0xFFFFFFFF, layer=65535, dtype=2),
    "good-header-abort": header(kind=2, chunk=3, segment=40, payload_bytes=0, count=0),
    "good-header-goodbye": header(kind=3, payload_bytes=0, count=0),
    "good-header-message": header(kind=4, codec=0, chunk=0, segment=0, count=0, payload_bytes=21),
    "bad-corrupt_frame-header-magic": header(magic=b"GWF2"),
    "bad-corrupt_frame-header-kind-0": header(kind=0),
    "bad-corrupt_frame-header-kind-5": header(kind=5),
    "bad-corrupt_frame-header-dtype": header(dtype=3),
    "bad-corrupt_frame-header-flag": header(flags=4),
    "bad-corrupt_frame-header-too-large": header(payload_bytes=65537),
    "bad-corrupt_frame-header-unannounced-crc": header(payload_crc=1),
    "bad-corrupt_frame-header-reserved": header(reserved=b"\0" * 7 + b"\1"),
    "bad-corrupt_frame-header-goodbye-payload": header(kind=3, payload_bytes=4),
    "bad-corrupt_frame-header-checksum": flipped(header(), 60),
    "bad-corrupt_frame-header-damaged": flipped(header(), 20),
    "bad-corrupt_frame-header-version-damaged": flipped(header(), 4),
    "bad-version_mismatch-header": header(version=2),
    "good-hello": hello(),
    "good-hello-no-job": hello(job=b""),
    "good-hello-longest-job": hello(job=b"j" * 255),
    "bad-corrupt_frame-hello-magic": hello(magic=b"GET "),
    "bad-corrupt_frame-hello-reserved": hello(reserved=1),
    "bad-corrupt_frame-hello-padding": hello(padding=1),
    "bad-corrupt_frame-hello-job-too-long": hello(job=b"j" * 256),
    "bad-corrupt_frame-hello-length": hello(job_bytes=9),
    "bad-corrupt_frame-hello-checksum": flipped(hello(), len(hello()) - 1),
    "bad-corrupt_frame-hello-damaged": flipped(hello(), 12),
    "bad-corrupt_frame-hello-trailing": hello() + b"\0",
    "bad-corrupt_frame-hello-short": hello()[:-1],
    "bad-corrupt_frame-hello-empty": b"",
    "bad-version_mismatch-hello": hello(version=2),
}

if __name__ == "__main__":
    for name, data in FILES.items():
        (HERE / (name + ".bin")).write_bytes(data)
