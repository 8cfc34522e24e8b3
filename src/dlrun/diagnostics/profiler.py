"""`trainer.profile`: where the time of the first steps goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_WARM_UP, _STEPS = 5, 20


@contextmanager
def profiled(folder: Path, device: torch.device, *, enabled: bool) -> Iterator[Callable[[], None]]:
    """A function to call after each step on `device`; the profile is in `folder` as soon as it has seen enough of them.

    Writes table.txt (operations by their own time) and trace.json (for chrome://tracing or
    Perfetto), of 20 steps after 5 to warm up.
    """
    if not enabled:
        yield _nothing
        return
    from torch.profiler import ProfilerActivity, profile, schedule

    on_cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_cuda]

    def write(profiler: profile) -> None:
        folder.mkdir(exist_ok=True)
        order = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=30)
        (folder / "table.txt").write_text(table)
        profiler.export_chrome_trace(str(folder / "trace.json"))
        print(f"profile of {_STEPS} steps in {folder}/table.txt and trace.json")

    plan = schedule(wait=0, warmup=_WARM_UP, active=_STEPS, repeat=1)
    failure: Exception | None = None
    try:
        with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
            try:
                yield profiler.step
            except Exception as error:
                failure = error
                raise
    except Exception:  # to end the profile may fail as well, on a device that is lost
        if failure is not None:
            raise failure from None
        raise


def _nothing() -> None:
    """After a step that nobody watches."""
