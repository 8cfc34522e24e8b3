"""What is seen of a run while it trains: lines in a pipe, one line in place on a terminal."""

import io
import re
from types import SimpleNamespace

import pytest

from dlrun.system.terminal import make_console
from dlrun.tracking import progress
from dlrun.tracking.progress import Bar, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    # Not in sys itself, whose streams pytest puts back in place before each test.
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    return stream


def drawings(stream):
    """The states of the line, without colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return [line.rstrip() for line in re.split("[\r\n]+", plain)]


def test_a_terminal_has_one_line_that_ends_at_the_last_state(terminal, capsys):
    shown = Progress(start_step=5, total_steps=20, steps_per_epoch=10)
    for _ in range(15):
        shown.advance(1)
    shown.report(20, {"samples_per_second": 1234.0, "val/loss": 0.5})
    shown.close()
    shown.close()
    first, *_, last, end = drawings(terminal)
    assert first.startswith(" 25% ━━╸━━━━━━━")
    assert last == "100% ━━━━━━━━━━ 0:00:00 left  epoch 2/2  step 20  1,234 samples/s  val/loss 0.5"
    assert end == ""
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is seen
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_is_cut_off_and_a_text_cannot_steer_the_terminal(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    bar = Bar(make_console(terminal, force_terminal=True), 0, 10)
    bar.text = "\x1b[2J" + "long " * 20
    bar.close()
    last = drawings(terminal)[-2]
    assert last.startswith("  0% ━━━━━ \\x1b[2Jlong long")
    assert "\x1b[2J" not in terminal.getvalue()


def test_steps_are_drawn_only_now_and_then(terminal, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    bar = Bar(make_console(terminal, force_terminal=True), 0, 1000)
    for _ in range(1000):
        now += 0.001
        bar.advance(1)
    assert 5 <= len(drawings(terminal)) <= 7


@pytest.mark.parametrize("kind", ["pipe", "dumb"])
def test_elsewhere_an_evaluation_is_a_line(kind, terminal, monkeypatch, capsys):
    if kind == "pipe":
        monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    else:
        monkeypatch.setenv("TERM", "dumb")
    shown = Progress(start_step=0, total_steps=20, steps_per_epoch=10)
    shown.advance(1)
    shown.show(10, {"train/loss": 1.0})
    shown.report(20, {"val/loss": 0.5})
    shown.close()
    line = "epoch 2/2  step 20  train/loss 1  val/loss 0.5  0:00:00 left\n"
    assert capsys.readouterr().out == line
    assert terminal.getvalue() == ""


def test_a_quiet_run_shows_nothing(terminal, capsys):
    shown = Progress(start_step=0, total_steps=2, steps_per_epoch=1, quiet=True)
    shown.advance(1)
    shown.report(1, {"val/loss": 0.5})
    shown.close()
    assert capsys.readouterr().out == terminal.getvalue() == ""
