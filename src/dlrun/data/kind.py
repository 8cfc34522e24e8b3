"""What a kind of data is: all that the rest of dlrun asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, InputKind, Preprocessing, Spec
from dlrun.data.changed_data import Kept
from dlrun.data.fingerprint import Parts
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError

TEST_PATH = "dataset.test_path"
AT_ONCE = 2**14  # inputs of a piece


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        raw: the type that a dataset's target returns.
        split: the rows of each part, from raw data and settings.
        encode: a data set from raw data, settings, the rows of each part, and the preprocessing. Where that
            is None, it is fitted on the training part.
        preprocessing: the type of what is fitted.
        units: what samples are called, for each `Spec.kind` that this kind of data has.
        reader: where the class that reads new inputs is. Its module is imported when it is needed: training
            does without.
    """

    raw: type
    split: Callable[[Any, DataSettings], Parts]
    encode: Callable[[Any, DataSettings, Parts, Any], Dataset]
    preprocessing: type[Preprocessing]
    units: Mapping[InputKind, str]
    reader: str

    @property
    def new_inputs(self) -> NewInputs:
        """What reads new inputs."""
        module, _, name = self.reader.rpartition(".")
        made: NewInputs = getattr(import_module(module), name)()
        return made


@dataclass(frozen=True)
class Labelled:
    """New rows with what is to be predicted of them, as a model takes them.

    Attributes:
        baselines: as of a `Dataset`.
    """

    part: Split
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Some of the new inputs, N of them, in their order.

    Attributes:
        files: the file of each.
        rows: the place of each in its file, from 0.
        raw: as `Preprocessing.inputs` takes them; an empty text is none.
        kept: columns that the file has beside them, N cells in each.
    """

    files: Sequence[str]
    rows: Sequence[int]
    raw: Any
    kept: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def pieces_of(
    path: Path, raw: Any, kept: Mapping[str, Sequence[Any]] | None = None, *, first: int = 0
) -> Iterator[Piece]:
    """The inputs `raw` of a file, some at a time; the first of them is in the row `first`."""
    for start in range(0, len(raw), AT_ONCE):
        stop = min(start + AT_ONCE, len(raw))
        columns = {name: cells[start:stop] for name, cells in (kept or {}).items()}
        rows = range(first + start, first + stop)
        yield Piece([str(path)] * len(rows), rows, raw[start:stop], columns)


class NewInputs(ABC):
    """New inputs of one kind of data, read from files in the form of those that a run was trained on.

    Attributes:
        preparing: how raw inputs become those of a model, in words for a program without dlrun.
        reads_folders: whether a folder may be one input, in parts.
    """

    preparing: ClassVar[str]
    reads_folders: ClassVar[bool] = False

    @abstractmethod
    def read(self, path: Path, spec: Spec, preprocessing: Any) -> Any:
        """The inputs in a file, raw as `Preprocessing.inputs` takes them; as many as its length, but of a series.

        Raises:
            BadFile, ConfigError: unreadable, or not what the run was trained on.
        """

    def pieces(
        self, files: Sequence[Path], spec: Spec, preprocessing: Any, keep: Sequence[str]
    ) -> Iterator[Piece]:
        """The inputs in files, some at a time.

        Args:
            keep: columns of the files to give besides.

        Raises:
            BadFile, ConfigError: as `read`; columns to keep of files that have none.
        """
        for path in files:
            if keep:
                raise no_table(path, keep)
            first = 0
            for raw in self.parts(path, spec, preprocessing):
                yield from pieces_of(path, raw, first=first)
                first += len(raw)

    def parts(self, path: Path, spec: Spec, preprocessing: Any) -> Iterator[Any]:
        """What `read` gives, some inputs at a time where a file may be larger than memory."""
        yield self.read(path, spec, preprocessing)

    @abstractmethod
    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        """The rows, with their targets, that `dataset.test_path` names; `dataset` is the config of the run's data.

        Raises:
            BadFile, ConfigError: unreadable, not in the form of the training data, or a class that those did not have.
        """

    def files_in(self, folder: Path, spec: Spec, preprocessing: Any) -> list[Path]:
        """The files of inputs in a folder and the folders in it, by name.

        Raises:
            ConfigError: there are none, or folders mean nothing for this run.
        """
        trained_on = "texts, each a line" if spec.kind == "tokens" else spec.kind
        raise ConfigError(
            f"{folder} is a folder, of which only images are taken, or texts where each is a file, and this run was "
            f"trained on {trained_on}; give its files one by one"
        )

    def files_of(self, path: Path, preprocessing: Any) -> list[Path]:
        """The files of inputs that a file means: itself, or those that it names.

        Raises:
            ConfigError: one that it names is missing.
        """
        return [path]

    def describe(self, preprocessing: Preprocessing, spec: Spec) -> tuple[str, dict[str, Any]]:
        """`preparing`, and the values that it speaks of."""
        return self.preparing, preprocessing.to_dict()


def from_code(given: Any, dataset: Mapping[str, Any]) -> ConfigError:
    """For data whose form no file has."""
    return ConfigError(
        f"{TEST_PATH} is {given}, but the data of this run come from code, {dataset['_target_']}, and no file has "
        "their form; `dlrun predict` takes new inputs without what is to be predicted"
    )


def no_table(path: Path, keep: Sequence[str]) -> ConfigError:
    """For columns to keep of an input that has none."""
    return ConfigError(
        f"--keep names {keep[0]}, a column, but {path} is an input without columns; leave --keep out"
    )


def one_path(given: Any) -> str:
    """`dataset.test_path` where it must be one.

    Raises:
        ConfigError: it is a list.
    """
    if isinstance(given, str):
        return given
    raise ConfigError(f"{TEST_PATH} is {given}, but must name one file")
