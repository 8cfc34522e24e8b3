"""A journal of which lines are damaged: nothing is lost that the trials' own summaries know."""

import shutil
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.errors import forget_notes
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.journal import read_journal
from dlrun.sweep.study import open_study

WORDS = (
    "dataset=iris", "model=logistic", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "tracking.tensorboard=false", "sweep.stack=off",
)  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    place = tmp_path_factory.mktemp("mending") / "sweep"
    asked = ["optimizer.lr=interval(0.1,0.2)", "trainer.batch_size=8,16", "sweep=random"]
    words = [*WORDS, *asked, "sweep.trials=3", f"hydra.sweep.dir={place}"]
    assert main(["train", "-m", *words]) == 0
    return place


@pytest.fixture
def copy(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sweep, tmp_path / "s")
    return SweepDirectory(Path("s"))


def known(sweep):
    return [
        (t.state, t.values, t.params.keys(), t.user_attrs.get("metrics"), t.user_attrs["seconds"])
        for t in open_study(sweep).trials
    ]


def damage(sweep, number):
    lines = sweep.journal.read_bytes().split(b"\n")
    lines[number] = b"\xff" + lines[number][1:]
    sweep.journal.write_bytes(b"\n".join(lines))


def test_each_line_can_be_damaged_and_nothing_is_lost(copy):
    whole, before = copy.journal.read_bytes(), known(copy)
    for number in range(whole.count(b"\n")):
        copy.journal.write_bytes(whole)
        damage(copy, number)
        assert read_journal(copy).damaged == [number + 1]
        assert known(copy) == before, whole.split(b"\n")[number]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('\\"low\\": 0.1', '\\"low\\": 9.1'),  # above "high": Optuna raises for it
        ('"param_value_internal":0', '"param_value_internal":"x"'),
        ('"metrics":{', '"metrics":3,"more":{'),
        ('"metrics":{"', '"metrics":{"more":"x","'),
        ('"user_attrs":{}', '"user_attrs":3'),
        ('"seconds":', '"seconds":"x","more":'),
    ],
)
def test_entries_with_values_that_no_trial_tells_are_damaged(before, after, copy):
    whole, told = copy.journal.read_text(), known(copy)
    assert before in whole
    copy.journal.write_text(whole.replace(before, after, 1))
    assert len(read_journal(copy).damaged) == 1
    assert known(copy) == told


def test_all_lines_damaged_are_rebuilt_from_the_summaries(copy):
    before = known(copy)
    copy.journal.write_bytes(b"\0\n" * copy.journal.read_bytes().count(b"\n"))
    assert known(copy) == before


def test_commands_say_so_in_one_line_and_a_resume_mends_the_file(copy, capfd):
    damage(copy, 5)
    for words in (["show", "s"], ["report", "s"], ["resume", "s"]):
        forget_notes()  # as each command is a process of its own
        assert main(words) == 0
        assert "study.journal: line 6 is damaged" in capfd.readouterr().err
    assert main(["show", "s"]) == 0
    assert "damaged" not in capfd.readouterr().err
    assert (copy.path / "study.journal.damaged").exists()


def test_reading_writes_nothing(copy):
    def files():
        return {file: file.stat().st_mtime_ns for file in copy.path.rglob("*")}

    (copy.path / ".journal.lock").unlink(missing_ok=True)
    before = files()
    assert main(["show", "s"]) == 0
    assert main(["runs", "s"]) == 0
    assert files() == before


def test_an_entry_that_is_being_written_is_not_read(copy):
    before = known(copy)
    with copy.journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert known(copy) == before
    assert not read_journal(copy).damaged


@pytest.mark.parametrize(
    ("sound", "written"),
    [
        ("[8, 16]", "[8, 32]"),
        ('"param_name":"optimizer.lr"', '"param_name":"../x"'),
        ('"metrics":{', '"metrics":{"x":"\\u001b[2J",'),
        ('"attempts":1', '"attempts":"x"'),
        ('"state":1,', '"state":9,'),
        ('"directions":[1]', '"directions":[7]'),
        ('"datetime_complete":"', '"datetime_complete":"x'),
    ],
)
def test_a_line_that_no_such_sweep_writes_is_a_damaged_one(sound, written, copy):
    before, journal = known(copy), copy.journal.read_text()
    assert sound in journal
    copy.journal.write_text(journal.replace(sound, written))
    assert read_journal(copy).damaged
    assert known(copy) == before
