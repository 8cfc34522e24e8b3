"""`dlrun cache`: list or clear what is kept of data larger than memory."""

from __future__ import annotations

import argparse

from dlrun.commands._arguments import CommandParser
from dlrun.data.cache import VARIABLE, Entry, cache_folder, clear, entries, unfinished

_EPILOG = f"""\
Data larger than dataset.memory_limit are read once into the cache, and runs train from there.
The cache is ${VARIABLE}, or else dlrun's folder among your caches.

examples
  dlrun cache                the entries, their sizes and files
  dlrun cache --clear        delete all entries
  dlrun cache --clear NAME   delete one entry
"""


def main(argv: list[str]) -> int:
    """List the entries, or delete them."""
    arguments = _parser().parse_args(argv)
    if arguments.clear is not None:
        cleared = clear(arguments.clear)
        print(f"{len(cleared)} deleted, {_bytes(sum(size for _, size in cleared))}")
        return 0
    found = entries()
    print(f"{cache_folder()}: {_bytes(sum(one.size for one in found)) if found else 'empty'}")
    for one in found:
        print(_line(one))
    if left := unfinished():
        print(f"{_bytes(left)} of entries that are being built, or that a killed process left")
    return 0


def _line(one: Entry) -> str:
    first, *others = (str(source.path) for source in one.sources)
    more = f" and {len(others)} more" if others else ""
    stale = "" if one.is_current else "  (changed since: no longer used)"
    return f"{one.name}  {_bytes(one.size)}  {one.made:%Y-%m-%d %H:%M}  {first}{more}{stale}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("cache", "List or clear what is kept of large data.", _EPILOG)
    parser.add_argument(
        "--clear", metavar="NAME", nargs="*", help="delete these entries, or all without a name"
    )
    return parser
