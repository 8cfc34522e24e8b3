"""One run in full, for people: what it was, what came out, and what can be done with it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.commands import _text
from dlrun.commands._ensemble_page import members_table
from dlrun.commands._text import Column
from dlrun.errors import command
from dlrun.runner.baseline_check import shortfall_of
from dlrun.storage.index import sweep_of
from dlrun.storage.run_directory import RunDirectory, is_ensemble, read_overrides
from dlrun.storage.run_summary import RunSummary, read_run
from dlrun.tracking.class_table import class_table, rows_from
from dlrun.tracking.numbers import bytes_text, column_texts

_SHOWN_CLASSES = 20
_FILES = {
    "config.yaml": "the composed config, complete",
    "overrides.yaml": "what the command line changed",
    "environment.json": "versions, device, git commit, command line",
    "metrics.jsonl": "every logged point",
    "summary.json": "the results that this page shows",
    "train.log": "the messages of the run",
    "ranks": "what processes other than the first have printed",
    "checkpoints": "",
    "tensorboard": "event files",
    "ensemble.yaml": "the members and their shares",
    "members": "a copy of each: its config and its weights",
    "profile": "where the time of the first steps went: table.txt, trace.json",
}


def run_page(path: Path) -> str:
    """Everything worth knowing about the run at `path`."""
    run, directory = read_run(path), RunDirectory(path)
    sections = [
        f"{run.short_name}  {run.status}{_status_note(run)}",
        _text.pairs(_what(run, directory)),
        *(
            [members_table(run)]
            if is_ensemble(path)
            else [_metrics(run), _classes(run), _shortfall(run)]
        ),
        _text.pairs(_when_and_where(run, directory)),
        f"files in {path}\n{_text.pairs(_files(path))}",
        f"next\n{_text.pairs(_next(run))}",
    ]
    return "\n\n".join(section for section in sections if section.strip())


def _status_note(run: RunSummary) -> str:
    error = run.mapping("error")
    if error:
        step = error.get("step")
        where = f" at step {step:,}" if isinstance(step, int) else ""
        text = f"{error.get('kind', 'error')}: {error.get('message', '')}"
        return "\n\n".join([where, *(_text.wrapped(line, "  ") for line in text.splitlines())])
    return {
        "killed": ": its process ended without an error message",
        "prepared": ": not begun yet",
        "pruned": ": its sweep ended it early, since other trials did better",
        "unreadable": ": its summary.json is missing or damaged",
    }.get(run.status, "")


def _what(run: RunSummary, directory: RunDirectory) -> Iterator[tuple[str, str]]:
    if is_ensemble(run.path):
        yield "kind", "ensemble"
    yield from run.choices.items()
    said = [f"{group}={option}" for group, option in run.choices.items()]
    if swept := [f"{key}={text}" for key, text in run.swept.items()]:
        yield "swept", "\n".join(swept)
        said += swept
    if changes := [text for text in read_overrides(directory) if text not in said]:
        yield "changed", "\n".join(changes)
    if (seed := run.number("seed")) is not None:
        yield "seed", str(int(seed))
    if (parameters := run.number("parameters")) is not None:
        frozen = run.number("frozen_parameters")
        yield (
            "parameters",
            _text.count(parameters) + (f", {_text.count(frozen)} of them frozen" if frozen else ""),
        )


def _metrics(run: RunSummary) -> str:
    best, final = run.best_metrics, run.final_metrics
    names = sorted({*best, *final}, key=lambda name: (name != run.monitor, name))
    if not names:
        return ""
    labels = [f"  {name}" + (" (monitored)" if name == run.monitor else "") for name in names]
    columns = [Column(("metrics",), labels)]
    if best:
        values = column_texts([best.get(name) for name in names], _text.NONE)
        columns.append(Column((_at("best", run.best.get("epoch")),), values, right=True))
    if final:
        # What was measured with the best weights says nothing of the last.
        hidden = "test/" if run.text("tested") == "best" else "never"
        shown = [None if name.startswith(hidden) else final.get(name) for name in names]
        values = column_texts(shown, _text.NONE)
        columns.append(Column((_at("final", run.data.get("epoch")),), values, right=True))
    return _text.table(columns)


def _classes(run: RunSummary) -> str:
    rows = rows_from(run.data.get("per_class"))
    return textwrap.indent(class_table(rows, most=_SHOWN_CLASSES), "  ") if rows else ""


def _shortfall(run: RunSummary) -> str:
    """That what needs no model reaches as much, and what to try."""
    if not (found := shortfall_of([run])):
        return ""
    advice = run.mapping("below_baseline").get("advice")
    return _text.wrapped(f"warning: {found}" + (f": {advice}" if advice else ""), "  ", "")


def _at(title: str, epoch: Any) -> str:
    return f"{title}, epoch {epoch}" if isinstance(epoch, int) else title


def _when_and_where(run: RunSummary, directory: RunDirectory) -> Iterator[tuple[str, str]]:
    environment = directory.read_environment() or {}
    started = datetime.fromtimestamp(run.created).strftime("%Y-%m-%d %H:%M:%S")
    yield "started", f"{started}, {_text.age(time.time() - run.created)} ago"
    if run.number("seconds") is not None:
        yield "took", _progress(run)
    if trained := run.text("trained"):
        yield "trained", _trained(trained, run.number("stack_size"))
    if device := run.text("device"):
        yield "device", _device(device, environment, run.number("devices"))
    if memory := run.number("peak_memory"):
        whole = ", the whole stack" if run.number("stack_size") else ""
        yield "memory", f"{bytes_text(memory)} on it at most{whole}"
    if versions := [f"{name} {environment[name]}" for name in _packages(environment)]:
        yield "with", ", ".join(versions)
    if commit := environment.get("git_commit"):
        dirty = " with changes not committed" if environment.get("git_dirty") else ""
        yield "commit", f"{str(commit)[:12]}{dirty}"
    if command := environment.get("command"):
        yield "command", str(command)


def _trained(how: str, size: float | None) -> str:
    stack = f"as one of a stack of {size:g} runs" if size else ""
    return {"stacked": stack, "both": f"in parts {stack}, in parts alone"}.get(how, "alone")


def _progress(run: RunSummary) -> str:
    words = [_text.duration(run.number("seconds"))]
    if (step := run.number("step")) is not None:
        words.append(f"{_text.count(step)} steps")
    epoch, last = run.number("epoch"), run.number("max_epochs")
    if epoch is not None and last is not None:
        words.append(f"{epoch:g} of {last:g} epochs")
    if run.data.get("stopped_early") is True:
        words.append("stopped early")
    return ", ".join(words)


def _device(device: str, environment: dict[str, Any], count: float | None) -> str:
    name, threads = environment.get("device_name"), environment.get("threads")
    more = [str(name)] if name and name != device else []
    if device == "cpu" and isinstance(threads, int):
        more.append(_text.plural(threads, "thread"))
    if count and count > 1:  # of a GPU, the others are of the same kind
        device = f"{count:g} processes on {device.partition(':')[0]}"
        more[-1:] = [f"{more[-1]} each"] if more else []
    return f"{device} ({', '.join(more)})" if more else device


def _packages(environment: dict[str, Any]) -> list[str]:
    return [name for name in ("dlrun", "python", "torch") if environment.get(name)]


def _files(path: Path) -> Iterator[tuple[str, str]]:
    for name, meaning in _FILES.items():
        if name == "checkpoints" and (path / name).is_dir():
            meaning = _checkpoints(path / name)
        if (path / name).exists():
            yield name + ("/" if (path / name).is_dir() else ""), meaning


def _checkpoints(folder: Path) -> str:
    sizes = [f"{file.name} {_size(file.stat().st_size)}" for file in sorted(folder.glob("*.pt"))]
    return ", ".join(sizes) or "none yet"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _next(run: RunSummary) -> Iterator[tuple[str, str]]:
    sweep = sweep_of(run.path)
    yield from _resume(run) if sweep is None else _in_sweep(run, sweep)
    if is_ensemble(run.path) or (run.path / "checkpoints" / "best.pt").exists():
        yield "evaluate it", command("eval", run.path)
        if any(name.endswith("/bits") for name in run.metrics):  # of a language model
            yield "write a text", command("generate", run.path, "--prompt", "TEXT")
        else:
            yield "predict", command("predict", run.path, "FILE")
    if (run.path / "tensorboard").is_dir():
        yield "see its curves", command("tensorboard", run.path)


def _resume(run: RunSummary) -> Iterator[tuple[str, str]]:
    has_checkpoint = (run.path / "checkpoints" / "last.pt").exists()
    if run.status in ("stopped", "killed") or (run.status == "failed" and has_checkpoint):
        yield "resume it", command("resume", run.path)
    if run.status == "prepared":
        yield "begin it", command("resume", run.path)
    epochs, steps = run.number("max_epochs"), run.number("step")
    if run.status == "completed" and epochs:
        by_steps = any(
            one.startswith("trainer.max_steps=") for one in read_overrides(RunDirectory(run.path))
        )
        longer = f"max_steps={2 * steps:g}" if by_steps and steps else f"max_epochs={2 * epochs:g}"
        yield "train longer", command("resume", run.path, f"trainer.{longer}")


def _in_sweep(run: RunSummary, sweep: Path) -> Iterator[tuple[str, str]]:
    """Trained on alone, a trial would no longer compare with the others."""
    if run.status in ("stopped", "killed"):
        yield "resume it", command("resume", sweep)
    yield "see its sweep", command("show", sweep)
