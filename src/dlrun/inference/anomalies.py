"""How unusual new inputs are to a run that learned to give its inputs again: a score for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dlrun.config.settings import RunConfig
from dlrun.data.kind import Piece
from dlrun.data.loaders import Split
from dlrun.inference.evaluate import outputs_of, task_of
from dlrun.inference.load import Trained
from dlrun.inference.predictions import Cells, beside, identity_of
from dlrun.training.reconstruction import Reconstruction


@dataclass(frozen=True)
class Anomalies:
    """The scores of N inputs.

    Attributes:
        identity: the columns that name each input.
        scores_N: the loss of each; the higher, the less it is like the training part.
        threshold: from which score on an input is an anomaly; None where none was chosen.
    """

    identity: Mapping[str, Cells]
    scores_N: np.ndarray
    threshold: float | None

    def columns(self) -> dict[str, Cells]:
        """The columns of a table, by name.

        Raises:
            ConfigError: a column of the input is called like one of these.
        """
        own = {"anomaly_score": Cells(float, self.scores_N.tolist())}
        if self.threshold is not None:
            answers = np.where(self.scores_N >= self.threshold, "yes", "no")
            own["anomaly"] = Cells(str, answers.tolist())
        return beside(self.identity, own)

    def records(self) -> Iterator[dict[str, Any]]:
        """A record for each input."""
        columns = self.columns()
        for row in range(len(self.scores_N)):
            yield {name: column.cells[row] for name, column in columns.items()}


def anomalies(
    trained: Trained, settings: RunConfig, pieces: Iterable[Piece]
) -> Iterator[Anomalies]:
    """The scores of each piece, its inputs named as those of predictions."""
    task = task_of(trained, settings)
    assert isinstance(task, Reconstruction)
    threshold = trained.thresholds.values[0] if trained.thresholds else None
    for piece in pieces:
        inputs = trained.preprocessing.inputs(piece.raw)
        part = Split(inputs, torch.zeros(len(inputs)))
        scores = task.anomaly_scores(outputs_of(trained, part, task, settings))
        yield Anomalies(identity_of(piece), scores.double().numpy(), threshold)
