"""CONTRIBUTING.md followed to the letter, in a copy of the checkout: its files, its changes, its commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")
ADDED = [recipe for recipe in RECIPES if recipe.startswith("Add a ")]
FOLLOWED = """\
from dlrun.cli import main
for words in {}:
    assert main(words) == 0, words
"""


def blocks(recipe: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", recipe, re.DOTALL)


def commands(recipe: str, script: str) -> list[list[str]]:
    lines = "".join(blocks(recipe, "sh")).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{script} ")]


def follow(recipe: str, folder: Path) -> None:
    """Write the files of a recipe into the checkout in `folder`, and make its changes there."""
    for block in blocks(recipe, "(?:python|yaml)"):
        name, content = block.removeprefix("# ").split("\n", 1)
        file = folder / name
        assert file.parent.is_dir() and not file.exists(), name
        file.write_text(content, encoding="utf-8")
    for block in blocks(recipe, "diff"):
        name, changes = block.removeprefix("# ").split("\n", 1)
        text = (folder / name).read_text(encoding="utf-8")
        for change in changes.split("@@\n"):
            lines = change.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            assert text.count(before) == 1, f"{name} has not once:\n{before}"
            text = text.replace(before, "".join(line[1:] for line in lines if line[0] in " +"))
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which every recipe has been followed."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("src", "configs", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for recipe in ADDED:
        follow(recipe, folder)
    return folder


def python(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Python run on the code of the checkout in `folder`, in that folder."""
    paths = os.pathsep.join([str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_there_is_a_recipe_for_each_thing_that_is_added_most() -> None:
    headings = [recipe.partition("\n")[0] for recipe in ADDED]
    assert headings == ["Add a model", "Add a dataset", "Add a loss", "Add a command"]
    assert all(commands(recipe, "scripts/dlrun") for recipe in ADDED)


@pytest.mark.cluster
def test_the_commands_of_every_recipe_work_once_it_is_followed(checkout: Path) -> None:
    words = [words for recipe in ADDED for words in commands(recipe, "scripts/dlrun")]
    done = python("-c", FOLLOWED.format(words), folder=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, size = done.stdout.splitlines()
    (newest,) = checkout.glob("outputs/runs/*_diabetes_*")
    assert int(size) == sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    assert "losses.log_cosh.LogCosh" in (newest / "config.yaml").read_text()


def test_what_the_recipes_write_keeps_the_style(checkout: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        done = python("-m", "ruff", *check, "--no-cache", "src", folder=checkout)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ADDED, ids=[recipe.split("\n")[0][6:] for recipe in ADDED])
def test_the_tests_of_every_recipe_run_and_pass(recipe: str, checkout: Path) -> None:
    for words in commands(recipe, "scripts/test"):
        done = python("-m", "pytest", *words, folder=checkout)
        assert done.returncode == 0, done.stdout[-4000:]
        assert re.search(r"\d+ passed", done.stdout)
