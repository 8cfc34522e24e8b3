"""One of several processes that train cases: each of them by 1, 2 and 4 processes. Started by test_equal_answers.

    python ranks_of_cases.py FOLDER PROCESS

FOLDER has cases.json, a list of configs by the name of the case; answers of the first rank are written into it.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from side_by_side import PROCESSES

from dlrun.config.settings import parse
from dlrun.data.share import Share
from dlrun.errors import ConfigError
from dlrun.system.signals import StopRequest
from dlrun.training.build import assemble
from dlrun.training.ranks import Ranks

_PATIENCE = timedelta(seconds=120)  # until a process that waits for another gives up


class Recorder:
    """Keeps what an engine says, without the times."""

    def __init__(self) -> None:
        self.points: list[dict[str, float]] = []

    def stepped(self, steps: int) -> None:
        pass

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self.evaluated(values)

    def evaluated(self, values: Mapping[str, float]) -> None:
        self.points.append({name: v for name, v in values.items() if name != "samples_per_second"})


def trained(config: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """What a run says: each point, the metrics of its test, and how far the weights of any two ranks are apart."""
    engine = assemble(parse(dict(config)), ranks=ranks).engine
    recorder = Recorder()
    engine.fit(save=lambda: None, observer=recorder, stop=StopRequest())
    weights = torch.cat([p.detach().flatten() for p in engine.model.parameters()])
    each = ranks.each(weights)
    outputs = engine.test()
    part = engine.data.split(engine.data.tested)
    test = engine.chosen.final_metrics(engine.task, outputs, part) if ranks.first else {}
    return {
        "points": recorder.points,
        "test": test,
        "steps": engine.step,
        "best": [engine.best.step, engine.best.value],
        "apart": (each - each[0]).abs().max().item(),
    }


def all_cases(cases: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    found = {}
    for name, config in cases.items():
        try:
            found[name] = trained(config, ranks)
        except ConfigError as error:
            found[name] = {"refused": str(error)}
    return found


def main(folder: Path, process: int) -> None:
    torch.set_num_threads(1)
    gc.freeze()  # of what was imported nothing is garbage
    cases = json.loads((folder / "cases.json").read_text())
    for size in (1, 2, 4):
        group, index = divmod(process, size)
        own = dict([*cases.items()][group :: PROCESSES // size])
        if size > 1:
            store = dist.FileStore(str(folder / f"store-{size}-{group}"), size)
            dist.init_process_group(
                "gloo", store=store, rank=index, world_size=size, timeout=_PATIENCE
            )
        found = all_cases(own, Ranks(Share(index, size), index))
        if size > 1:
            dist.destroy_process_group()
        if index == 0:
            (folder / f"answers-{size}-{group}.json").write_text(json.dumps(found))
    compilers = {"sympy", "torch._dynamo"} & sys.modules.keys()
    (folder / f"compilers-{process}").write_text(" ".join(compilers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
