from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands._complete import candidates
from dlrun.commands._names import COMMANDS
from dlrun.commands.completion import SCRIPTS, main
from dlrun.config.search_path import config_folders, options

MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]
MODELS = options("model", config_folders())


def complete(*words: str) -> list[str]:
    return sorted({text.split("\t")[0] for text in candidates([*words[:-1]], words[-1])})


@pytest.fixture
def executable(project: Path) -> str:
    """A folder for PATH in which dlrun is this very one."""
    folder = project / "bin"
    folder.mkdir()
    (folder / "dlrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m dlrun.cli "$@"\n')
    (folder / "dlrun").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def bash_replies(line: str, path: str, *, breaks: str | None = None) -> list[str]:
    """What bash would put in the place of the current word, or of its part behind a =."""
    script = f"""
        source <(dlrun completion bash)
        {f"COMP_WORDBREAKS={shlex.quote(breaks)}" if breaks is not None else ""}
        COMP_LINE={shlex.quote(line)} COMP_POINT=${{#COMP_LINE}}
        COMP_POINT={len(line)}
        _dlrun
        (( ${{#COMPREPLY[@]}} )) && printf '%s\\n' "${{COMPREPLY[@]}}"
        true
    """
    result = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout.splitlines()


class TestCandidates:
    def test_commands(self, project: Path) -> None:
        assert complete("") == sorted(COMMANDS)
        assert complete("tr") == ["train"]
        assert complete("--v") == ["--version"]
        assert complete("help", "res") == ["resume"]

    def test_commands_come_with_what_they_are_for(self, project: Path) -> None:
        (train,) = candidates([], "trai")
        assert train.startswith("train\ttrain one model")

    def test_options_of_a_group(self, project: Path) -> None:
        assert complete("train", "model=") == [f"model={name}" for name in MODELS]
        assert complete("train", "model=cn") == ["model=cnn"]

    def test_an_option_of_ones_own_in_the_lists(self, project: Path) -> None:
        Path("configs/model").mkdir(parents=True)
        Path("configs/model/mine.yaml").write_text("_target_: mine.Model\n")
        assert complete("list", "model/mi") == ["model/mine"]

    def test_groups_and_keys(self, project: Path) -> None:
        words = complete("train", "")
        assert {"model=", "model.", "dataset=", "trainer.", "seed="} <= set(words)
        assert not any(word.startswith("hydra") for word in words)
        assert complete("train", "hydra.run.") == ["hydra.run.dir="]

    def test_columns_and_settings_of_a_file_to_inspect(self, project: Path) -> None:
        Path("t.csv").write_text("day,sold,my shop\n2024-01-01,3,a\n2024-01-02,4,b\n")
        assert complete("inspect", "--as", "texts", "t.csv", "--target", "") == [
            "day",
            "my shop",
            "sold",
        ]
        assert complete("inspect", "t.csv", "--time", "d") == ["day"]
        assert complete("inspect", "t.csv", "--as", "ta") == ["table"]
        assert complete("inspect", "t.csv", "dataset.delim") == ["dataset.delimiter="]
        assert complete("inspect", "t.csv", "--w") == ["--write"]
        assert complete("inspect", "none.csv", "--target", "") == []
        assert complete("inspect", "") == []  # files, by the shell

    @pytest.mark.parametrize("command", ["summary", "lr-find"])
    def test_words_of_commands_that_build_what_train_would(
        self, command: str, project: Path
    ) -> None:
        assert complete(command, "model=cn") == ["model=cnn"]
        assert complete(command, "model=cnn", "model.ker") == ["model.kernel="]
        assert "--steps" in complete("lr-find", "--")
        assert complete("lr-f") == ["lr-find"]

    def test_keys_of_the_option_chosen_before(self, project: Path) -> None:
        assert complete("train", "model=cnn", "model.ker") == ["model.kernel="]
        assert complete("train", "model=mlp", "model.ker") == []

    def test_a_list_is_completed_as_one_value(self, project: Path) -> None:
        assert complete("train", "model=cnn", "model.filt") == ["model.filters="]

    def test_metrics_of_a_list(self, project: Path) -> None:
        assert complete("train", "metrics=[macro_f") == ["metrics=[macro_f1"]
        assert complete("train", "metrics=[mcc,bri") == ["metrics=[mcc,brier"]

    def test_values_that_a_type_names(self, project: Path) -> None:
        assert complete("train", "trainer.precision=f") == [
            f"trainer.precision={name}" for name in ("fp16", "fp32", "fp64")
        ]
        assert complete("train", "tracking.images=") == [
            "tracking.images=false",
            "tracking.images=true",
        ]
        assert complete("train", "dataset.normalize=n") == ["dataset.normalize=none"]
        assert complete("train", "trainer.early_stopping.restore_best=t") == [
            "trainer.early_stopping.restore_best=true"
        ]

    def test_a_value_is_offered_for_change(self, project: Path) -> None:
        assert complete("train", "trainer.max_epochs=") == ["trainer.max_epochs=20"]

    def test_the_last_of_several_values_of_a_sweep(self, project: Path) -> None:
        assert complete("train", "-m", "model=mlp,cn") == ["model=mlp,cnn"]

    def test_a_wrong_word_before_does_not_stop_it(self, project: Path) -> None:
        assert complete("train", "model=nothing", "trainer.max_ep") == ["trainer.max_epochs="]

    def test_a_value_made_from_the_choices(self, project: Path) -> None:
        assert complete("train", "model=cnn", "name=") == ["name=digits_cnn"]

    def test_another_config_folder(self, project: Path) -> None:
        Path("elsewhere/model").mkdir(parents=True)
        Path("elsewhere/model/theirs.yaml").write_text("_target_: theirs.Model\n")
        assert complete("train", "--config-dir", "elsewhere", "model=th") == ["model=theirs"]

    def test_groups_of_list(self, project: Path) -> None:
        assert complete("list", "mo") == ["model"]
        assert complete("list", "metr") == ["metrics"]
        assert complete("list", "model/cn") == ["model/cnn"]

    def test_what_show_takes(self, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_digits_cnn_12ab")
        words = complete("show", "")
        assert {"last", "digits_cnn_12ab", "model="} <= set(words)
        assert complete("show", "model/cn") == ["model/cnn"]
        assert complete("show", "model/cnn", "model.ker") == ["model.kernel="]

    @pytest.mark.parametrize(
        "command",
        ["resume", "eval", "predict", "generate", "export", "summary", "tensorboard", "show"],
    )
    def test_runs(self, command: str, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_xx_cnn_12ab")
        make_run("7", "outputs/sweeps/2026-01-31_12-00-00_zz_rates_34cd")
        assert complete(command, "la") == ["last"]
        assert complete(command, "xx_c") == ["xx_cnn_12ab"]
        assert complete(command, "2026-01-31_12-00-00_x") == ["2026-01-31_12-00-00_xx_cnn_12ab"]
        assert complete(command, "zz") == ["zz_rates_34cd/"]
        assert complete(command, "zz_rates_34cd/") == ["zz_rates_34cd/7"]

    @pytest.mark.parametrize("command", ["resume", "show", "tensorboard", "report", "runs"])
    def test_sweeps(self, command: str, make_sweep: MakeSweep) -> None:
        make_sweep("2026-01-31_12-00-00_zz_rates_34cd", 2)
        assert complete(command, "zz_rates_34c")[0] == "zz_rates_34cd"
        assert complete(command, "2026-01-31_12")[0] == "2026-01-31_12-00-00_zz_rates_34cd"
        assert complete(command, "la") == ["last"]

    @pytest.mark.parametrize("command", ["eval", "predict"])
    def test_a_sweep_is_no_run(self, command: str, make_sweep: MakeSweep) -> None:
        make_sweep("2026-01-31_12-00-00_zz_rates_34cd", 2)
        assert complete(command, "zz") == ["zz_rates_34cd/"]

    def test_seeds_come_behind_their_trial(self, make_sweep: MakeSweep) -> None:
        make_sweep("2026-01-31_12-00-00_zz_rates_34cd", 2, seeds=2)
        assert complete("eval", "zz_rates_34cd/") == ["zz_rates_34cd/0/", "zz_rates_34cd/1/"]
        assert complete("eval", "zz_rates_34cd/1/seed1") == ["zz_rates_34cd/1/seed1"]

    def test_strategies_of_a_sweep_and_their_settings(self, project: Path) -> None:
        assert complete("train", "sweep=r") == ["sweep=random"]
        assert complete("train", "sweep.trials") == ["sweep.trials=", "sweep.trials_per_gpu="]
        assert complete("train", "sweep=tpe", "sweep.n_") == ["sweep.n_startup_trials="]
        assert complete("train", "sweep.pruner=m") == ["sweep.pruner=median"]
        assert complete("train", "--dr") == ["--dry-run"]

    def test_only_the_first_word_is_a_run(self, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_digits_cnn_12ab")
        assert complete("eval", "last", "") == [
            *("checkpoint=best", "checkpoint=last", "split=test", "split=train", "split=val"),
        ]
        assert complete("resume", "last", "trainer.max_ep") == ["trainer.max_epochs="]

    def test_metrics_to_sort_by(self, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_digits_cnn_12ab")
        assert complete("runs", "--sort", "val/") == ["val/accuracy", "val/loss"]

    @pytest.mark.parametrize("command", sorted(COMMANDS))
    def test_every_command_offers_its_options(self, command: str, project: Path) -> None:
        assert "--help" in complete(command, "--")

    def test_shells(self, project: Path) -> None:
        assert complete("completion", "") == sorted(SCRIPTS)

    def test_an_unknown_command_offers_nothing(self, project: Path) -> None:
        assert complete("nothing", "") == []


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_a_script_tells_how_to_install_it(
    shell: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([shell]) == 0
    head = capsys.readouterr().out.partition("\n\n")[0]
    assert f"dlrun completion {shell}" in head
    assert all(line.startswith("#") for line in head.splitlines())


class TestBash:
    def test_a_command_is_completed(self, executable: str) -> None:
        assert bash_replies("dlrun trai", executable) == ["train"]

    def test_only_what_follows_the_equals_sign_is_replaced(self, executable: str) -> None:
        assert bash_replies("dlrun train model=cn", executable) == ["cnn"]
        assert bash_replies("dlrun train model=", executable) == MODELS

    def test_the_whole_word_is_replaced_where_equals_signs_do_not_break(
        self, executable: str
    ) -> None:
        replies = bash_replies("dlrun train model=cn", executable, breaks=" \t\n")
        assert replies == ["model=cnn"]

    def test_the_words_before_the_cursor_count(self, executable: str) -> None:
        assert bash_replies("dlrun train model=cnn model.ker", executable) == ["model.kernel="]

    def test_nothing_of_the_line_is_executed(self, executable: str, project: Path) -> None:
        bash_replies("dlrun train $(touch evil) `touch evil` model=c", executable)
        assert not (project / "evil").exists()

    def test_what_a_shell_would_read_otherwise_is_quoted(
        self, executable: str, make_run: MakeRun
    ) -> None:
        make_run("2026-01-31_12-00-00_a&b_12ab")
        assert bash_replies("dlrun resume a", executable) == [r"a\&b_12ab"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(executable: str, project: Path) -> None:
    script = "dlrun completion fish | source; complete -C 'dlrun train model=cn'; complete -C 'dlrun trai'"
    result = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env={**os.environ, "PATH": executable, "HOME": str(project)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = result.stdout.splitlines()
    assert first == "model=cnn"
    assert second.startswith("train\ttrain one model")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_on_a_terminal(executable: str, project: Path) -> None:
    (project / ".zshrc").write_text(
        "PROMPT='> '; autoload -Uz compinit && compinit -u\nsource <(dlrun completion zsh)\n"
    )
    # The completed line is run: let training only print its words.
    real = (project / "bin/dlrun").read_text().splitlines()[1]
    (project / "bin/dlrun").write_text(
        f'#!/bin/sh\ncase $1 in train) echo "got:$*:" ;; *) {real} ;; esac\n'
    )
    driver = project / "driver.zsh"
    driver.write_text(
        "zmodload zsh/zpty\n"
        "zpty z zsh -i\n"
        "zpty -w -n z $'dlrun trai\\tmodel=cn\\t\\n'\n"
        "zpty -r -m z out '*got:*:*' && print -r -- $out\n"
        "zpty -d z\n"
    )
    result = subprocess.run(
        ["zsh", "-f", str(driver)],
        env={**os.environ, "PATH": executable, "ZDOTDIR": str(project), "TERM": "dumb"},
        capture_output=True, text=True, check=True, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert "got:train model=cnn:" in result.stdout.replace("\r", "")
