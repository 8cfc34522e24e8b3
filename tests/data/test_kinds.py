"""The list of kinds of data: each has what the rest of dlrun asks of it, and none is taken for another."""

from pathlib import Path

import pytest

from dlrun.data.base import Spec
from dlrun.data.kind import Kind, NewInputs
from dlrun.data.kinds import KINDS
from dlrun.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.raw.__name__)
def test_a_kind_reads_its_new_inputs_itself(kind: Kind) -> None:
    reader = kind.new_inputs
    assert isinstance(reader, NewInputs)
    assert type(reader).__module__.startswith(kind.encode.__module__.rpartition(".")[0])
    assert reader.preparing


def test_preprocessing_and_spec_name_one_kind() -> None:
    names = [(kind.preprocessing, shape) for kind in KINDS for shape in kind.units]
    assert len(names) == len({*names})
    assert len({kind.raw for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("shape", ["features", "sequence"])
def test_a_folder_of_inputs_is_refused_where_it_means_nothing(shape: str, tmp_path: Path) -> None:
    spec = Spec("regression", shape, (3,), 1)  # type: ignore[arg-type]
    reader = next(kind for kind in KINDS if shape in kind.units).new_inputs
    with pytest.raises(ConfigError, match=f"is a folder.* trained on {shape}; give its files"):
        reader.files_in(tmp_path, spec, None)
