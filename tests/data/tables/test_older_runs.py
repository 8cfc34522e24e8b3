"""A run that an earlier version trained on a table goes on as it began, whatever tables are read as today."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.data.tables import read

LATER = ("drop_missing_target", "rare_below")
FEW = ["trainer.num_threads=1", "tracking.tensorboard=false", "optimizer.lr=0.01"]


def as_of_an_earlier_version(run: Path) -> None:
    """Take away from a run what its version would not have written."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key in LATER:
        del config["dataset"][key]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for file in (run / "checkpoints").glob("*.pt"):
        state = torch.load(file, weights_only=True)
        for key in LATER:
            state.get("unchangeable", {}).pop(f"dataset.{key}", None)
        reading = state["preprocessing"]["reading"]
        del state["preprocessing"]["other"], reading["by_value"]
        reading["target"] = reading.pop("targets")[0]
        del state["spec"]["target_names"], state["spec"]["labels"]
        torch.save(state, file)


def values_of(run: str) -> list[dict[str, float]]:
    lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [{key: one for key, one in line.items() if "second" not in key} for line in lines]


def test_its_resume_is_the_uninterrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    rows = (
        f"{rng.choice(['1', '1.0', '2', ''])},{rng.random():.3f},{rng.random() * 9:.2f}"
        for _ in range(80)
    )
    lines = ["c,x,y", *rows]
    lines[5] = lines[5].rpartition(",")[0] + ","
    Path("t.csv").write_text("\n".join(lines))
    words = [
        "train",
        "dataset=csv",
        "dataset.path=t.csv",
        "dataset.target=y",
        "dataset.categorical=[c]",
        "model=mlp",
    ]
    words += ["dataset.drop_missing_target=true", "dataset.rare_below=0", *FEW]
    with monkeypatch.context() as patched:  # its categories are told apart as they are written
        patched.setattr(read, "holds_values", lambda column, notation: False)
        assert main([*words, "trainer.max_epochs=4", "hydra.run.dir=whole"]) == 0
        assert main([*words, "trainer.max_epochs=2", "hydra.run.dir=run"]) == 0
    as_of_an_earlier_version(Path("run"))
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    said = capsys.readouterr()
    assert "dataset.drop_missing_target=true, dataset.rare_below=0" in said.err
    found = json.loads(said.out)["metrics"]
    measured = json.loads(Path("run/summary.json").read_text())["best"]["metrics"]
    assert found == pytest.approx({name: measured[name] for name in found}, rel=1e-5)
    assert main(["resume", "run", "trainer.max_epochs=4"]) == 0
    ended = [line for line in values_of("run") if "test/loss" not in line]
    assert ended == [line for line in values_of("whole") if "test/loss" not in line]
    assert values_of("run")[-1] == values_of("whole")[-1]
