"""A sweep from the command line to its answer: checked, begun or gone on with, ended."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from dlrun.config.hydra_settings import refuse_unused
from dlrun.config.metrics import contradiction
from dlrun.errors import ConfigError, command, note
from dlrun.runner.metadata import now
from dlrun.storage.disk import DiskFull
from dlrun.storage.index import next_order
from dlrun.storage.run_directory import RunDirectory, from_here, lock
from dlrun.storage.sweep_directory import SweepDirectory, config_words, is_sweep
from dlrun.sweep import slots
from dlrun.sweep.comparable import Comparison
from dlrun.sweep.conclude import conclude
from dlrun.sweep.display import Standing
from dlrun.sweep.launch import Launched, Watcher, launcher_settings, run_here
from dlrun.sweep.resume_command import joined
from dlrun.sweep.sampling import Draws
from dlrun.sweep.shared_data import NotedData
from dlrun.sweep.spec import Question, as_settled, read_question, refuse_another, settled
from dlrun.sweep.stacking import Stacking
from dlrun.sweep.state import Sweep, is_over, open_sweep
from dlrun.sweep.study import create_study, rehearsal
from dlrun.sweep.trial import Interrupted
from dlrun.sweep.validate import (
    check_columns,
    check_objective,
    check_seeds,
    check_settings_one_by_one,
)

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
    question = read_question(words, config, hydra_context.config_loader)
    refuse_unused(config.hydra, sweeps=True)
    place = SweepDirectory(from_here(Path(str(config.hydra.sweep.dir)).expanduser()))
    with ExitStack() as held:
        begun = is_sweep(place.path)
        # Before it is read: another process at work on it would change what was read.
        if begun and not question.strategy.settings.dry_run:
            held.enter_context(lock(RunDirectory(place.path)))
        stored = place.read() if begun else None
        return _run(question, place, stored, held, config, hydra_context, task_function)


def _run(
    question: Question,
    place: SweepDirectory,
    stored: dict[str, Any] | None,
    held: ExitStack,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> int:
    """As `run`, of a question and what `place` holds of it; `held` has its lock if there is something."""
    if stored is not None:
        question = as_settled(question, stored)
        refuse_another(question, stored, place.path)
        _refuse_fewer(question.strategy.plan.total, place)
    else:
        check_seeds(question.space, question.strategy.settings.seeds)
    data = NotedData()
    comparison = _check(question, config, data)
    before = (stored or {}).get("data", {})
    data.refuse_other(before)
    if stored is None:
        question = settled(question, comparison, by_results=_goes_by_results(question))
        _say_contradiction(question)
    if question.strategy.settings.dry_run:
        return _show_plan(question, None if stored is None else place)
    _refuse_foreign_folder(place)
    if stored is None:
        place.path.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock(RunDirectory(place.path)))
        if is_sweep(place.path):
            raise ConfigError(
                f"{place.path} was begun by another process a moment ago: give this sweep a folder of its own"
            )
    sweep = _describe_and_open(question, place, stored, config, data.found | before)
    return _run_all(sweep, question, config, hydra_context, task_function)


def _run_all(
    sweep: Sweep,
    question: Question,
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> int:
    """Every trial that is not over, round by round, and the end."""
    print(f"{_size(question)}; in {sweep.directory.path}", flush=True)
    # All that is loaded by now stays: a collection that looks at it again takes as long as many trials.
    gc.freeze()
    watcher = Watcher(sweep, minimize=question.direction == "minimize")
    stacking = _stacking(sweep, watcher, config)
    plan = question.strategy.plan
    had = watcher.standing.ended
    try:
        for numbers in plan.rounds():
            left = _left(sweep, numbers)
            if not left:
                continue
            if slots.in_this_process(config.hydra.launcher):
                run_here(sweep, stacking.run(left) if stacking else left, watcher)
            else:
                Launched(
                    sweep,
                    watcher,
                    config=config,
                    hydra_context=hydra_context,
                    task_function=task_function,
                ).run(left)
            if sweep.stops_at_failures():
                break
    except Interrupted as end:
        return _stopped(sweep, watcher, end.code)
    except DiskFull as full:
        print(f"dlrun: error: {full}", file=sys.stderr)
        return _stopped(sweep, watcher, _FAILURE)
    except KeyboardInterrupt:
        return _stopped(sweep, watcher, _INTERRUPTED)
    except SystemExit as end:  # SIGTERM or SIGHUP while no trial was under way here
        return _stopped(sweep, watcher, int(end.code or 0))
    finally:
        gc.unfreeze()
        watcher.display.close()
    code = conclude(sweep, watcher.standing)
    _say_how_to_go_on(sweep, watcher.standing, had)
    return code


def _stacking(sweep: Sweep, watcher: Watcher, config: DictConfig) -> Stacking | None:
    """What trains trials together, unless nobody wants that."""
    stack, launcher = sweep.strategy.settings.stack, config.hydra.launcher
    forced = stack == "on" or slots.is_stacked(launcher)
    return Stacking(sweep, watcher, forced=forced) if forced or stack == "auto" else None


def _say_how_to_go_on(sweep: Sweep, standing: Standing, had: int) -> None:
    """What to type where the sweep was ended early, or had nothing left to do; `had` were over before."""
    place, total = sweep.directory.path, sweep.strategy.plan.total
    if standing.ended < total:
        again = command("resume", place, *_allowing(sweep))
        print(f"stopped at a failed trial (sweep.fail_fast=true); continue with `{again}`")
    elif had == total:
        more = command("resume", place, f"sweep.trials={2 * total}")
        whole = sweep.strategy.is_complete_grid
        hint = f": the grid has {total} combinations" if whole else f"; `{more}` adds trials"
        print(f"nothing was left to train{hint}")


def _left(sweep: Sweep, numbers: Sequence[int]) -> list[int]:
    """The trials that are not over; those begun once come first, those begun again and again last."""
    trials = sweep.ledger.trials()

    def turn(number: int) -> int:
        if number >= len(trials) or trials[number].state is TrialState.WAITING:
            return 1
        # One that takes this process down with it must not keep the others from their turn.
        return 0 if sweep.ledger.attempts(number) < 2 else 2

    return sorted(_unfinished(trials, numbers), key=turn)


def _unfinished(trials: Sequence[FrozenTrial], numbers: Sequence[int]) -> list[int]:
    """Those of the `numbers` whose trials are not over, or not even planned."""
    return [n for n in numbers if n >= len(trials) or not is_over(trials[n])]


def _stopped(sweep: Sweep, watcher: Watcher, code: int) -> int:
    watcher.display.close()
    again = command("resume", sweep.directory.path, *_allowing(sweep))
    print(
        f"dlrun: stopped with {watcher.standing.counts()}; continue with `{again}`", file=sys.stderr
    )
    return code


def _check(question: Question, config: DictConfig, load: NotedData) -> Comparison:
    """Refuse what no trial, or not every one, could be trained with; how far the others can be compared."""
    first = _first_draw(question)
    launcher = config.hydra.launcher
    if question.strategy.settings.stack == "on" and not slots.in_this_process(launcher):
        raise ConfigError(
            "sweep.stack is on, but hydra/launcher runs each trial in a process of its own: leave out one of the two"
        )
    comparison = Comparison(question.part)
    experiment = check_settings_one_by_one(
        question.space,
        question.composer,
        first,
        load=load,
        here=slots.in_this_process(launcher) or slots.is_local(launcher),
        comparison=comparison,
    )
    settings, trainer = question.strategy.settings, experiment.config.trainer
    monitored = question.objective == trainer.monitor and trainer.mode != "auto"
    check_objective(
        question.objective,
        experiment,
        pruning=settings.pruner != "none",
        directed=settings.direction != "auto" or monitored,
    )
    check_columns(settings.columns, experiment)
    return comparison


def _goes_by_results(question: Question) -> bool:
    """Whether what a trial draws, or when it is ended, follows from the results of others."""
    strategy = question.strategy
    draws = Draws(strategy, question.space)
    by_draws = strategy.plan.round_size or draws.without_results < strategy.plan.total
    return bool(by_draws or strategy.settings.pruner != "none")


def _say_contradiction(question: Question) -> None:
    asked = question.strategy.settings.direction
    modes: dict[str, Literal["min", "max"]] = {"minimize": "min", "maximize": "max"}
    if odd := contradiction("sweep.direction", question.objective, modes.get(asked, "auto")):
        note(odd)


def _first_draw(question: Question) -> dict[str, Any]:
    """What the first trial draws; a second draw tells whether the sampler has all that it needs."""
    draws, ledger = Draws(question.strategy, question.space), rehearsal(question.direction)
    first = draws.rehearse(ledger, 0)
    if question.strategy.plan.total > 1:
        draws.rehearse(ledger, 1)
    return first


def _show_plan(question: Question, place: SweepDirectory | None) -> int:
    """The number of trials and the first of them, of a sweep in `place` those that are missing."""
    plan, draws = question.strategy.plan, Draws(question.strategy, question.space)
    ledger = rehearsal(question.direction, place)
    print(_size(question))
    missing = _unfinished(ledger.trials(), range(plan.total))
    if place is not None:
        print(f"{len(missing)} of them to go")
    certain = _certain(missing, draws)
    for number in certain[:_SHOWN_DRY]:
        labels = question.space.labels(draws.rehearse(ledger, number))
        words = [f"{key}={text}" for key, text in labels.items()]
        print(f"trial {number}: {' '.join([*words, *plan.words(number)])}")
    if more := len(missing) - len(certain[:_SHOWN_DRY]):
        why = "not shown" if len(certain) > _SHOWN_DRY else "follow from results"
        print(f"and {more} more ({why})")
    print("dry run: nothing was trained")
    return 0


def _certain(missing: Sequence[int], draws: Draws) -> list[int]:
    """Those of the `missing` trials whose draws no result to come can change."""
    if not missing:
        return []
    round_of = draws.strategy.plan.round_of
    if draws.strategy.plan.round_size:  # the rounds before are over
        return [number for number in missing if round_of(number) == round_of(missing[0])]
    return [missing[0], *(n for n in missing[1:] if n < draws.without_results)]


def _size(question: Question) -> str:
    plan, seeds = question.strategy.plan, question.strategy.settings.seeds
    each = f" of {seeds} seeds each" if seeds > 1 else ""
    rounds = f", in rounds of {plan.round_size}" if plan.round_size else ""
    trials = f"{plan.total} trial{'s' if plan.total > 1 else ''}"
    aim = f"{question.direction} {question.objective}" if question.comparable else "not compared"
    return f"{trials}{each}{rounds}; {aim}"


def _describe_and_open(
    question: Question,
    place: SweepDirectory,
    stored: dict[str, Any] | None,
    config: DictConfig,
    data: dict[str, Any],
) -> Sweep:
    launcher, count = config.hydra.launcher, None
    if slots.is_local(launcher):
        import torch

        gpus = torch.cuda.device_count()
        per_gpu = question.strategy.settings.trials_per_gpu
        count = slots.count_places(launcher, gpus=gpus, trials_per_gpu=per_gpu)
        launcher_settings(config, count)
    begun = {"created": now(), "order": next_order()}
    before = stored or {"name": place.path.name, **begun, "command": _typed()}
    description = (
        before | question.description() | {"failures_forgiven": 0, "places": count, "data": data}
    )
    # Before the study: a kill between the two leaves a sweep that can be gone on with.
    place.write(description)
    create_study(place, question.direction)
    sweep = open_sweep(place.path)
    failed = sum(trial.state is TrialState.FAIL for trial in sweep.ledger.trials())
    if failed:
        place.write(description | {"failures_forgiven": failed})
        sweep.forgiven = failed
    return sweep


def _allowing(sweep: Sweep) -> list[str]:
    """What a resume must be told to trust: a folder of configs that the sweep was begun with."""
    folders = config_words(sweep.directory.read()["command"])
    return [word.replace("--config-dir=", "--allow=", 1) for word in folders]


def _typed() -> list[str]:
    """The arguments of this command, which going on with the sweep begins with, from whatever folder."""
    typed = [word for word in joined(sys.argv[1:]) if not word.startswith("hydra.sweep.dir=")]
    return [(config_words([word]) or [word])[0] for word in typed]


def _refuse_fewer(total: int, place: SweepDirectory) -> None:
    """A sweep can grow; trials that were begun cannot be taken back."""
    begun = 1 + max((int(f.name) for f in place.path.iterdir() if f.name.isdigit()), default=-1)
    if total < begun:
        raise ConfigError(
            f"sweep.trials is {total}, but {begun} trials of {place.path} were begun: give at least {begun}"
        )


def _refuse_foreign_folder(place: SweepDirectory) -> None:
    """A sweep's folder is its own: what is there already must not be taken for a trial, or written over."""
    if is_sweep(place.path) or not place.path.is_dir():
        return
    if found := [entry.name for entry in place.path.iterdir() if not entry.name.startswith(".")]:
        raise ConfigError(
            f"hydra.sweep.dir is {place.path}, which holds {min(found)} and is no sweep: choose a new folder"
        )
