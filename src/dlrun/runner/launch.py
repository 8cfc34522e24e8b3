"""Training a run in as many processes as it has devices: in this one, or in one for each that this one starts."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from dlrun.config import settings
from dlrun.config.chosen_metrics import own_metrics
from dlrun.config.search_path import COMPONENTS
from dlrun.config.trust import trusted_targets
from dlrun.errors import ConfigError, command, note
from dlrun.runner import metadata, resume, start
from dlrun.runner.peers import RankEnded
from dlrun.storage.run_directory import LOCK, PREPARED, RunDirectory, is_prepared
from dlrun.system.hardware import cores_each
from dlrun.training.device import count_processes, kind_of


def train(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
) -> int:
    """As `start.train`, in as many processes as the run has devices."""
    count = count_devices(plain)
    if count == 1:
        return start.train(plain, run, overrides=overrides, choices=choices, order=order)
    prepare_run(plain, run, overrides, choices, order)
    with ExitStack() as undone:
        undone.callback(_remove_prepared, run)
        try:
            return train_in_processes(plain, run, count)
        except RankEnded:
            undone.pop_all()
            raise


def prepare(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
) -> int:
    """Make a run that others are to begin, and print the commands for that; the exit code.

    Raises:
        ConfigError: the directory holds a run already.
    """
    prepare_run(plain, run, overrides, choices, order)
    devices, allowed = plain["trainer"]["devices"], worker_words(plain)
    each = len(devices) if isinstance(devices, list) else {"all": "gpu"}.get(devices, devices)
    words = shlex.join(
        [f"--rdzv-id={run.path.name}", "-m", "dlrun.worker", str(run.path), *allowed]
    )
    print(
        f"prepared {run.path}; train it on this machine with\n"
        f"  {command('resume', run.path, *allowed)}\n"
        "or on N machines that see this folder, by the same command on each, where HOST is one of them, with\n"
        f"  torchrun --nnodes=N --nproc-per-node={each} --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
        f"{words}"
    )
    return 0


def prepare_run(
    plain: Mapping[str, Any],
    run: RunDirectory,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
) -> None:
    """Make the directory of a run, which its ranks find when they begin.

    Raises:
        ConfigError: it holds a run, or the run's setting init_from names none.
    """
    plain = start.with_initial_run(start.with_absolute_paths(plain))
    begun = {"created": metadata.now(), "order": order, "choices": dict(choices)}
    metadata.write_start(run, plain, overrides, begun)
    # Until the ranks begin; it ranks the run among others.
    run.write_summary({"name": plain["name"], "status": PREPARED, **begun, "swept": {}})


def go_on(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
) -> int:
    """As `resume.resume`, in as many processes as the run has devices now."""
    count = count_devices(plain)
    if count == 1:
        return resume.resume(plain, run, overrides=overrides)
    return train_in_processes(plain, run, count, overrides)


def worker_words(plain: Mapping[str, Any]) -> list[str]:
    """What lets a worker call the targets of a config that are offered elsewhere, as in --config-dir."""
    named = [plain.get(group) for group in COMPONENTS]
    nodes = [*named, *(node for _, node in own_metrics(plain.get("metrics")))]
    targets = {str(node.get("_target_")) for node in nodes if isinstance(node, Mapping)}
    return [f"--allow={target}" for target in sorted(targets - trusted_targets(()))]


def count_devices(plain: Mapping[str, Any]) -> int:
    """In how many processes to train a run, one for each of its devices.

    Raises:
        ConfigError: there are fewer devices, or this build of torch cannot have several work together.
    """
    import torch.distributed

    trainer = settings.parse(plain).trainer
    count = count_processes(trainer)
    if count > 1:
        if not torch.distributed.is_available():
            raise ConfigError(
                f"trainer.devices is {trainer.devices}, but this build of torch has no torch.distributed; use 1"
            )
        if kind_of(trainer.accelerator) == "cpu" and count > (cores := cores_each()):
            note(f"trainer.devices is {count}: more processes than the {cores} cores here")
    return count


def train_in_processes(
    plain: Mapping[str, Any], run: RunDirectory, count: int, words: Sequence[str] = ()
) -> int:
    """Train the run of the directory in `count` processes; the exit code as of one.

    Args:
        words: for the command line of each, options and values to change.
    """
    from dlrun.runner.processes import run_processes  # which only those need that have several

    return run_processes(run, count, [*worker_words(plain), *words])


def _remove_prepared(run: RunDirectory) -> None:
    """Remove what was written of a run if it has not begun, and only that."""
    if not is_prepared(run):
        return
    files = (run.config_file, run.overrides_file, run.environment_file, run.summary_file)
    for file in (*files, run.log, run.path / LOCK):
        file.unlink(missing_ok=True)
    shutil.rmtree(run.path / "ranks", ignore_errors=True)
    with suppress(OSError):
        run.checkpoints.rmdir()
