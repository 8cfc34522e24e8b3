"""Is this a tune? A strict reader of the part of ABC notation 2.1 in which tunes of one voice are written.

It knows the header, notes, rests, chords, bars, repeats, endings, tuplets, slurs, ties, broken rhythm,
grace notes, decorations, annotations and fields within the tune; it knows no macros, no voices and no
lyrics. Of what has gone out of use it takes the `!` at the end of a line, a forced line break.

https://abcnotation.com/wiki/abc:standard:v2.1
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"([A-Za-z]):(.*)")
_MODES = "major|minor|maj|min|m|ionian|dorian|phrygian|lydian|mixolydian|aeolian|locrian|ion|dor|phr|lyd|mix|aeo|loc"
# What a field must hold; of all others anything will do.
_VALUES = {
    "X": re.compile(r"\d+"),
    "T": re.compile(r".+"),
    "M": re.compile(r"C\|?|none|(\d+|\(\d+(\+\d+)+\)|\d+(\+\d+)+)/\d+"),
    "L": re.compile(r"1(/\d+)?"),
    "K": re.compile(rf"none|H[Pp]|[A-G][#b]?\s*(?i:{_MODES})?"),
}
_HEADER = frozenset("ABCDFGHIKLMNOPQRSTUXZmr")
_BODY = frozenset("IKLMNPQRTUmr")  # may change within the tune

_LENGTH = r"\d*(?:/+\d*)?"
_NOTE = rf"(?:\^{{1,2}}|_{{1,2}}|=)?[A-Ga-g][,']*{_LENGTH}"
_MUSIC = re.compile(
    "|".join(
        f"(?P<{name}>{pattern})"
        for name, pattern in {
            "note": _NOTE,
            "rest": rf"[xz]{_LENGTH}|[XZ]\d*",
            "field": r"\[[A-Za-z]:[^\]]*\]",
            "chord": rf"\[(?:{_NOTE})+\]{_LENGTH}",
            "ending": r"\[\d(?:[,-]\d)*",
            "bar": r"(?:\[\||:*\|+|:{2,})\]?:*(?:\[?\d(?:[,-]\d)*)?",
            "tuplet": r"\([2-9](?::\d?){0,2}",
            "slur": r"\(",
            "slur_end": r"\)",
            "tie": r"-",
            "broken": r">{1,3}|<{1,3}",
            "grace": rf"\{{/?(?:{_NOTE})+\}}",
            "line_break": r"!$",
            "decoration": r"![a-zA-Z0-9.+<>()]+!|[.~HLMOPSTuv]",
            "annotation": r'"[^"]*"',
            "space": r"[ \t]+|\\$|`",
        }.items()
    )
)
_SOUNDING = ("note", "chord")
_AFTER_SOUND = ("tie", "broken")  # mean nothing but after a note


@dataclass(frozen=True)
class Tune:
    """What was read: the first line of its title, its key, and how much there is of it."""

    title: str
    key: str
    notes: int
    bars: int


class NotATune(ValueError):
    """The text is no tune in ABC notation; says where and why."""


def parse_tune(text: str) -> Tune:
    """Read one tune from `X:` to its last bar.

    Raises:
        NotATune: a header without X:, T: and K:, in another order, a field or a line of music that cannot
            be read, or no music at all.
    """
    lines = text.strip("\n").split("\n")
    header = _read_header(lines)
    body = _Body()
    for number, line in enumerate(lines[len(header) :], len(header) + 1):
        body.read(_without_comment(line), number)
    body.end()
    fields = dict(reversed(header))
    return Tune(fields["T"], fields["K"], body.notes, body.bars)


def _read_header(lines: list[str]) -> list[tuple[str, str]]:
    """The fields up to the key, which ends the header."""
    fields: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        found = _FIELD.fullmatch(_without_comment(line))
        if found is None:
            raise NotATune(f"line {number} stands before K:, but is no field: {line!r}")
        name, value = found[1], found[2].strip()
        _check_field(name, value, number, _HEADER)
        fields.append((name, value))
        if name == "K":
            break
    names = [name for name, _ in fields]
    for name in "XTK":
        if name not in names:
            raise NotATune(f"the header has no {name}:")
    if names[0] != "X" or names.count("X") > 1:
        raise NotATune("a tune begins with X:, and has one only")
    return fields


def _check_field(name: str, value: str, line: int, allowed: frozenset[str]) -> None:
    if name not in allowed:
        raise NotATune(f"line {line} has a field {name}:, which cannot stand there")
    if name in _VALUES and not _VALUES[name].fullmatch(value):
        raise NotATune(f"line {line} has {name}:{value}, which means nothing")


def _without_comment(line: str) -> str:
    return line.partition("%")[0].rstrip()


class _Body:
    """The music, read line by line: what is open, and what came last."""

    def __init__(self) -> None:
        self.notes = self.bars = 0
        self._slurs = 0
        self._before = ""  # the kind of what was read last, spaces aside
        self._owed = False  # a tuplet or a broken rhythm wants a note

    def read(self, line: str, number: int) -> None:
        """One line: a field, or music."""
        if found := _FIELD.fullmatch(line):
            return _check_field(found[1], found[2].strip(), number, _BODY)
        place = 0
        while place < len(line):
            token = _MUSIC.match(line, place)
            if token is None or token.lastgroup is None:
                raise NotATune(
                    f"line {number}, column {place + 1}: {line[place : place + 8]!r} is no music"
                )
            self._take(token.lastgroup, token.group(), f"line {number}, column {place + 1}")
            place = token.end()

    def end(self) -> None:
        """The tune is over."""
        if not self.notes or not self.bars:
            raise NotATune(f"it has {self.notes} notes and {self.bars} bar lines")
        if self._slurs:
            raise NotATune("a slur is never closed")
        if self._owed:
            raise NotATune("it ends in the middle of a group of notes")

    def _take(self, kind: str, token: str, where: str) -> None:
        if kind == "field":
            _check_field(token[1], token[3:-1].strip(), int(where.split()[1][:-1]), _BODY)
        elif kind in _AFTER_SOUND and self._before not in (*_SOUNDING, "rest", "slur_end"):
            raise NotATune(f"{where}: {token!r} follows no note")
        elif kind in ("bar", "ending") and self._owed:
            raise NotATune(f"{where}: {token!r} where a note should be")
        self._count(kind)
        if self._slurs < 0:
            raise NotATune(f"{where}: a slur is closed that was never opened")
        if kind != "space":
            self._before = kind

    def _count(self, kind: str) -> None:
        self.notes += kind in _SOUNDING
        self.bars += kind == "bar"
        self._slurs += (kind == "slur") - (kind == "slur_end")
        if kind in ("tuplet", "broken"):
            self._owed = True
        elif kind in (*_SOUNDING, "rest"):
            self._owed = False
