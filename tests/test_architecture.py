"""The order of the house: a package imports only from itself and from those below it; no modules import in a circle."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import dlrun

HOUSE = Path(dlrun.__file__).parent
ORDER = [  # from the street down to the cellar
    "__main__",
    "worker",
    "cli",
    "commands",
    "sweep",
    "stacked",
    "runner",
    "diagnostics",
    "inference",
    "training",
    "models",
    "data",
    "tracking",
    "storage",
    "config",
    "system",
    "errors",
    "",  # the version
]


def name_of(file: Path) -> str:
    parts = file.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(HOUSE.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Modules of dlrun that a module imports, also inside functions and for annotations alone."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dlrun":
            module = str(node.module).removeprefix("dlrun").lstrip(".")
            inner = {f"{module}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if name in MODULES else module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {a.name[6:] for a in node.names if a.name.startswith("dlrun.")}
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """The same of every module; not while tests are collected, which every worker does."""
    return {name: imports_of(name) for name in MODULES}


def package_of(name: str) -> str:
    return name.partition(".")[0]


def test_a_package_imports_only_from_those_below_it() -> None:
    wrong = [
        f"{name} imports {used}"
        for name, modules in imports().items()
        for used in modules
        if ORDER.index(package_of(used)) < ORDER.index(package_of(name))
    ]
    assert imports()["sweep.trial"]
    assert not wrong


def test_every_package_has_its_place_and_only_four_modules_stand_outside() -> None:
    packages = {package_of(name) for name in MODULES}
    assert packages == set(ORDER)
    outside = {file.stem for file in HOUSE.glob("*.py")}
    assert outside == {"__init__", "__main__", "cli", "errors", "worker"}
    assert all(not f.read_text().strip() for f in HOUSE.glob("*/**/__init__.py"))


def test_no_modules_import_in_a_circle() -> None:
    circle: list[str] = []
    try:
        graphlib.TopologicalSorter({n: used - {n} for n, used in imports().items()}).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert not circle, " is imported by ".join(circle)


def test_models_know_the_spec_and_no_data_set() -> None:
    used = {
        used
        for name, modules in imports().items()
        if name.startswith("models.")
        for used in modules
    }
    assert {name for name in used if name.startswith("data")} == {"data.base"}


AT_ONCE = (  # what must answer at once
    "cli", "config.settings", "config.instantiate", "storage.index", "config.search_path", "config.compose",
    "data.arrays.points", "commands.train", "commands.resume", "commands.runs", "commands.report", "commands.list",
    "commands.completion", "storage.sweep_directory", "storage.run_summary", "sweep.space.parse", "tracking.numbers",
)  # fmt: skip
IMPORTED = """
import importlib, sys
library, *names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
    if library in sys.modules:
        sys.exit(f"{name} imports {library}")
"""


def importing(library: str, *names: str) -> tuple[int, str]:
    """How a process ends, and what it says, that imports modules and must not import `library`."""
    words = [sys.executable, "-c", IMPORTED, library, *(f"dlrun.{name}" for name in names)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_what_must_answer_at_once_does_not_import_torch() -> None:
    assert importing("torch", *AT_ONCE) == (0, "")


def test_only_a_large_table_needs_polars() -> None:
    assert importing("polars", "training.build", "data.kinds", "data.tables.sources") == (0, "")
