"""Runs and sweeps that are killed with -9 and resumed until they are complete: do they end as if nothing had happened?

Each is trained once uninterrupted, and once more with up to four kills: after a random time or, every third, in the
middle of what is being saved (half a checkpoint written, a file not yet synced or renamed). A sweep's driver is killed
alone or with all its processes; of workers of a sweep one is killed, while those that have joined go on. Everything on
the CPU, with one thread a process; every random choice follows --seed, the moment that a time stands for does not.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from differences import runs_differ, sweeps_differ

KILLS = 4  # at most, of one run or sweep
SECONDS = 300  # that no process may take
TOLERANCE = 1e-4  # of stacked sweeps
COMMON = (
    "trainer.accelerator=cpu", "trainer.num_threads=1", "checkpoint.every_seconds=0.2",
    "trainer.log_every_steps=7", "trainer.max_epochs=null",
)  # fmt: skip
RUNS = {
    "table": ("dataset=csv", "model=mlp", "model.dropout=0.3", "trainer.ema_decay=0.99", "trainer.max_steps=400"),
    "images": ("dataset=digits", "model=cnn", "dataset.augment.shift=1", "dataset.augment.rotation=10",
               "dataset.augment.noise=0.1", "schedule=cosine", "trainer.max_steps=200"),
    "texts": ("dataset=text_lines", "model=lstm", "trainer.max_steps=40", "trainer.eval_every_steps=10",
              "checkpoint.every_steps=9"),
    "language": ("dataset=char_lm", "model=char_gru", "trainer.max_steps=40", "trainer.eval_every_steps=10",
                 "checkpoint.every_steps=7"),
    "series": ("dataset=series", "model=lstm", "dataset.difference=1", "schedule=plateau", "trainer.max_steps=300"),
    "streamed": ("dataset=image_folder", "dataset.in_memory=false", "dataset.workers=1", "model=mlp",
                 "dataset.augment.shift=1", "trainer.max_steps=150", "trainer.eval_every_steps=40"),
}  # fmt: skip
SWEEP = (
    "dataset=digits", "model=mlp", "model.hidden=[32]", "model.dropout=0.2", "sweep=random", "sweep.trials=5",
    "sweep.seeds=2", "optimizer.lr=tag(log,interval(1e-4,1e-2))", "trainer.max_steps=100", "checkpoint.every_steps=20",
)  # fmt: skip
SWEEPS = {
    "in turn": ("sweep.stack=off",),
    "stacked": ("sweep.stack=on",),
    "joblib": ("sweep.stack=off", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "workers": ("sweep.stack=off",),
}


@dataclass(frozen=True)
class Victim:
    """A run or a sweep: what trains it, and where."""

    kind: str
    words: tuple[str, ...]
    seed: int
    is_sweep: bool

    def train(self, folder: str) -> list[str]:
        key = "hydra.sweep.dir" if self.is_sweep else "hydra.run.dir"
        seeds = [f"sweep.seed={self.seed}"] if self.is_sweep else [f"seed={self.seed}"]
        return ["train", *COMMON, *self.words, *seeds, f"{key}={folder}"]

    def go_on(self, folder: str) -> list[str]:
        """Resume, or train anew where it was killed before it had said what it is."""
        if (Path(folder) / ("sweep.yaml" if self.is_sweep else "config.yaml")).exists():
            return self.help(folder) or ["resume", folder]
        shutil.rmtree(folder, ignore_errors=True)
        return self.train(folder)

    def help(self, folder: str) -> list[str]:
        """Take trials beside other processes, of a sweep that has begun; empty where it is not for workers."""
        journal = Path(folder) / "study.journal"
        is_begun = self.kind == "workers" and journal.exists() and journal.stat().st_size > 0
        return ["work", folder] if is_begun else []

    def is_complete(self, folder: str) -> bool:
        if self.is_sweep:  # of which a resume says that nothing is left
            return False
        with suppress(FileNotFoundError):
            summary = json.loads((Path(folder) / "summary.json").read_text())
            return bool(summary["status"] == "completed")
        return False

    def differences(self, whole: str, killed: str) -> Iterator[str]:
        if self.is_sweep:
            tolerance = TOLERANCE if self.kind == "stacked" else 0.0
            return sweeps_differ(Path(whole), Path(killed), tolerance=tolerance)
        return runs_differ(Path(whole), Path(killed))


def main() -> int:
    """Run the campaign: 1 where something ended differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--sweeps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    victims = [*_victims(RUNS, arguments.runs, False), *_victims(SWEEPS, arguments.sweeps, True)]
    # Of semaphores that killed processes could not give back.
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["dlrun.runner.start", "dlrun.sweep.driver", "hydra.main"])
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        os.chdir(folder)

        def torment(number: int) -> tuple[int, list[str]]:
            draws = random.Random(f"{arguments.seed} {number}")
            return tormented(processes, victims[number], draws, str(number))

        kills = differences = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for victim, (killed, lines) in zip(
                victims, pool.map(torment, range(len(victims))), strict=True
            ):
                what = "sweep" if victim.is_sweep else "run"
                print(
                    f"{what} {victim.kind}, seed {victim.seed}: {killed} kills, {len(lines)} differences",
                    flush=True,
                )
                for line in lines[:10]:
                    print(f"  {line}", flush=True)
                kills += killed
                differences += len(lines)
    print(
        f"{differences} differences in {arguments.runs} runs ({kills} kills) and {arguments.sweeps} sweeps"
    )
    return 1 if differences else 0


def _victims(kinds: dict[str, tuple[str, ...]], count: int, is_sweep: bool) -> list[Victim]:
    names = list(kinds)
    chosen = [(names[number % len(names)], number // len(names)) for number in range(count)]
    sweep = SWEEP if is_sweep else ()
    return [Victim(kind, (*sweep, *kinds[kind]), seed, is_sweep) for kind, seed in chosen]


def tormented(
    processes: Any, victim: Victim, draws: random.Random, name: str
) -> tuple[int, list[str]]:
    """How often it was killed, and in what it differs from itself uninterrupted."""
    whole, folder = f"whole{name}", f"killed{name}"
    began = time.monotonic()
    process = _start(processes, victim.train(whole), 0, f"{whole}.txt")
    if _end(process) != 0:
        return 0, [f"uninterrupted, it failed: {_last_line(f'{whole}.txt')}"]
    seconds = time.monotonic() - began
    kills, beside = 0, []
    while not victim.is_complete(folder):
        spared = kills == KILLS
        if words := victim.help(folder):
            beside.append(_start(processes, words, 0, f"{folder}-{len(beside)}.txt"))
        write = draws.randint(1, 15) if not spared and draws.random() < 1 / 3 else 0
        process = _start(processes, victim.go_on(folder), write, f"{folder}.txt")
        if not spared and not write:
            process.join(draws.uniform(0, seconds))
            if process.exitcode is None:
                alone = victim.is_sweep and draws.random() < 0.5
                with suppress(ProcessLookupError):  # it has just ended
                    (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        code = _end(process)
        if code == -signal.SIGKILL and not spared:
            kills += 1
        elif code == 0:
            break
        else:
            return kills, [f"exit code {code} after {kills} kills: {_last_line(f'{folder}.txt')}"]
    if codes := [code for code in map(_end, beside) if code != 0]:
        return kills, [f"exit codes {codes} of processes that were not killed"]
    try:
        return kills, list(victim.differences(whole, folder))
    except Exception as error:  # of a file that is missing or damaged
        return kills, [f"cannot be compared: {error}"]


def _start(processes: Any, words: list[str], write: int, said: str) -> Any:
    process = processes.Process(target=_be_dlrun, args=(words, os.getcwd(), write, said))
    process.start()
    with suppress(OSError):
        os.setpgid(process.pid, process.pid)  # before it is killed, whoever comes first
    return process


def _end(process: Any) -> int:
    """The exit code of a process, or minus the signal that killed it."""
    process.join(SECONDS)
    if process.exitcode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return -signal.SIGALRM
    return int(process.exitcode)


def _last_line(file: str) -> str:
    return (Path(file).read_text().splitlines() or ["nothing was said"])[-1]


def _be_dlrun(words: list[str], folder: str, write: int, said: str) -> None:
    """The body of a process of its own that runs one command, in a group to be killed as a whole."""
    with suppress(OSError):
        os.setpgid(0, 0)
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if write:
        _die_at_write(write)
    from dlrun.cli import main

    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die_at_write(number: int) -> None:
    """kill -9 at the write of that number, of those that save: half a checkpoint, or before a sync or a rename."""
    import torch

    count, save = 0, torch.save

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_die(*given: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                if write is save:
                    whole = io.BytesIO()
                    save(given[0], whole)
                    given[1].write(whole.getvalue()[: whole.tell() // 2])
                    given[1].flush()
                os.killpg(0, signal.SIGKILL)
            return write(*given, **more)

        return write_or_die

    os.replace, os.fsync, torch.save = dying(os.replace), dying(os.fsync), dying(save)  # type: ignore[assignment]


if __name__ == "__main__":
    sys.exit(main())
