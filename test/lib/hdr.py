"""Reads HdrHistogram's V2 compressed encoding (https://github.com/HdrHistogram), written from its description."""
import base64
import struct
import zlib


def _zigzags(data):
    at = 0
    while at < len(data):
        value = 0
        for i in range(9):
            byte = data[at]
            at += 1
            value |= (byte & 0x7F if i < 8 else byte) << (7 * i)
            if i == 8 or not byte & 0x80:
                break
        yield (value >> 1) ^ -(value & 1)


def decode(text):
    """[(highest value of the bucket, count)], in order."""
    packed = base64.b64decode(text, validate=True)
    cookie, length = struct.unpack(">II", packed[:8])
    assert cookie == 0x1C849314 and length == len(packed) - 8
    raw = zlib.decompress(packed[8:])
    cookie, length, offset, digits, lowest, highest, ratio = struct.unpack(">IIIIQQd", raw[:40])
    assert (cookie & ~0xF0 | 0x10) == 0x1C849313 and length == len(raw) - 40
    assert (offset, digits, lowest, highest, ratio) == (0, 3, 1, 3600 * 10**9, 1.0)
    half = 1024  # 2 * 10^3 rounded up to a power of two, halved
    counts, index = [], 0
    for value in _zigzags(raw[40:]):
        if value < 0:
            index -= value
            continue
        bucket = max(index // half - 1, 0)
        sub = index - bucket * half
        counts.append((((sub + 1) << bucket) - 1, value))
        index += 1
    return counts


def above(counts, limit):
    """How many were more than limit for sure."""
    return sum(n for value, n in counts if value > limit * 1.001)
