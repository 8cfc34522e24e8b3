"""A sweep from the command line to its end: checked, begun or resumed, run round by round."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from dlrun.config.chosen_metrics import own_directions
from dlrun.config.hydra_settings import refuse_unused
from dlrun.config.metrics import contradiction, direction_in_run
from dlrun.errors import ConfigError, command, note
from dlrun.runner.metadata import now
from dlrun.storage.disk import DiskFull
from dlrun.storage.index import next_order
from dlrun.storage.run_directory import RunDirectory, from_here, lock
from dlrun.storage.shared_locks import at_work, count_at_work
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep
from dlrun.sweep import resources
from dlrun.sweep.comparability import Comparison
from dlrun.sweep.data_cache import RecordingLoader, forget_data
from dlrun.sweep.finish import finish
from dlrun.sweep.helper import help_in
from dlrun.sweep.journal import read_journal
from dlrun.sweep.launch import Launched, Watcher, launcher_settings
from dlrun.sweep.quota import Limits, role
from dlrun.sweep.ray_cluster import Cluster, connected, read_settings
from dlrun.sweep.resume import (
    allow_words,
    refuse_another,
    refuse_fewer,
    typed_command,
    with_stored_objective,
)
from dlrun.sweep.samplers.per_trial import TrialSamplers
from dlrun.sweep.spec import SweepSpec, read_spec, with_comparable_objective
from dlrun.sweep.study import create_study, rehearsal
from dlrun.sweep.sweep import Sweep, is_over, open_sweep
from dlrun.sweep.trial import Interrupted
from dlrun.sweep.validate import (
    check_columns,
    check_measures,
    check_objective,
    check_patience,
    check_seeds,
    check_settings_one_by_one,
)
from dlrun.sweep.work import Worker
from dlrun.training.device import DeviceLost
from dlrun.training.engine_state import let_go

if TYPE_CHECKING:
    from dlrun.sweep.ray_driver import OnRay  # which imports Ray

_SHOWN_DRY = 10  # settings of a dry run
_FAILURE = 1
_INTERRUPTED = 130  # 128 + SIGINT


def run(
    words: list[str],
    *,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> int:
    """Run the sweep that the overrides `words` ask for; the exit code, 1 where a trial failed.

    Raises:
        ConfigError: something is wrong with it; no trial was begun.
    """
    spec = read_spec(words, config, hydra_context.config_loader)
    refuse_unused(config.hydra, sweeps=True)
    directory = SweepDirectory(from_here(Path(str(config.hydra.sweep.dir)).expanduser()))
    if isinstance(limits := role(), Limits):
        return _help(spec, directory, config, limits)
    with ExitStack() as held:
        begun = is_sweep(directory.path)
        # Before it is read: another process at work on it would change what was read.
        if begun and not spec.strategy.settings.dry_run:
            held.enter_context(lock(RunDirectory(directory.path)))
        stored = directory.read() if begun else None
        return _run(spec, directory, stored, held, config, hydra_context, task_function)


def _help(spec: SweepSpec, directory: SweepDirectory, config: DictConfig, limits: Limits) -> int:
    """Take trials of a sweep that another process has begun, once it is sure that they are the same here.

    Raises:
        ConfigError: its configs or data are not the same here, or a trial could not be trained.
    """
    stored = directory.read()
    spec = with_stored_objective(spec, stored)
    refuse_another(spec, stored, directory.path)
    data = RecordingLoader()
    _check(spec, config, data)
    data.refuse_other(stored.get("data", {}))
    return help_in(directory, limits, forced=resources.is_stacked(config.hydra.launcher))


def _run(
    spec: SweepSpec,
    directory: SweepDirectory,
    stored: dict[str, Any] | None,
    held: ExitStack,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> int:
    """As `run`, of a spec and what `directory` holds of it; `held` has the lock of what is there."""
    launcher = config.hydra.launcher
    alone = resources.in_this_process(launcher)
    if role() == "prepare" and not alone:
        raise ConfigError(
            "--no-driver launches nothing, but hydra/launcher is set: leave out one of the two"
        )
    if stored is not None:
        spec = with_stored_objective(spec, stored)
        refuse_another(spec, stored, directory.path)
        refuse_fewer(spec.strategy.plan.total, directory)
    else:
        check_measures(spec.space)
        check_seeds(spec.space, spec.strategy.settings.seeds)
    data = RecordingLoader()
    comparison = _check(spec, config, data)
    before = (stored or {}).get("data", {})
    data.refuse_other(before)
    if stored is None:
        spec = with_comparable_objective(spec, comparison, by_results=_depends_on_results(spec))
        _say_contradiction(spec)
    check_patience(spec)
    if spec.strategy.settings.dry_run:
        return _show_plan(spec, None if stored is None else directory)
    _refuse_foreign_folder(directory)
    cluster = _cluster(spec, config, held)
    if stored is None:
        directory.path.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock(RunDirectory(directory.path)))
        if is_sweep(directory.path):
            raise ConfigError(
                f"{directory.path} was begun by another process a moment ago: give this sweep a folder of its own"
            )
    others, elsewhere = not alone or role() == "prepare", not resources.on_this_machine(launcher)
    held.enter_context(at_work(directory, others=others, elsewhere=elsewhere))
    sweep = _describe_and_open(spec, directory, stored, config, data.found | before)
    if role() == "prepare":
        print(f"{_size(spec)}; in {directory.path}")
        print(f"prepared; train with any number of `{command('work', directory.path)}`")
        return 0
    return _run_all(sweep, spec, config, hydra_context, task_function, cluster)


def _run_all(
    sweep: Sweep,
    spec: SweepSpec,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    cluster: Cluster | None,
) -> int:
    """Every trial that is not over, round by round, and the end."""
    print(f"{_size(spec)}; in {sweep.directory.path}", flush=True)
    # All that is loaded by now stays: a collection that looks at it again takes as long as many trials.
    gc.freeze()
    watcher = Watcher(sweep)
    had = watcher.standing.ended
    try:
        if resources.in_this_process(config.hydra.launcher):
            stacked = resources.is_stacked(config.hydra.launcher)
            Worker(sweep, watcher, forced=stacked).run()
        else:
            launched = _launched(sweep, watcher, config, hydra_context, task_function, cluster)
            for numbers in spec.strategy.plan.rounds():
                if (left := sweep.left(numbers)) and not sweep.stops_at_failures():
                    launched.run(left)
    except Interrupted as end:
        return _stopped(sweep, watcher, end.code)
    except (DiskFull, DeviceLost) as error:
        print(f"dlrun: error: {error}", file=sys.stderr)
        return _stopped(sweep, watcher, _FAILURE)
    except KeyboardInterrupt:
        return _stopped(sweep, watcher, _INTERRUPTED)
    except SystemExit as end:  # SIGTERM or SIGHUP while no trial was under way here
        return _stopped(sweep, watcher, int(end.code or 0))
    finally:
        gc.unfreeze()
        watcher.display.close()
    code = finish(sweep, watcher.standing)
    if had == spec.strategy.plan.total:
        _say_nothing_was_left(sweep)
    return code


def _launched(
    sweep: Sweep,
    watcher: Watcher,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    cluster: Cluster | None,
) -> Launched | OnRay:
    """What has other processes train the trials."""
    forget_data()
    if cluster is not None:
        from dlrun.sweep.ray_driver import OnRay

        return OnRay(sweep, watcher, cluster)
    return Launched(
        sweep, watcher, config=config, hydra_context=hydra_context, task_function=task_function
    )


def _cluster(spec: SweepSpec, config: DictConfig, held: ExitStack) -> Cluster | None:
    """The cluster that trials are trained on, if they are, connected until `held` is closed."""
    if not resources.is_ray(config.hydra.launcher):
        return None
    per_gpu = spec.strategy.settings.trials_per_gpu
    return held.enter_context(
        connected(config.hydra.launcher, trainer=config.trainer, trials_per_gpu=per_gpu)
    )


def _say_nothing_was_left(sweep: Sweep) -> None:
    total = sweep.strategy.plan.total
    more = command("resume", sweep.directory.path, f"sweep.trials={2 * total}")
    whole = sweep.strategy.is_complete_grid
    hint = f": the grid has {total} combinations" if whole else f"; `{more}` adds trials"
    print(f"nothing was left to train{hint}")


def _unfinished(trials: Sequence[FrozenTrial], numbers: Sequence[int]) -> list[int]:
    """Those of the `numbers` whose trials are not over, or not even planned."""
    return [n for n in numbers if n >= len(trials) or not is_over(trials[n])]


def _stopped(sweep: Sweep, watcher: Watcher, code: int) -> int:
    watcher.display.close()
    again = command("resume", sweep.directory.path, *allow_words(sweep.directory))
    print(
        f"dlrun: stopped with {watcher.standing.counts()}; continue with `{again}`", file=sys.stderr
    )
    return code


def _check(spec: SweepSpec, config: DictConfig, load: RecordingLoader) -> Comparison:
    """Refuse what no trial, or not every one, could be trained with; how far the others can be compared."""
    first = _first_sample(spec)
    launcher = config.hydra.launcher
    if spec.strategy.settings.stack == "on" and not resources.in_this_process(launcher):
        raise ConfigError(
            "sweep.stack is on, but hydra/launcher runs each trial in a process of its own: leave out one of the two"
        )
    if resources.is_ray(launcher):
        read_settings(launcher)
    comparison = Comparison(spec.part)
    experiment = check_settings_one_by_one(
        spec.space,
        spec.composer,
        first,
        load=load,
        here=resources.on_this_machine(launcher),
        comparison=comparison,
    )
    settings, trainer = spec.strategy.settings, experiment.config.trainer
    by_side = resources.is_local(launcher) or resources.is_ray(launcher)
    if by_side and trainer.devices != 1:
        raise ConfigError(
            f"trainer.devices is {trainer.devices}, but hydra/launcher runs trials side by side, each on one device: "
            "leave the launcher out, so that each has all devices in its turn, or set trainer.devices=1"
        )
    own = own_directions(spec.config.get("metrics", []))
    way = direction_in_run(spec.objective, monitor=trainer.monitor, mode=trainer.mode, own=own)
    check_objective(
        spec.objective,
        experiment,
        pruning=settings.pruner != "none",
        directed=settings.direction != "auto" or way is not None,
    )
    check_columns(settings.columns, experiment)
    let_go(experiment.engine)
    return comparison


def _depends_on_results(spec: SweepSpec) -> bool:
    """Whether what a trial samples, or when it is ended, follows from the results of others."""
    strategy = spec.strategy
    samplers = TrialSamplers(strategy, spec.space)
    by_values = strategy.plan.round_size or samplers.without_results < strategy.plan.total
    return bool(by_values or strategy.settings.pruner != "none")


def _say_contradiction(spec: SweepSpec) -> None:
    asked = spec.strategy.settings.direction
    modes: dict[str, Literal["min", "max"]] = {"minimize": "min", "maximize": "max"}
    own = own_directions(spec.config.get("metrics", []))
    if odd := contradiction("sweep.direction", spec.objective, modes.get(asked, "auto"), own):
        note(odd)


def _first_sample(spec: SweepSpec) -> dict[str, Any]:
    """What the first trial samples; a second one shows whether the sampler has all that it needs."""
    samplers, ledger = TrialSamplers(spec.strategy, spec.space), rehearsal(spec.direction)
    first = samplers.rehearse(ledger, 0)
    if spec.strategy.plan.total > 1:
        samplers.rehearse(ledger, 1)
    return first


def _show_plan(spec: SweepSpec, directory: SweepDirectory | None) -> int:
    """The number of trials and the first of them; of a sweep in `directory`, those that are missing."""
    plan, samplers = spec.strategy.plan, TrialSamplers(spec.strategy, spec.space)
    ledger = rehearsal(spec.direction, directory)
    print(_size(spec))
    missing = _unfinished(ledger.trials(), range(plan.total))
    if directory is not None:
        print(f"{len(missing)} of them to go")
    certain = _certain(missing, samplers)
    for number in certain[:_SHOWN_DRY]:
        labels = spec.space.labels(samplers.rehearse(ledger, number))
        words = [f"{key}={text}" for key, text in labels.items()]
        print(f"trial {number}: {' '.join([*words, *plan.words(number)])}")
    if more := len(missing) - len(certain[:_SHOWN_DRY]):
        why = "not shown" if len(certain) > _SHOWN_DRY else "follow from results"
        print(f"and {more} more ({why})")
    print("dry run: nothing was trained")
    return 0


def _certain(missing: Sequence[int], samplers: TrialSamplers) -> list[int]:
    """Those of the `missing` trials whose values no result to come can change."""
    if not missing:
        return []
    round_of = samplers.strategy.plan.round_of
    if samplers.strategy.plan.round_size:  # the rounds before are over
        return [number for number in missing if round_of(number) == round_of(missing[0])]
    return [missing[0], *(n for n in missing[1:] if n < samplers.without_results)]


def _size(spec: SweepSpec) -> str:
    plan, seeds = spec.strategy.plan, spec.strategy.settings.seeds
    each = f" of {seeds} seeds each" if seeds > 1 else ""
    rounds = f", in rounds of {plan.round_size}" if plan.round_size else ""
    trials = f"{plan.total} trial{'s' if plan.total > 1 else ''}"
    aim = f"{spec.direction} {spec.objective}" if spec.comparable else "not compared"
    return f"{trials}{each}{rounds}; {aim}"


def _describe_and_open(
    spec: SweepSpec,
    directory: SweepDirectory,
    stored: dict[str, Any] | None,
    config: DictConfig,
    data: dict[str, Any],
) -> Sweep:
    launcher, count, gpus = config.hydra.launcher, None, list[str]()
    if resources.is_local(launcher):
        gpus = [] if spec.on_cpu else resources.gpus_seen()
        per_gpu = spec.strategy.settings.trials_per_gpu
        count = resources.count_slots(launcher, gpus=len(gpus), trials_per_gpu=per_gpu)
        launcher_settings(config, count)
    begun = {"created": now(), "order": next_order()}
    before = stored or {"name": directory.path.name, **begun, "command": typed_command()}
    here = {"failures_forgiven": 0, "places": count, "gpus": gpus, "data": data}
    description = before | spec.description() | here
    # Before the study: a kill between the two leaves a sweep that can be resumed.
    if count_at_work(directory) > 1 and read_journal(directory).damaged:
        raise ConfigError(
            f"{directory.journal} is damaged, and other processes work on the sweep: end them, so that it can be mended"
        )
    directory.end_file.unlink(missing_ok=True)
    directory.write(description)
    create_study(directory, spec.direction)
    sweep = open_sweep(directory.path)
    failed = sum(trial.state is TrialState.FAIL for trial in sweep.ledger.trials())
    if failed:
        directory.write(description | {"failures_forgiven": failed})
        sweep.forgiven = failed
    return sweep


def _refuse_foreign_folder(directory: SweepDirectory) -> None:
    """A sweep's folder is its own: what is there already must not be taken for a trial, or written over."""
    if is_sweep(directory.path) or not directory.path.is_dir():
        return
    if found := [
        entry.name for entry in directory.path.iterdir() if not entry.name.startswith(".")
    ]:
        raise ConfigError(
            f"hydra.sweep.dir is {directory.path}, which holds {min(found)} and is no sweep: choose a new folder"
        )
