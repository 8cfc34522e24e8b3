"""Checkpoints: whole or not at all, found damaged when they are, and unable to run code."""

import os
import pickle
import random
import warnings
import zipfile

import numpy as np
import pytest
import torch

from dlrun.errors import ConfigError
from dlrun.storage import checkpoint
from dlrun.storage.checkpoint import (
    load,
    load_latest,
    random_states,
    restore_random_states,
    save,
    save_all,
    save_best,
)

NAMES = ("last.pt", "previous.pt")


def state(step):
    return {"step": step, "model": {"w": torch.arange(6.0).reshape(2, 3) + step}, "seconds": 0.5}


def tear(file, length):
    file.write_bytes(file.read_bytes()[:length])


def steps(folder):
    """What is found in the folder: the step of each whole checkpoint by its name."""
    return {file.name: load(file)["step"] for file in folder.iterdir()}


def test_what_is_loaded_is_what_was_saved(tmp_path):
    kinds = {
        "tensors": [torch.randn(3), torch.arange(4), torch.tensor([True])],
        "half": torch.randn(2, dtype=torch.float64).to(torch.bfloat16),
        "numbers": (1, 2.5, None, True, float("inf")),
        "nested": {"text": "später", "empty": {}},
    }
    save(tmp_path, kinds)
    loaded = load_latest(tmp_path)
    assert loaded["numbers"] == kinds["numbers"]
    assert loaded["nested"] == kinds["nested"]
    for a, b in zip(loaded["tensors"], kinds["tensors"], strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert torch.equal(loaded["half"], kinds["half"])


def test_the_last_two_checkpoints_are_kept_and_nothing_else(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, state(step))
    assert steps(tmp_path) == {"last.pt": 3, "previous.pt": 2}
    assert load_latest(tmp_path)["step"] == 3


def test_the_best_checkpoint_replaces_the_best_before_and_no_other(tmp_path):
    save(tmp_path, state(1))
    save_best(tmp_path, state(2))
    save_best(tmp_path, state(3))
    assert steps(tmp_path) == {"last.pt": 1, "best.pt": 3}


def test_without_a_checkpoint_there_is_none_to_load(tmp_path):
    assert load_latest(tmp_path) is None
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "last.pt")
    assert str(caught.value) == f"{tmp_path / 'last.pt'} does not exist"


def test_a_kill_between_the_two_renames_leaves_the_checkpoint_before(tmp_path):
    save(tmp_path, state(1))
    (tmp_path / "last.pt").rename(tmp_path / "previous.pt")
    (tmp_path / "last.tmp").write_bytes(b"half a checkpoint")
    assert load_latest(tmp_path)["step"] == 1
    save(tmp_path, state(2))
    assert steps(tmp_path) == {"last.pt": 2, "previous.pt": 1}


@pytest.mark.parametrize("kill_at", range(5))
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(kill_at, tmp_path, monkeypatch):
    """Stands in for the kill: the write, a sync, a rename or the last sync never happens."""

    class Killed(BaseException):
        pass

    moments = iter(range(5))

    def mortal(function):
        def call(*arguments):
            if next(moments) == kill_at:
                raise Killed
            return function(*arguments)

        return call

    save(tmp_path, state(1))
    save(tmp_path, state(2))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", mortal(torch.save))
        patch.setattr(os, "replace", mortal(os.replace))
        patch.setattr(checkpoint, "_sync", mortal(checkpoint._sync))
        with pytest.raises(Killed):
            save(tmp_path, state(3))
    assert load_latest(tmp_path)["step"] == (3 if kill_at == 4 else 2)
    save(tmp_path, state(4))
    assert load_latest(tmp_path)["step"] == 4


@pytest.mark.parametrize("count", [1, 20])
def test_checkpoints_of_many_runs_are_written_as_each_alone(count, tmp_path):
    folders = [tmp_path / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir()
        save(folder, state(1))
    states = {folder / "last.pt": state(number) for number, folder in enumerate(folders, 2)}
    save_all(states | {folders[0] / "best.pt": state(99)})
    for number, folder in enumerate(folders, 2):
        best = {"best.pt": 99} if folder == folders[0] else {}
        assert steps(folder) == {"last.pt": number, "previous.pt": 1} | best


def test_one_that_cannot_be_written_leaves_those_of_all_runs_as_they_were(tmp_path):
    save(tmp_path, state(1))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_all({tmp_path / "last.pt": state(2), tmp_path / "best.pt": {"bad": lambda: None}})
    assert load_latest(tmp_path)["step"] == 1
    assert not (tmp_path / "best.pt").exists()


def test_random_states_written_number_by_number_are_restored_too():
    """As older checkpoints hold Python's."""
    generator = torch.Generator()
    states = random_states(generator) | {"python": random.getstate()}
    expected = [random.random() for _ in range(3)]
    restore_random_states(states, generator)
    assert [random.random() for _ in range(3)] == expected


def test_a_write_that_fails_leaves_the_checkpoints_as_they_were(tmp_path):
    save(tmp_path, state(1))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save(tmp_path, {"step": 2, "not plain": lambda: None})
    assert load_latest(tmp_path)["step"] == 1


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.5, 0.9, 0.999])
def test_a_torn_checkpoint_gives_way_to_the_one_before_with_a_warning(share, tmp_path):
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    file = tmp_path / "last.pt"
    tear(file, int(share * file.stat().st_size))
    with pytest.warns(UserWarning, match=r"last\.pt is damaged .* going back to the one before it"):
        assert load_latest(tmp_path)["step"] == 1


def test_a_flipped_bit_is_found_or_touches_nothing_that_is_read(tmp_path):
    """Every 29th byte in turn, another bit each: what loads is what was saved, or it is refused."""
    save(tmp_path, state(1))
    file = tmp_path / "last.pt"
    whole = file.read_bytes()
    refused = 0
    for position in range(0, len(whole), 29):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            loaded = load(file)
        except ConfigError:
            refused += 1
            continue
        assert loaded["step"] == 1
        assert torch.equal(loaded["model"]["w"], state(1)["model"]["w"])
    assert refused > 12


def test_a_flipped_bit_in_the_weights_is_refused(tmp_path):
    save(tmp_path, state(1))
    file = tmp_path / "last.pt"
    content = bytearray(file.read_bytes())
    content[content.index(state(1)["model"]["w"].numpy().tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad checksum of .*data/0"):
        load(file)


@pytest.mark.parametrize("content", [[1, 2], {"step": 1}, {"step": 1, "format": 99}])
def test_what_is_not_a_checkpoint_of_this_version_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(
        ConfigError, match=r"is damaged \(not a checkpoint of this version of dlrun"
    ):
        load(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4" + bytes(100)])
def test_what_is_no_archive_at_all_is_refused(content, tmp_path):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"last\.pt is damaged"):
        load(tmp_path / "last.pt")


def test_the_damaged_first_checkpoint_of_a_run_is_refused_rather_than_forgotten(tmp_path):
    save(tmp_path, state(1))
    tear(tmp_path / "last.pt", 100)
    with pytest.warns(UserWarning), pytest.raises(ConfigError) as caught:
        load_latest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no whole checkpoint (last.pt damaged): start the run again with dlrun train"
    )


def test_two_damaged_checkpoints_are_refused_with_both_names(tmp_path):
    for step in (1, 2):
        save(tmp_path, state(step))
    for name in NAMES:
        tear(tmp_path / name, 100)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        with pytest.raises(ConfigError, match=r"\(last.pt, previous.pt damaged\)"):
            load_latest(tmp_path)
    assert [name in str(w.message) for w, name in zip(caught_warnings, NAMES, strict=True)] == [
        True,
        True,
    ]


class Malicious:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    file = tmp_path / "last.pt"
    torch.save({"format": 1, "step": 1, "model": Malicious(trace)}, file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    with pytest.raises(ConfigError, match=r"last\.pt is damaged"):
        load(file)
    assert not trace.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "last.pt").write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(ConfigError):
        load(tmp_path / "last.pt")
    assert not trace.exists()


def draw(generator):
    """From every source of randomness: numbers, a Gaussian with a cached twin, a permutation."""
    return (
        [random.random() for _ in range(3)],
        random.gauss(0, 1),
        np.random.standard_normal(3).tolist(),
        np.random.permutation(10).tolist(),
        torch.randn(7).tolist(),
        torch.randperm(9).tolist(),
        torch.rand(5, generator=generator).tolist(),
    )


def test_random_states_come_back_bit_for_bit_through_a_checkpoint(tmp_path):
    generator = torch.Generator().manual_seed(3)
    draw(generator)
    save(tmp_path, {"random": random_states(generator)})
    expected = [draw(generator) for _ in range(3)]
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        other = torch.Generator().manual_seed(seed)
        restore_random_states(load_latest(tmp_path)["random"], other)
        assert [draw(other) for _ in range(3)] == expected


def test_taking_the_random_states_draws_nothing():
    generator = torch.Generator().manual_seed(3)
    before = random_states(generator)
    again = random_states(generator)
    assert torch.equal(before["python"][1], again["python"][1])
    assert torch.equal(before["torch"], again["torch"])
    assert torch.equal(before["generator"], again["generator"])
    assert torch.equal(before["numpy"][1], again["numpy"][1])


def test_the_state_of_a_generator_elsewhere_is_passed_over():
    """A run moved from a GPU to the CPU: its generator keeps its own seed."""
    generator = torch.Generator().manual_seed(3)
    states = random_states(generator) | {"generator": torch.zeros(16, dtype=torch.uint8)}
    expected = torch.rand(3, generator=torch.Generator().manual_seed(3))
    restore_random_states(states, generator)
    assert torch.equal(torch.rand(3, generator=generator), expected)


class _Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refusal_of(path):
    with pytest.raises(ConfigError) as caught:
        checkpoint.load(path)
    return str(caught.value)


def test_a_checkpoint_that_asks_for_more_memory_than_it_has_bytes_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "x": torch.zeros(100_000)}, path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as of, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        for name in of.namelist():
            to.writestr(name, of.read(name))
    assert "is packed" in refusal_of(packed)
    torch.save({"format": 1, "x": _Calls(bytearray, 10**11)}, path)
    assert "makes up bytes" in refusal_of(path)
    torch.save({"format": 1, "x": [torch.zeros(1).expand(10**6, 10**6)]}, path)
    assert "larger than what is stored" in refusal_of(path)


def test_a_refused_pickle_comes_without_advice_to_load_it_all_the_same(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "x": _Calls(exec, "raise SystemExit")}, path)
    assert refusal_of(path) == (
        f"checkpoint {path} is damaged, or holds more than weights and plain values, and is not loaded"
    )
