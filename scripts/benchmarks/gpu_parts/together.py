"""Several stacks side by side on one card, each a process: whether they make more steps than one after another."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _accelerator import now
from _pace import stack_advance
from gpu_parts.figures import tell
from gpu_parts.steps import MNIST
from peer_programs.dlrun import MODELS
from stacked import Case, stack_of

_CASES = {
    "16 mlp": (" ".join([MNIST, *MODELS["mlp"]]), 16),
    "4 cnn": (" ".join([MNIST, *MODELS["cnn"]]), 4),
}
_WAIT = 60  # seconds for all to be ready


def measure(kind: str) -> None:
    """Steps a second of all processes together, against those of one."""
    for name, (words, trials) in _CASES.items():
        if kind != "cuda":
            words, trials = "dataset=iris model=logistic", 2
        rates = {}
        for processes in (1, 2, 4) if kind == "cuda" else (1, 2):
            rates[processes] = _rate(kind, words, trials, processes)
            if processes > 1:
                tell(
                    f"{processes} stacks of {name} side by side / one", rates[processes] / rates[1]
                )


def _rate(kind: str, words: str, trials: int, processes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        given = [kind, "together.worker", folder, words, str(trials), str(processes)]
        command = [sys.executable, str(Path(__file__).parents[1] / "gpu.py"), "--inside", *given]
        workers = [
            subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        answers = [worker.communicate()[0] for worker in workers]
    return sum(float(answer.splitlines()[-1]) for answer in answers)


def worker(kind: str, folder: str, words: str, trials: str, processes: str, number: str) -> None:
    """Print the steps a second of a stack, made while all others make theirs."""
    stack = stack_of(Case(words, epochs=1000).on(kind), int(trials))
    advance = stack_advance(stack)
    for _ in range(100 if kind == "cuda" else 1):
        advance()
    now(kind)
    Path(folder, number).touch()
    began = time.monotonic()
    while len(list(Path(folder).iterdir())) < int(processes):
        if time.monotonic() - began > _WAIT:
            raise SystemExit("the others did not get ready")
        time.sleep(0.001)
    began, steps = now(kind), 0
    while now(kind) - began < (2 if kind == "cuda" else 0.2):
        for _ in range(20):
            steps += advance()
    print(steps / (now(kind) - began))
