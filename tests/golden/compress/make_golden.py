#!/usr/bin/env python3
"""Writes the golden payloads beside it, from docs/codecs.md alone: a second implementation.

A file holds, for one codec, the payload, then the decoded float32 values, then the new residual. Committed files never
change; a new version of a payload is a new codec.
"""
import math
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
SCALE_DENOMINATOR = 3
LARGEST_FLOAT = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
LARGEST_BF16 = struct.unpack("<f", b"\0\0\x7f\x7f")[0]
QUIET_NAN_BF16 = 0x7FC0


def f32(x):
    """Rounds to float32. Sums, products, quotients and roots of float32 values are right after this, since double has
    more than twice the digits."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def clamp(x, largest):
    return max(-largest, min(x, largest))


def bits_of(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def bf16(x):
    """The 16 bits of a finite float32 or infinity, to nearest even."""
    bits = bits_of(x)
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def inputs(count, poisoned):
    """Values and residuals of many sizes, zeros of both signs and denormals among them, and one infinity."""
    state = 1

    def draw():
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2**32
        mantissa = (state >> 8) - 2**23
        state = (state * 1664525 + 1013904223) % 2**32
        return math.ldexp(mantissa, (state >> 24) % 24 - 34)

    values, residuals = [], []
    for i in range(count):
        values.append(draw())
        residuals.append(draw())
        if i % 37 == 0:
            values[i], residuals[i] = -0.0, 0.0 if i % 2 else -0.0
        if i % 41 == 0:
            values[i], residuals[i] = math.ldexp(i - 20, -149), 0.0
    values[poisoned] = math.inf
    return values, residuals


def canonical_sum(terms, block):
    width = min(block, 128)
    accumulators = [0.0] * width
    for i, term in enumerate(terms):
        accumulators[i % width] = f32(accumulators[i % width] + term)
    while width > 1:
        width //= 2
        for j in range(width):
            accumulators[j] = f32(accumulators[j] + accumulators[j + width])
    return accumulators[0]


def onebit_block(v, residual, block, mode, scale, inverse):
    ones = [x >= 0 for x in v]

    def stored(mean):
        return bf16(clamp(f32(mean * scale), LARGEST_BF16))

    if mode == "two-level":
        sums = [canonical_sum([x if one == side else 0.0 for x, one in zip(v, ones)], block) for side in (False, True)]
        counts = [ones.count(False), ones.count(True)]
        scales = [stored(f32(s / n)) if n and math.isfinite(s) else 0 for s, n in zip(sums, counts)]
    else:
        sums = [canonical_sum([abs(x) if mode == "l1" else f32(x * x) for x in v], block)]
        mean = f32(sums[0] / len(v))
        scales = [stored(f32(math.sqrt(mean)) if mode == "l2" else mean) if math.isfinite(mean) else 0]
    finite = all(math.isfinite(s) for s in sums)
    if not finite:
        scales = [QUIET_NAN_BF16] * len(scales)
    lower, upper = (scales[0] << 16, scales[-1] << 16)
    if mode != "two-level":
        lower = upper ^ 0x80000000
    payload = struct.pack(f"<{len(scales)}H", *scales)
    packed = bytearray((len(v) + 7) // 8)
    for i, one in enumerate(ones):
        packed[i // 8] |= one << (i % 8)
    decoded = [upper if one else lower for one in ones]
    if finite:
        lost = [f32(x - clamp(f32(float_of(d) * inverse), LARGEST_FLOAT)) for x, d in zip(v, decoded)]
    else:
        lost = residual
    return payload + packed, decoded, lost


def onebit(v, residual, block, mode, scale, inverse):
    payload, decoded, lost = b"", [], []
    for first in range(0, len(v), block):
        part = slice(first, first + block)
        one = onebit_block(v[part], residual[part], block, mode, scale, inverse)
        payload, decoded, lost = payload + one[0], decoded + one[1], lost + one[2]
    return payload, decoded, lost


def half(v, residual, form, scale, inverse):
    def encode(x):
        if form == "bf16":
            return bf16(clamp(f32(x * scale), LARGEST_BF16)) if math.isfinite(x) else bf16(x)
        y = clamp(f32(x * scale), 65504.0) if math.isfinite(x) else x
        return struct.unpack("<H", struct.pack("<e", y))[0]

    def widen(h):
        return float_of(h << 16) if form == "bf16" else struct.unpack("<e", struct.pack("<H", h))[0]

    halves = [encode(x) for x in v]
    decoded = [widen(h) for h in halves]
    lost = [f32(x - clamp(f32(d * inverse), LARGEST_FLOAT)) if math.isfinite(x) else r
            for x, d, r in zip(v, decoded, residual)]
    return struct.pack(f"<{len(v)}H", *halves), [bits_of(d) for d in decoded], lost


def none(v, scale):
    sent = [f32(x * scale) for x in v]
    return struct.pack(f"<{len(v)}f", *sent), [bits_of(x) for x in sent], [0.0] * len(v)


def golden(name, block, mode):
    count = block + 44
    values, residual = inputs(count, block + 30)
    v = [f32(a + b) for a, b in zip(values, residual)]
    scale = f32(1 / SCALE_DENOMINATOR)
    inverse = f32(1 / scale)
    if name == "none":
        payload, decoded, lost = none(v, scale)
    elif name == "onebit":
        payload, decoded, lost = onebit(v, residual, block, mode, scale, inverse)
    else:
        payload, decoded, lost = half(v, residual, name, scale, inverse)
    return payload + struct.pack(f"<{count}I", *decoded) + struct.pack(f"<{count}f", *lost)


CODECS = {
    "none": ("none", 256, ""),
    "fp16": ("fp16", 256, ""),
    "bf16": ("bf16", 256, ""),
    "onebit": ("onebit", 256, "two-level"),
    "onebit-scale-l1": ("onebit", 256, "l1"),
    "onebit-scale-l2": ("onebit", 256, "l2"),
    "onebit-block-16": ("onebit", 16, "two-level"),
    "onebit-block-32-scale-l1": ("onebit", 32, "l1"),
    "onebit-block-64": ("onebit", 64, "two-level"),
    "onebit-block-128-scale-l2": ("onebit", 128, "l2"),
    "onebit-block-512": ("onebit", 512, "two-level"),
    "onebit-block-1024-scale-l2": ("onebit", 1024, "l2"),
}

if __name__ == "__main__":
    for file, options in CODECS.items():
        (HERE / f"{file}.bin").write_bytes(golden(*options))
