"""The cases of http1/*.case for Python; http1/README.md says how they are written."""

import pathlib
import re
from dataclasses import dataclass, field

FOLDER = pathlib.Path(__file__).parent / "http1"
ESCAPE = re.compile(rb"\\(r|n|t|\\|x([0-9a-fA-F]{2}))")
LETTERS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass
class Case:
    file: str
    name: str = ""
    kind: str = ""
    limits: dict = field(default_factory=dict)  # line, head, fields; empty: the usual ones
    input: bytes = b""
    verdict: str = ""  # "ok", a status, "syntax", "limit" or "more"
    facts: list = field(default_factory=list)  # [(key, bytes)] of an "ok"

    def fact(self, key):
        """The first value of that key, None when the case does not say."""
        return next((value for name, value in self.facts if name == key), None)


def unescape(text):
    """bytes of a text with escapes"""
    return ESCAPE.sub(lambda m: bytes([int(m[2], 16)]) if m[2] else LETTERS[m[1]], text.encode("latin-1"))


def set_want(case, text):
    case.verdict, *words = text.split(" ")
    for word in words:
        key, _, value = word.partition("=")
        case.facts.append((key, unescape(value)))


def read_line(case, line):
    key, _, value = line.partition(":")
    value = value.removeprefix(" ")
    if key in ("name", "kind"):
        setattr(case, key, value)
    elif key == "limits":
        case.limits = {name: int(number) for name, number in (word.split("=") for word in value.split())}
    elif key == "want":
        set_want(case, value)
    elif key == "in" or key.startswith("in*"):
        case.input += unescape(value) * int(key[3:] or 1)
    else:
        raise ValueError(f"{case.file}: unknown key {key!r}")


def cases(kind=""):
    """Every case whose kind starts with that: "request", "response", "response HEAD", "chunked"."""
    for path in sorted(FOLDER.glob("*.case")):
        for block in path.read_text(encoding="latin-1").split("\n\n"):
            lines = [line for line in block.split("\n") if line and not line.startswith("#")]
            if not lines:
                continue
            case = Case(file=path.name)
            for line in lines:
                read_line(case, line)
            if case.kind.startswith(kind):
                yield case
