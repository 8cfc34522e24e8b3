"""What is asked of `dlrun inspect`, and what it found. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dlrun.data.inspection.images import ImagesReport
from dlrun.data.inspection.leakage import Leak
from dlrun.data.inspection.plan import Plan, Trial
from dlrun.data.inspection.series import SeriesReport
from dlrun.data.inspection.table import TableReport, Target
from dlrun.data.inspection.texts import CharactersReport, TextsReport

DataKind = Literal["table", "series", "texts", "text", "images"]


@dataclass(frozen=True)
class Request:
    """What the command line says.

    Attributes:
        target: a column, or several with commas between them.
        time: a column.
        test: a test file.
        kind: what the file is; None to find it out.
        settings: other settings of the dataset.
    """

    target: str | None = None
    time: str | None = None
    test: str | None = None
    kind: DataKind | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test_settings(self) -> dict[str, Any]:
        """Those of a test file."""
        return {} if self.test is None else {"test_path": self.test, "test_fraction": None}


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        looked_at: the share of a large table that was read, from its beginning.
        table: of a file of rows, its columns; also of series, texts and images that a table names.
        content: what there is of this kind of data beside its table.
        targets: what would be predicted of a table, as far as train does not refuse it.
        leaks: columns that may reveal a target, those of `targets` first.
        leaks_sought: the columns for which they were looked for.
        in_training: rows of the test file that stand in the training file; None without a test file.
        plan: how to train on it; None where nothing can be predicted.
        notes: what train will say of the data.
        mended: why train refuses the data without some of the plan's settings.
        error: why train refuses them all the same; empty where it does not.
    """

    kind: DataKind
    path: str
    looked_at: float = 1.0
    table: TableReport | None = None
    content: SeriesReport | TextsReport | CharactersReport | ImagesReport | None = None
    targets: list[Target] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    leaks_sought: list[str] = field(default_factory=list)
    in_training: int | None = None
    plan: Plan | None = None
    notes: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    error: str = ""

    def tried(self, plan: Plan, trial: Trial) -> Inspection:
        """With a plan and how it went."""
        return replace(
            self,
            plan=trial.plan or plan,
            notes=trial.notes,
            mended=[*trial.mended],
            error=trial.error,
        )
