"""Writes a small MaxMind database: {"127.0.0.0/8": {"location": {"latitude": 52.5, "longitude": 13.4}}}.

The format (MaxMind DB File Format Specification 2.0): a binary tree over the bits of an IPv6 address (IPv4 at
::/96), 16 zero bytes, the data that its leaves point to, a marker and a map about the whole.
"""
import ipaddress
import struct

MARKER = b"\xab\xcd\xefMaxMind.com"
STRING, DOUBLE, UINT16, UINT32, MAP, UINT64, ARRAY = 2, 3, 5, 6, 7, 9, 11


def control(kind, size):
    assert size < 29
    return bytes([kind << 5 | size]) if kind <= 7 else bytes([size, kind - 7])


def number(kind, value):
    text = value.to_bytes(8, "big").lstrip(b"\0")
    return control(kind, len(text)) + text


def encoded(value):
    if isinstance(value, dict):
        return control(MAP, len(value)) + b"".join(encoded(k) + encoded(v) for k, v in value.items())
    if isinstance(value, list):
        return control(ARRAY, len(value)) + b"".join(map(encoded, value))
    if isinstance(value, str):
        text = value.encode()
        return control(STRING, len(text)) + text
    if isinstance(value, float):
        return control(DOUBLE, 8) + struct.pack(">d", value)
    return value  # bytes: encoded already


def bits_of(network):
    network = ipaddress.ip_network(network)
    address, length = int(network.network_address), network.prefixlen + (96 if network.version == 4 else 0)
    return [address >> (127 - i) & 1 for i in range(length)]


def write(path, networks):
    nodes, data, offsets = [[None, None]], b"", []
    for network, value in networks.items():
        at, bits = 0, bits_of(network)
        for bit in bits[:-1]:
            if nodes[at][bit] is None:
                nodes.append([None, None])
                nodes[at][bit] = len(nodes) - 1
            at = nodes[at][bit]
        nodes[at][bits[-1]] = ("data", len(offsets))
        offsets.append(len(data))
        data += encoded(value)

    def record(entry):
        if entry is None:
            entry = len(nodes)
        elif isinstance(entry, tuple):
            entry = len(nodes) + 16 + offsets[entry[1]]
        return entry.to_bytes(3, "big")

    about = {"node_count": number(UINT32, len(nodes)), "record_size": number(UINT16, 24),
             "ip_version": number(UINT16, 6), "database_type": "Test-City", "languages": ["en"],
             "binary_format_major_version": number(UINT16, 2), "binary_format_minor_version": number(UINT16, 0),
             "build_epoch": number(UINT64, 1700000000), "description": {"en": "places for a test"}}
    tree = b"".join(record(left) + record(right) for left, right in nodes)
    path.write_bytes(tree + bytes(16) + data + MARKER + encoded(about))
    return path


def place(latitude, longitude):
    return {"location": {"latitude": float(latitude), "longitude": float(longitude)}}
