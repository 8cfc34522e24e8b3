"""The picture in docs/architecture.md: the packages of src/, each row above all that its packages import.

Only imports decide. A package stands one row above the highest package that it imports from, so packages side by
side do not import from each other.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by scripts/picture -->\n", "<!-- end of the picture -->\n"

WIDTH = 92
_OUTSIDE = ("__init__", "__main__")  # the version, and what `python -m dlrun` runs

Imports = dict[str, set[str]]  # package: the packages that it imports from


def imports_of_packages(source: Path) -> Imports:
    """The packages below `source`, and which of them each one imports from, also inside functions."""
    found: Imports = {"hydra_plugins": set()}
    for file in [*source.glob("dlrun/**/*.py"), *source.glob("hydra_plugins/**/*.py")]:
        top, *inner = file.relative_to(source).with_suffix("").parts
        package = inner[0] if top == "dlrun" else top
        if package not in _OUTSIDE:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found.setdefault(package, set()).update(_imported(tree))
    return {package: used & found.keys() - {package} for package, used in found.items()}


def _imported(tree: ast.AST) -> Iterable[str]:
    """The packages of dlrun that the imports in a module name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "dlrun":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _packages([node.module or ""])
        elif isinstance(node, ast.Import):
            yield from _packages(alias.name for alias in node.names)


def _packages(modules: Iterable[str]) -> Iterable[str]:
    return (name.split(".")[1] for name in modules if name.startswith("dlrun."))


def rows_of(imports: Imports) -> list[list[str]]:
    """The packages row by row from the top; each imports only from rows below its own.

    Raises:
        ValueError: packages import from each other in a circle.
    """
    rows: list[list[str]] = []
    placed: set[str] = set()
    while waiting := imports.keys() - placed:
        row = sorted(package for package in waiting if imports[package] <= placed)
        if not row:
            raise ValueError(f"these packages import from each other: {', '.join(sorted(waiting))}")
        rows.insert(0, row)
        placed |= set(row)
    return rows


def picture(imports: Imports) -> str:
    """The rows as a wall of bricks: in each the name of a package and what it imports from."""
    rows = rows_of(imports)
    order = [package for row in rows for package in row]
    lines: list[str] = []
    edges: set[int] = set()  # where the row above has its vertical lines
    for row in rows:
        widths = _widths(len(row))
        below = _edges(widths)
        lines += [_border(edges, below), *_bricks(row, widths, imports, order)]
        edges = below
    return "\n".join([*lines, _border(edges, set())]) + "\n"


def _widths(count: int) -> list[int]:
    """Inner widths of `count` bricks that fill a row."""
    inner = WIDTH - count - 1
    return [(inner * (n + 1)) // count - (inner * n) // count for n in range(count)]


def _edges(widths: list[int]) -> set[int]:
    return {sum(widths[:n]) + n for n in range(len(widths) + 1)}


def _border(above: set[int], below: set[int]) -> str:
    """A horizontal line that joins the vertical lines above and below it."""
    last = WIDTH - 1
    signs = {0: "┌├└", last: "┐┤┘"}
    line = ""
    for place in range(WIDTH):
        first, middle, end = signs.get(place, "┬┼┴")
        kind = (place in above, place in below)
        line += {(False, True): first, (True, True): middle, (True, False): end}.get(kind, "─")
    return line


def _bricks(row: list[str], widths: list[int], imports: Imports, order: list[str]) -> list[str]:
    texts = [
        _words(package, sorted(imports[package], key=order.index), width)
        for package, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, texts))
    filled = [
        [f" {line}".ljust(width) for line in (text + [""] * height)[:height]]
        for text, width in zip(texts, widths, strict=True)
    ]
    return [f"│{'│'.join(parts)}│" for parts in zip(*filled, strict=True)]


def _words(package: str, used: list[str], width: int) -> list[str]:
    name = f"{package}  "
    text = name + ("← " + ", ".join(used) if used else "")
    return textwrap.wrap(text, width - 2, subsequent_indent=" " * (len(name) + 2))


def with_picture(document: str) -> str:
    """The text of the document, the picture between its two marks drawn anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = picture(imports_of_packages(ROOT / "src"))
    return f"{before}{BEGIN}```text\n{drawn}```\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_picture(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
