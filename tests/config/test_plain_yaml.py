"""YAML of somebody else: plain values as ever, and a refusal within a moment of what would unfold without end."""

import time

import pytest
import yaml

from dlrun.config import plain_yaml
from dlrun.config.option_files import check_options
from dlrun.errors import ConfigError
from dlrun.inference.load import read_config
from dlrun.storage.run_directory import RunDirectory, read_overrides
from dlrun.storage.sweep_directory import SweepDirectory

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
EXCESSIVE = [
    LAUGHS,
    "a: &a [*a]\n",
    "a: " + "[" * 60 + "]" * 60,
    "a: " + "[" * 5000 + "]" * 5000,
    "a: " + "9" * 5000,
]


@pytest.mark.parametrize(
    "text", ["", "a: 1", "- x\n- {y: [1.5, null, true]}", "a: &b [1, 2]\nc: *b\nd: {<<: {e: 1}}"]
)
def test_what_is_within_bounds_is_read_as_ever(text):
    assert plain_yaml.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", EXCESSIVE, ids=["laughs", "itself", "deep", "very deep", "long number"]
)
def test_files_beyond_are_refused_in_one_line_and_at_once(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    for name in ("config.yaml", "overrides.yaml", "sweep.yaml"):
        (tmp_path / name).write_text(text)
    for read in (lambda: read_config(RunDirectory(tmp_path)), SweepDirectory(tmp_path).read):
        with pytest.raises(ConfigError, match="is not valid YAML: ") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert read_overrides(RunDirectory(tmp_path)) == []
    assert time.process_time() - begun < 2


def test_an_option_file_beyond_is_refused_before_hydra_reads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mine.yaml").write_text(LAUGHS)
    with pytest.raises(ConfigError, match=r"mine\.yaml holds too much: its references unfold"):
        check_options(["model=mine"])


def test_deep_json_is_no_summary(tmp_path):
    (tmp_path / "summary.json").write_text("[" * 100_000)
    assert RunDirectory(tmp_path).read_summary() is None


def test_dates_are_text_as_for_hydra():
    assert plain_yaml.load("{a: 2020-01-01, 2020-01-02: b}") == {
        "a": "2020-01-01",
        "2020-01-02": "b",
    }


@pytest.mark.parametrize(
    "text",
    ["!!set {a, b}", "a: !!timestamp 2020-01-01", "- !!binary aGk=", "!!omap [a: 1]", "a: !b c"],
)
def test_more_than_plain_values_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="no plain value"):
        plain_yaml.load(text)


@pytest.mark.parametrize(
    "text",
    ["space: 2020-01-01", "settings: [1]", "command: x", "config: 3", f"objective: {'x' * 10**4}"],
)
def test_a_sweep_with_a_wrong_kind_of_contents_is_refused(text, tmp_path):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"sweep.yaml has a \w+ that no sweep writes"):
        SweepDirectory(tmp_path).read()
