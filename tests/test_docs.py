"""What the documents say of the code is so: the picture of its packages, and the files that they name."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))]
FILES = [
    f"/{file.relative_to(ROOT)}"
    for folder in ("src", "tests", "scripts", "configs")
    for file in (ROOT / folder).rglob("*")
]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "package_picture")
    import picture

    return picture


def test_the_picture_of_the_packages_is_that_of_today(packages: ModuleType) -> None:
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert packages.BEGIN in document and packages.END in document
    assert document == packages.with_picture(document), "draw it anew: scripts/picture"


def test_a_package_is_drawn_above_all_that_it_imports_from(
    packages: ModuleType, tmp_path: Path
) -> None:
    modules = {
        "dlrun/top.py": "from dlrun import left\nimport dlrun.right.inner\n",
        "dlrun/left/a.py": "def f():\n    from dlrun.cellar import x\n",
        "dlrun/right/inner.py": "from dlrun.cellar.deep import y\nfrom dlrun.right import z\n",
        "dlrun/cellar/deep.py": "import torch\n",
        "dlrun/__main__.py": "from dlrun.top import main\n",
        "hydra_plugins/some/plugin.py": "from dlrun.cellar import x\n",
    }
    for name, text in modules.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    imports = packages.imports_of_packages(tmp_path)
    assert packages.rows_of(imports) == [["top"], ["hydra_plugins", "left", "right"], ["cellar"]]
    lines = packages.picture(imports).splitlines()
    assert {len(line) for line in lines} == {packages.WIDTH}
    assert lines[1].split() == ["│", "top", "←", "left,", "right", "│"]


def test_packages_that_import_from_each_other_are_named(packages: ModuleType) -> None:
    with pytest.raises(ValueError, match="import from each other: a, b"):
        packages.rows_of({"a": {"b"}, "b": {"a", "c"}, "c": set()})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_only_files_that_are_there(document: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    named = re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`|`(configs/[\w/-]+\.yaml)`", text)
    named += re.findall(r"`((?:src|tests|scripts|docs)/[\w/.-]*\w)(?: [^`]*)?`", text)
    names = {name for found in named for name in ([found] if isinstance(found, str) else found)}
    missing = [name for name in names if not any(file.endswith(f"/{name}") for file in FILES)]
    assert not [name for name in missing if name and not (ROOT / name).exists()]
