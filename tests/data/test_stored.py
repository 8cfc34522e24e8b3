"""Rows of arrays in files are those of the same array in memory, wherever in the file they lie."""

import numpy as np
import pytest

from dlrun.data import stored
from dlrun.data.stored import read_ahead, read_rows
from dlrun.errors import RunFailed


@pytest.mark.parametrize("shape", [(), (3,), (2, 40, 50)])
@pytest.mark.parametrize("at_once", [1, 2**12, 2**23])
def test_rows_near_and_far_are_read_in_the_order_that_is_asked_for(
    shape, at_once, tmp_path, monkeypatch
):
    monkeypatch.setattr(stored, "_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 99, (600, *shape)).astype(np.float32)
    whole.tofile(tmp_path / "array")
    chosen = [
        np.arange(600), np.arange(40, 20, -1), rng.permutation(600), rng.integers(0, 600, 7),
        np.array([5, 6, 7, 400, 401, 3]), np.array([], int),
    ]  # fmt: skip
    for rows in chosen:
        assert np.array_equal(read_rows(tmp_path / "array", "f4", shape, rows), whole[rows])


def test_a_file_that_is_cut_off_ends_the_run_with_the_remedy(tmp_path):
    np.arange(10.0).tofile(tmp_path / "array")
    with pytest.raises(RunFailed, match=r"cannot be read \(it has been cut off\): resume the run"):
        read_rows(tmp_path / "array", "f8", (), np.array([0, 10]))


def test_reading_ahead_keeps_the_order_and_passes_errors_on():
    assert list(read_ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(read_ahead(iter([]))) == []

    def failing():
        yield 1
        raise ValueError("no more")

    read = read_ahead(failing())
    assert next(read) == 1
    with pytest.raises(ValueError, match="no more"):
        next(read)
