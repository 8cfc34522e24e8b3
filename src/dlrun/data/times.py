"""Times as files write them: a column of cells → numbers that put its rows in order. No torch here.

A format is what `datetime.strptime` takes, and besides `%q` for a quarter, `number` for plain numbers, `epoch`
and `epoch_ms` for seconds and milliseconds since 1970. `%b` is the name of a month, short or long. A format that
ends with the day takes a time of day behind it as well, with a zone or without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice

import numpy as np

Column = Sequence[str | None]
Number = Callable[[str], float | None]

NUMBER = "number"
EPOCHS = {"epoch": (1.0, 1e8, 1e10), "epoch_ms": (1000.0, 1e11, 1e13)}  # per second, from, below
NUMERIC = (NUMBER, *EPOCHS)
# In the order in which one is preferred where several read a column equally well.
_COMPACT = ("%Y%m%d", "%Y%m", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
_COMPACT_T = ("%Y%m%dT%H%M", "%Y%m%dT%H%M%S")
_FORMATS = (
    *_COMPACT_T, "%d.%b.%Y", "%d%b%Y", "%d%b%y",
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%y/%m/%d", "%y-%m-%d", "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y",
    "%d. %b %Y", "%b %d %Y", "%Y-%b-%d", "%Y %b %d", "%d-%b-%y", "%d %b %y", "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y",
    "%b %Y", "%b-%Y", "%b/%Y", "%b.%Y", "%Y-%b", "%Y %b", "%b-%y", "%b %y", "%b/%y", "%b%Y", "%y-%b", "%YM%m", "%Y-M%m",
    "%YQ%q", "%Y-Q%q", "%Y Q%q", "%Y/Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "%G-W%V", "%GW%V", "%G W%V", "%G-W%V-%u",
    "%m.%Y", "%Y.%m", "%d-%b", "%d %b", "%d.%m.", "%d.%m", "%d/%m", "%m/%d",
)  # fmt: skip
# The times of a day alone, of a column that is said to be the time: any other may as well be something else.
CLOCKS = ("%H:%M:%S", "%H:%M")
# English, German, French, Spanish, Italian, Portuguese, Dutch; the beginning of a name counts, from three letters on.
_MONTHS = (
    "january januar janvier enero gennaio janeiro januari jänner",
    "february februar février fevrier febrero febbraio fevereiro februari feber",
    "march märz maerz mars marzo março marco maart mrz mrt",
    "april avril abril aprile",
    "may mai mayo maggio maio mei",
    "june juni juin junio giugno junho",
    "july juli juillet julio luglio julho",
    "august août aout agosto augustus",
    "september septembre septiembre settembre setembro sept",
    "october oktober octobre octubre ottobre outubro",
    "november novembre noviembre novembro",
    "december dezember décembre decembre diciembre dicembre dezembro",
)
_PARTS = {
    "Y": r"(?P<Y>[12]\d{3})", "G": r"(?P<Y>[12]\d{3})", "y": r"(?P<y>\d\d)", "m": r"(?P<m>1[0-2]|0?[1-9])",
    "d": r"(?P<d>3[01]|[12]\d|0?[1-9])", "b": r"(?P<b>[^\W\d_]{3,10})\.?", "q": r"(?P<q>[1-4])",
    "V": r"(?P<V>[0-5]?\d)", "u": r"(?P<u>[1-7])", "H": r"(?P<H>[01]?\d|2[0-4])", "M": r"(?P<M>[0-5]\d)",
    "S": r"(?P<S>[0-5]\d)", "f": r"(?P<f>\d{1,9})", "z": r"(?P<z>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)",
    "I": r"(?P<H>1[0-2]|0?[1-9])", "p": r"(?P<p>[AaPp])\.?[Mm]\.?", "B": r"(?P<b>[^\W\d_]{3,10})",
    "j": r"(?P<j>[0-3]?\d?\d)", "a": r"[^\W\d_]+", "A": r"[^\W\d_]+", "%": "%",
}  # fmt: skip
_CLOCK = (
    r"(?:(?:T| +|, *)(?P<H>[01]?\d|2[0-4]):(?P<M>[0-5]\d)(?::(?P<S>[0-5]\d)(?:[.,](?P<f>\d{1,9}))?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?(?: ?(?P<z>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?"
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[,.]? +)?"
_NAMES = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_ISO = "%Y-%m-%d"
_ISO_CELL = re.compile(r"[12]\d{3}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOKED_AT = 20  # cells, before all are read by what has read these


class NotATime(ValueError):
    """A cell is no time in the format of its column; `row` is where, `format` that of most cells, or None."""

    def __init__(self, row: int, format: str | None) -> None:
        super().__init__(row, format)
        self.row, self.format = row, format


class ZonesMixed(ValueError):
    """Times with a zone and without: `rows` has one of each, that with the zone first."""

    def __init__(self, zoned: int, plain: int) -> None:
        super().__init__(zoned, plain)
        self.rows = (zoned, plain)


@dataclass(frozen=True)
class Times:
    """A column read as times.

    Attributes:
        format: how its cells are written.
        values: (N,) what orders them: the number itself, or seconds since 1970, of a month or week from its first day.
        walls: (N,) the same as clocks on the wall show it, where cells have zones.
        zoned: whether cells have zones.
    """

    format: str
    values: np.ndarray
    walls: np.ndarray
    zoned: bool

    def take(self, rows: np.ndarray) -> Times:
        """Those of these rows."""
        return replace(self, values=self.values[rows], walls=self.walls[rows])

    @property
    def is_number(self) -> bool:
        """Whether these are plain numbers rather than dates."""
        return self.format == NUMBER


def readings(cells: Column, number: Number) -> list[Times]:
    """`cells` read by every format that fits all of them, the likelier ones first.

    Raises:
        ZonesMixed: a date is the only way, but for zones.
    """
    sample = [cell for cell in (*cells[:_LOOKED_AT], *cells[-_LOOKED_AT:]) if cell is not None]
    found: list[Times] = []
    for format in (*_COMPACT, NUMBER, *EPOCHS, *_FORMATS, *CLOCKS):
        if sample and all(one is not None for one in _moments(sample, format, number)):
            try:
                found.append(read_as(cells, format, number))
            except NotATime:
                continue
    return found


def read_as(cells: Column, format: str, number: Number) -> Times:
    """`cells` read by one format.

    Raises:
        NotATime: the first that is none.
        ZonesMixed: some have a zone, some none.
        ValueError: no format.
    """
    if format == NUMBER:
        return _numbers(cells, number)
    if format == _ISO and (found := iso_times(cells)):
        return found
    moments = list(_moments(cells, format, number))
    if not re.search("%[YyG]", format) and None not in (
        common := list(_moments(cells, format, number, year=2001))
    ):
        moments = (
            common  # no 29th of February: the day after the 28th of a common year is none too late
        )
    for row, moment in enumerate(moments):
        if moment is None:
            raise NotATime(row, format)
    whole = [moment for moment in moments if moment is not None]
    walls = np.array([moment.wall for moment in whole])
    zoned = np.array([moment.zone is not None for moment in whole])
    if zoned.any() and not zoned.all():
        raise ZonesMixed(int(zoned.argmax()), int((~zoned).argmax()))
    shift = np.array([moment.zone or 0.0 for moment in whole])
    return Times(format, walls - shift, walls, zoned=bool(zoned.any()))


def iso_times(cells: Column) -> Times | None:
    """Dates as ISO 8601 writes them, without zones, which numpy reads all at once; None for others."""
    if not all(cell is not None and _ISO_CELL.fullmatch(cell) for cell in cells):
        return None
    try:
        seconds = np.array(cells, "datetime64[s]").astype(np.int64).astype(np.float64)
    except ValueError:
        return None
    return Times(_ISO, seconds, seconds, zoned=False)


def likeliest(cells: Column, number: Number, *, share: float = 0.9) -> str | None:
    """The format that reads most of `cells`, if it reads this share of them; None otherwise."""
    counts: dict[str, int] = {}
    present = [cell for cell in cells if cell is not None]
    for format in (*_COMPACT, NUMBER, *_FORMATS, *CLOCKS):
        if any(one is not None for one in _moments(present[:_LOOKED_AT], format, number)):
            counts[format] = sum(one is not None for one in _moments(present, format, number))
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best is not None and counts[best] >= share * len(cells) else None


def reads(cell: str | None, format: str) -> bool:
    """Whether a format of dates reads a cell."""
    return next(_moments([cell], format, lambda _: None)) is not None


def is_format(format: str) -> bool:
    """Whether `format` is one."""
    if format in NUMERIC:
        return True
    try:
        return "%" in format and _pattern(format) is not None
    except (KeyError, re.error):
        return False


def could_be_date(cell: str) -> bool:
    """Whether a cell alone is written like a date rather than a number: a quick look at a column of other things."""
    return any(reads(cell, format) for format in (*_COMPACT, *_FORMATS))


@cache
def dated() -> re.Pattern[str]:
    """A pattern of all formats with a year or the name of a month, which hardly anything else matches."""
    formats = [format for format in ("%Y%m%d", *_FORMATS) if re.search("%[YyGb]", format)]
    date = _either(formats).replace(_PARTS["b"].replace("?P<b>", "?:"), _NAMES)
    zone = r"(?:(?<=:\d\d) [a-z]{3,4})?"
    return re.compile(f"{_WEEKDAY}(?:{date}){zone}", re.IGNORECASE)


@cache
def compact() -> re.Pattern[str]:
    """A pattern of dates as numbers, in this century and the last."""
    return re.compile(f"(?=19|20)(?:{_either(_COMPACT)})")


def _either(formats: Sequence[str]) -> str:
    return "|".join(re.sub(r"\?P<\w>", "?:", _expression(format)) for format in formats)


@dataclass(frozen=True)
class _Moment:
    wall: float  # seconds since 1970 on the clock on the wall
    zone: float | None  # seconds by which that is ahead of UTC


def _numbers(cells: Column, number: Number) -> Times:
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        found = None if cell is None else number(cell)
        if found is None:
            raise NotATime(row, NUMBER)
        values[row] = found
    return Times(NUMBER, values, values, zoned=False)


def _moments(
    cells: Column, format: str, number: Number, *, year: int = 2000
) -> Iterator[_Moment | None]:
    """Each cell read by `format`, None where it cannot be; `year` is that of days without one."""
    if format == NUMBER:
        for cell in cells:
            found = None if cell is None else number(cell)
            yield None if found is None else _Moment(found, None)
        return
    if format in EPOCHS:
        per_second, least, most = EPOCHS[format]
        for cell in cells:
            found = None if cell is None else number(cell)
            fits = found is not None and least <= found < most
            yield _Moment(found / per_second, None) if fits and found is not None else None
        return
    pattern = _pattern(format)
    first = _first_year(cells, pattern) if "%y" in format else 0
    read: dict[str | None, _Moment | None] = {None: None}  # each time stands in many series
    for cell in cells:
        if cell not in read:
            match = None if cell is None else pattern.fullmatch(cell)
            read[cell] = None if match is None else _moment(match, year, first)
        yield read[cell]


def _first_year(cells: Column, pattern: re.Pattern[str]) -> int:
    """The first year of two digits: 1969 as in `strptime`, or 1900 where the years lie closer together then."""
    matches = (pattern.fullmatch(cell) for cell in cells if cell is not None)
    digits = {int(match["y"]) for match in matches if match is not None}
    if not digits:
        return 1969
    usual = {_full_year(one, 1969) for one in digits}
    return 1900 if max(digits) - min(digits) < max(usual) - min(usual) else 1969


@cache
def _pattern(format: str) -> re.Pattern[str]:
    """What `format` matches; names of groups are its directives."""
    return re.compile(_WEEKDAY + _expression(format), re.IGNORECASE)


def _expression(format: str) -> str:
    pieces = re.split(r"%(.)", format)
    parts = _PARTS if "b" not in pieces[1::2] else _PARTS | {"d": rf"{_PARTS['d']}(?:st|nd|rd|th)?"}
    pattern = "".join(
        parts[piece] if odd else re.escape(piece).replace(r"\ ", "[ ,]+")
        for piece, odd in zip(pieces, [False, True] * len(pieces), strict=False)
    )
    for full, digits in (("m", "(?P<m>1[0-2]|0[1-9])"), ("d", r"(?P<d>3[01]|[12]\d|0[1-9])"),
                         ("H", r"(?P<H>[01]\d|2[0-4])")):  # fmt: skip
        if format in (
            *_COMPACT,
            *_COMPACT_T,
        ):  # without signs between them, all parts have their full width
            pattern = pattern.replace(_PARTS[full], digits)
    whole_day = pieces[-2:-1] and not {"H", "I"} & {*pieces[1::2]} and "d" in pieces[1::2]
    return pattern + (_CLOCK if whole_day else "")


def _moment(match: re.Match[str], year: int, first: int = 1969) -> _Moment | None:
    """The moment of a match; None for days that do not exist, such as the 31st of June."""
    said = {key: value for key, value in match.groupdict().items() if value is not None}
    try:
        day = _day(said, year, first)
        hour = int(said.get("H", 0))
        if "p" in said:
            hour = hour % 12 + 12 * (said["p"].lower() == "p")
        clock = timedelta(
            hours=hour, minutes=int(said.get("M", 0)), seconds=int(said.get("S", 0)),
            microseconds=int(said.get("f", "0").ljust(6, "0")[:6]),
        )  # fmt: skip
    except ValueError:
        return None
    wall = (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH + clock).total_seconds()
    return _Moment(wall, _zone(said["z"]) if "z" in said else None)


def _day(said: dict[str, str], year: int, first: int) -> date:
    if "Y" in said or "y" in said:
        year = int(said["Y"]) if "Y" in said else _full_year(int(said["y"]), first)
    if "V" in said:
        return date.fromisocalendar(year, int(said["V"]), int(said.get("u", 1)))
    if "j" in said:
        return date(year, 1, 1) + timedelta(days=int(said["j"]) - 1)
    month = int(said.get("m", 1))
    if "b" in said:
        month = _month_called(said["b"])
    if "q" in said:
        month = 3 * int(said["q"]) - 2
    return date(year, month, int(said.get("d", 1)))


def _full_year(digits: int, first: int) -> int:
    """The year of two digits in the hundred years from `first` on."""
    return first + (digits - first) % 100


@cache
def _month_called(name: str) -> int:
    months = [
        month
        for month, names in enumerate(_MONTHS, 1)
        if any(one.startswith(name.lower()) for one in names.split())
    ]
    if len(months) != 1:
        raise ValueError(name)
    return months[0]


def _zone(text: str) -> float:
    if text[0] not in "+-":
        return 0.0
    digits = text[1:].replace(":", "").ljust(4, "0")
    return (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * (-1.0 if text[0] == "-" else 1.0)


_MOST = 0.9  # share of the different cells
_SOME = 50  # cells that are looked at first
_ENOUGH_COMPACT = (
    5  # different numbers, from which on it is no chance that all of them read as dates
)
_TIME = re.compile(
    r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?", re.IGNORECASE
)


# How all of them begin: the pattern of all takes as long to make as thousands of rows to read.
_BEGINS = re.compile(
    r"\d|q\d|mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec",
    re.IGNORECASE,
)


def is_date(cell: str) -> bool:
    """Whether a cell is a date, with a time of day or not, or a time of day."""
    return bool(_BEGINS.match(cell)) and bool(dated().fullmatch(cell) or _TIME.fullmatch(cell))


def are_dates(cells: Collection[str]) -> bool:
    """Whether most of the different `cells` of a column that are not all numbers are dates or times."""
    some = list(islice(cells, _SOME))
    dates = any(map(is_date, some))  # or there is no need to look at all
    return dates and sum(map(is_date, cells)) >= _MOST * len(cells)


def are_compact_dates(cells: Collection[str]) -> bool:
    """Whether the different `cells` of a column of numbers are all dates, as in 20240131, or months, as in 202401."""
    return len(cells) >= _ENOUGH_COMPACT and all(map(compact().fullmatch, cells))
