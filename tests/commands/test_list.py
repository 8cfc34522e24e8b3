from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.commands import list as list_command
from dlrun.config.option_files import Parameter, read_option
from dlrun.config.search_path import GROUPS, config_folders, options
from dlrun.errors import ConfigError

Capture = pytest.CaptureFixture[str]

MINE = """\
# @package _global_
# a model of my own
# with a second line
defaults:
  - _base
  - override /optimizer: sgd
  - _self_
_target_: mine.Model
width: 3  # units
sizes: [1, 2]  # of each layer
nothing: null
text: 'a # in quotes'  # a comment
inner:  # settings inside
  rate: 1.0e-8  # per step
  deep:
    flag: true
block:
  - 1
  - 2
"""


def write(file: str, text: str) -> None:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def shown(*words: str, capsys: Capture) -> str:
    assert list_command.main([*words]) == 0
    return capsys.readouterr().out


def test_an_option_is_read_with_its_comments(project: Path) -> None:
    write("configs/model/mine.yaml", MINE)
    option = read_option("model", "mine", config_folders())
    assert option is not None
    assert option.head == ("a model of my own", "with a second line")
    assert option.target == "mine.Model"
    assert option.builds_on == ("_base",)
    assert option.choices == ("optimizer=sgd",)
    assert option.parameters == (
        Parameter("width", "3", "units"),
        Parameter("sizes", "[1, 2]", "of each layer"),
        Parameter("nothing", "null", ""),
        Parameter("text", "'a # in quotes'", "a comment"),
        Parameter("inner", "", "settings inside"),
        Parameter("inner.rate", "1.0e-8", "per step"),
        Parameter("inner.deep.flag", "true", ""),
        Parameter("block", "[1, 2]", ""),
    )


def test_without_arguments_every_group_and_option_is_named(project: Path, capsys: Capture) -> None:
    text = shown(capsys=capsys)
    for group in GROUPS:
        names = options(group, config_folders())
        assert f"\n{group} " in f"\n{text}" or not names
        assert set(names) <= set(text.split())


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_shows_each_option_with_its_description(
    group: str, project: Path, capsys: Capture
) -> None:
    text = shown(group, capsys=capsys)
    for name in options(group, config_folders()):
        option = read_option(group, name, config_folders())
        assert option is not None
        assert f"{group}={name}\n" in text
        assert option.description in " ".join(text.split())
        assert option.target in text


@pytest.mark.parametrize("word", ["model/cnn", "model=cnn"])
def test_one_option_shows_parameters_defaults_and_target(
    word: str, project: Path, capsys: Capture
) -> None:
    text = shown(word, capsys=capsys)
    assert text.startswith("model=cnn\n")
    assert "dlrun.models.cnn.CNN" in text
    assert "    kernel " in text
    assert "dlrun train model=cnn " in text


@pytest.mark.parametrize("name", options("sweep", config_folders()))
def test_a_strategy_comes_with_a_command_that_sweeps(
    name: str, project: Path, capsys: Capture
) -> None:
    command = shlex.split(shown(f"sweep/{name}", capsys=capsys).splitlines()[-1])
    assert command[:3] == ["dlrun", "train", f"sweep={name}"]
    assert main([*command[1:], "trainer.accelerator=cpu", "--dry-run"]) == 0
    assert "dry run: nothing was trained" in capsys.readouterr().out


def test_parameters_that_all_options_share_are_said_once(project: Path, capsys: Capture) -> None:
    for name in ("a", "b"):
        write(
            f"configs/mine/{name}.yaml", f"_target_: m.{name}\nown_{name}: 1\nshared: 2  # both\n"
        )
    text = shown("mine", capsys=capsys)
    assert text.count("shared") == 1
    assert "every mine also has\n    shared  2  both" in text
    assert "own_a" in text
    assert "own_b" in text


def test_options_of_ones_own_are_marked(project: Path, capsys: Capture) -> None:
    write("configs/model/mine.yaml", MINE)
    assert "mine*" in shown(capsys=capsys)
    text = shown("model", capsys=capsys)
    assert "model=mine  (your own: configs/model/mine.yaml)\n" in text
    assert "model=cnn\n" in text


def test_a_group_of_ones_own_is_listed(project: Path, capsys: Capture) -> None:
    write("configs/augmentation/strong.yaml", "# a lot of it\nshift: 2\n")
    assert "augmentation  a group of your own\n" in shown(capsys=capsys)
    assert "a lot of it" in shown("augmentation", capsys=capsys)


def test_another_config_folder_is_listed_too(project: Path, capsys: Capture) -> None:
    write("elsewhere/model/theirs.yaml", "# from elsewhere\n_target_: theirs.Model\n")
    assert "from elsewhere" in shown("model/theirs", "--config-dir", "elsewhere", capsys=capsys)


def test_options_that_others_build_on_are_left_out(project: Path, capsys: Capture) -> None:
    write("configs/model/_base.yaml", "width: 3\n")
    assert "_base" not in shown("model", capsys=capsys)


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\t\n", "defaults: {a: [}\n"])
def test_a_broken_file_is_told_in_its_place(text: str, project: Path, capsys: Capture) -> None:
    write("configs/model/mine.yaml", text)
    page = shown("model", capsys=capsys)
    assert "not valid YAML" in page
    assert "model=cnn\n" in page


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a list\n", "just text\n"])
def test_a_file_without_settings_is_no_error(text: str, project: Path, capsys: Capture) -> None:
    write("configs/model/mine.yaml", text)
    assert "model=mine" in shown("model/mine", capsys=capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["modle"], "there is no group modle; did you mean model"),
        (["cnn"], "there is no group cnn; did you mean model/cnn"),
        (["model/cnnn"], "model has no option cnnn; did you mean cnn"),
        (["--config-dir", "nowhere"], "--config-dir is nowhere, which is not a directory"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_name(
    words: list[str], said: str, project: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        list_command.main(words)


def test_long_comments_wrap_below_themselves(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write("configs/model/mine.yaml", f"width: 3  # {'word ' * 40}\n")
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line for line in shown("model/mine", capsys=capsys).splitlines() if "word" in line]
    assert len(lines) > 2
    assert len({line.index("word") for line in lines}) == 1
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", ""),
        ("width: 3\n", ""),
        ("# @package _global_\n", ""),
        ("# @package _global_\nwidth: 3  # not this\n# nor this\nsize: 1\n", ""),
        ("# a net\nwidth: 3\n", "a net"),
        ("\ufeff# a net\nwidth: 3\n", "a net"),
        ("# configs/model/mine.yaml\nwidth: 3\n", ""),
        ("# mine.yaml\n# @package _global_\n# a net\nwidth: 3\n", "a net"),
        ("# yaml-language-server: $schema=s.json\n---\n# a net\nwidth: 3\n", "a net"),
        ("# vim: set ts=2:\n# Copyright 2026\n#\n# -----\n# a net\n", "a net"),
        ("# to execute this experiment run:\n# python train.py model=mine\n", ""),
        ("# Command: dlrun train\n#   model=mine\n# Result: 0.9\n# a net\n", "a net"),
        ("##  a net  ##\nwidth: 3\n", "a net  ##"),
    ],
)
def test_a_description_is_the_first_comment_that_says_what_an_option_is(
    text: str, description: str, project: Path, capsys: Capture
) -> None:
    write("configs/model/mine.yaml", text)
    option = read_option("model", "mine", config_folders())
    assert option is not None
    assert option.description == description
    page = shown("model", capsys=capsys)
    own = page.partition("model=mine  (your own: configs/model/mine.yaml)\n")[2]
    assert own.startswith(f"  {description}\n" if description else ("    width", "\n"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_dlruns_own_has_a_description(group: str) -> None:
    for name in options(group, config_folders()):
        option = read_option(group, name, config_folders())
        assert option is not None
        assert option.description == option.head[0] != ""


def test_groups_within_groups_are_listed_as_the_help_of_train_has_them(
    project: Path, capsys: Capture
) -> None:
    write("configs/model/blocks/big.yaml", "# many of them\ndepth: 9\n")
    write("configs/only/deep/a.yaml", "depth: 1\n")
    write("configs/hydra/launcher/mine.yaml", "n_jobs: 1\n")
    listed = {
        line.split("  ")[0] for line in shown(capsys=capsys).splitlines() if line[:1].isalpha()
    }
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out.partition("== Groups")[2].partition("== The config")[0]
    groups = {line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()}
    assert {"model/blocks", "only/deep", *GROUPS} <= groups <= listed
    assert "many of them" in shown("model/blocks", capsys=capsys)
    assert "model/blocks=big" in shown("model/blocks/big", capsys=capsys)
    with pytest.raises(ConfigError, match="did you mean only/deep"):
        list_command.main(["only"])


def test_what_every_run_has_beside_its_groups_is_explained(project: Path, capsys: Capture) -> None:
    named = "settings of every run: name  seed  init_from  metrics  checkpoint  tracking\n"
    assert named in shown(capsys=capsys)
    assert "tracking.graph          true   the model, drawn" in shown("tracking", capsys=capsys)
    assert shown("seed", capsys=capsys).endswith("\n\ndlrun train seed=0\n")


def test_the_metrics_that_may_be_named_are_listed(project: Path, capsys: Capture) -> None:
    said = shown("metrics", capsys=capsys).replace(",", " ").split()
    assert {"macro_f1", "mase", "coverage_80", "top_5_accuracy", "perplexity"} <= set(said)


def test_what_all_options_of_a_group_have_is_told_with_them(project: Path, capsys: Capture) -> None:
    for word in ("model", "model/mlp"):
        assert "freeze" in shown(word, capsys=capsys)
    assert "lr_multipliers" in shown("optimizer/sgd", capsys=capsys)
