#!/usr/bin/env python3
"""Writes the seeds beside it: for each fuzz target a few inputs that its parser accepts, for others to be made from.

Headers, hellos, a server's messages and its snapshot come from the golden ones. To cover a new field of a format, add a seed that has it.
"""
import gzip
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent.parent / "golden"


def seed(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.bin").write_bytes(data)


def golden(name):
    return (GOLDEN / "wire" / f"{name}.bin").read_bytes()


def headers():
    for name in ("data", "largest", "goodbye", "abort"):
        seed("header", name, golden(f"good-header-{name}"))
    for name in ("hello", "hello-no-job", "hello-longest-job"):
        seed("hello", name, golden(f"good-{name}"))


def frames():
    seal, data = 1, 2
    payload = bytes(range(144))
    stream = (golden("good-header-data") + payload) * 2 + golden("good-header-goodbye")
    for piece in (1, 7, 64):
        seed("frame", f"data-in-pieces-of-{piece}", bytes([(piece - 1) << 2 | data | seal]) + stream)
    seed("frame", "goodbye", bytes([63 << 2]) + golden("good-header-goodbye"))
    seed("frame", "abort", bytes([63 << 2 | seal]) + golden("good-header-abort"))


def ucx_envelopes():
    def envelope(kind, number, taken, end):
        return struct.pack("<IIQQQQQ", kind, 1, 0x1122334455667788, 0x8877665544332211, number, taken, end)

    seed("ucx_envelope", "hello", envelope(1, 0, 0, 0))
    seed("ucx_envelope", "frame", envelope(2, 7, 3, 0) + golden("good-header-data"))
    seed("ucx_envelope", "credit", envelope(3, 0, 12, 0))
    seed("ucx_envelope", "goodbye", envelope(4, 20, 20, 1))
    seed("ucx_envelope", "abort", envelope(4, 20, 20, 2 | 70 << 8 | 3 << 32))
    seed("ucx_envelope", "heard", envelope(5, 0, 0, 0))


def store_messages():
    seed("store_message", "hello", b"GWS1" + struct.pack("<BIQH", 1, 3, 0x1122334455667788, 5) + b"a job")
    seed("store_message", "answer", b"GWS1" + struct.pack("<BB", 1, 0))
    for verb, name, value in ((1, "set", b"some value"), (2, "get", b"")):
        request = struct.pack("<BIIQ", verb, 3, len(value), 60_000) + b"key" + value
        seed("store_message", name, request + request)
    seed("store_message", "reply", struct.pack("<BI", 1, 5) + b"value")


def servers():
    for file in sorted((GOLDEN / "server").glob("good-*.bin")):
        seed("server_message", file.stem.removeprefix("good-"), file.read_bytes())
    seed("snapshot", "whole", (GOLDEN / "server/snapshot-good.bin").read_bytes())


def codec_payloads():
    """A codec's place in the target's list, the count, and 2 for a payload that is made to fit."""
    for codec in range(8):
        for count in (1, 300):
            for flags in (2, 3):
                payload = bytes((7 * i + codec) % 64 for i in range(200))
                seed("codec_payload", f"{codec}-{count}-{flags}",
                     bytes([codec, count % 256, count // 256, flags]) + payload)


def idx_files():
    images = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 4) + bytes(range(24))
    seed("idx", "images", images)
    seed("idx", "labels", bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes(range(5)))
    seed("idx", "images-gz", gzip.compress(images, mtime=0))


def checkpoints():
    about = {"data": "mnist", "widths": [4, 3, 2], "rank": 0, "ranks": 2, "batch": 8, "seed": 1, "step": 5,
             "seconds": 1.5, "loss_sum": 2.5, "loss_samples": 16}
    text = json.dumps(about).encode()
    arenas = struct.pack("<8f", *range(8))
    whole = b"GWTRAIN\n" + struct.pack("<IIQQ", 1, len(text), 4, 8) + text + arenas + b"residual"
    seed("checkpoint", "whole", whole + struct.pack("<I", zlib.crc32(whole)))
    # The target puts the preamble before, the checksum behind, and these in order.
    seed("checkpoint", "parts", arenas + b"residual" + text)


if __name__ == "__main__":
    headers()
    frames()
    ucx_envelopes()
    store_messages()
    servers()
    codec_payloads()
    idx_files()
    checkpoints()
