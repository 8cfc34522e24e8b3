"""What names and texts of a stranger's files do to the terminal: nothing."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from dlrun.cli import main
from dlrun.system.terminal import ControlCharactersShown, itself, make_console, shown

EVIL = "a\x1b]0;title\x07\x1b[2J\rb\x9b31m\u202ec"
WRITTEN = r"a\x1b]0;title\x07\x1b[2J\rb\x9b31m\u202ec"


def test_control_characters_are_written_out_and_text_stays():
    assert shown(EVIL) == WRITTEN
    assert shown("größe\t1\xa0000 €\n日本") == "größe\t1\xa0000 €\n日本"


def test_both_streams_show_them_and_come_back_as_they_were(capsys):
    before = sys.stdout, sys.stderr
    with ControlCharactersShown():
        print(EVIL)
        print(EVIL, file=sys.stderr)
        assert itself(sys.stdout) is before[0]
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == (f"{WRITTEN}\n", f"{WRITTEN}\n")


def test_commands_that_outlive_their_readers_show_them_too(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["dlrun", "train"])
    monkeypatch.setattr("dlrun.cli._dispatch", lambda arguments: print(EVIL) or 0)
    for name in ("stdout", "stderr"):  # to come back
        monkeypatch.setattr(sys, name, getattr(sys, name))
    assert main() == 0
    assert capfd.readouterr().out == f"{WRITTEN}\n"


def test_without_streams_there_is_nothing_to_show(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with ControlCharactersShown():
        assert sys.stdout is None


def test_a_table_on_a_terminal_has_its_own_colours_and_none_of_a_texts(monkeypatch):
    from rich.text import Text

    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    make_console(force_terminal=True, color_system="standard").print(
        Text("\x1b[31mx", style="bold")
    )
    assert stream.getvalue() == "\x1b[1m\\x1b[31mx\x1b[0m\n"


@pytest.mark.parametrize(
    "argv", [["show", "run"], ["runs"], ["runs", "--csv"], ["resume", "run"], ["eval", "run"]]
)
def test_no_command_lets_a_run_of_somebody_else_steer_the_terminal(
    argv, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "outputs" / "runs" / "2026-01-01_00-00-00_run"
    run.mkdir(parents=True)
    summary = {
        "name": EVIL,
        "status": EVIL,
        "created": "2026-01-01T00:00:00+00:00",
        "choices": {"model": EVIL},
    }
    summary |= {"swept": {EVIL: EVIL}, "error": {"kind": EVIL, "message": EVIL}, "monitor": EVIL}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "config.yaml").write_text(
        yaml.safe_dump({"name": EVIL, EVIL: EVIL, "model": {"_target_": EVIL}})
    )
    (run / "train.log").write_text(EVIL)
    main(argv)
    out = "".join(capsys.readouterr())
    assert WRITTEN in out or "_target_" in out
    assert not {*"\x1b\x07\r\x9b\u202e"} & {*out}


@pytest.mark.parametrize("command", ["show", "resume"])  # resume outlives those who read it
def test_the_streams_of_a_process_of_its_own_show_them_as_well(command, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["dlrun", command])
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", open(2, "w", closefd=False))  # noqa: SIM115
    monkeypatch.setattr(
        "dlrun.cli._dispatch", lambda words: print(EVIL) or print(EVIL, file=sys.stderr) or 0
    )
    assert main() == 0
    sys.stderr.flush()
    assert capfd.readouterr() == (f"{WRITTEN}\n", f"{WRITTEN}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_output_on_a_full_disk_is_named(monkeypatch, capsys):
    full = open("/dev/full", "w")  # noqa: SIM115 - closing it fails as well
    monkeypatch.setattr(sys, "stdout", full)
    assert main(["list"]) == 1
    assert "/dev/full could not be written (No space left on device)" in capsys.readouterr().err
    with contextlib.suppress(OSError):
        full.close()
