"""Runs on the user's own texts: trained by command line, and applied to the files of the same form."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dlrun.cli import main

QUICK = ("trainer.max_steps=2", "trainer.accelerator=cpu", "model=bag_of_words")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(*words: str) -> None:
    assert main(["train", *QUICK, *words, "hydra.run.dir=run"]) == 0


def test_texts_of_two_words_train_with_pictures_and_predictions_stay_beside_their_lines(
    capsys: Any,
) -> None:
    lines = [f"{'ab'[i % 2]}\tfirst{i} {'xy'[i % 2]}" for i in range(40)]
    Path("names.tsv").write_text("\n".join(["label\ttext", *lines]))
    train("dataset=text_lines", "dataset.path=names.tsv")
    Path("new.txt").write_text("one x\n\n  \ntwo y\n")
    assert main(["predict", "run", "new.txt"]) == 0
    shown = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split()[0] for line in shown] == [f"new.txt[{row}]" for row in range(4)]
    assert shown[1].endswith("(no text)") and "%" in shown[3]
    assert main(["predict", "run", "new.txt", "--output", "p.csv"]) == 0
    with Path("p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] != "" for row in rows] == [True, False, False, True]
    assert main(["predict", "run", "names.tsv", "--output", "p.json"]) == 0
    assert len(json.loads(Path("p.json").read_text())) == 40
    assert "names.tsv has labels, which are left away" in capsys.readouterr().err


def test_a_run_on_a_folder_of_texts_is_applied_to_files_and_folders(capsys: Any) -> None:
    train("dataset=text_folder")
    for name in ("new/1.txt", "new/2.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("My lord,\n\nfare well.\n")
    assert main(["predict", "run", "new", "new/1.txt"]) == 0
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in shown] == ["new/1.txt", "new/2.txt", "new/1.txt"]
