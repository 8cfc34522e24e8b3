"""What the tests do not look at: dlrun's CUDA paths tried one by one by its command line, a verdict a line.

    python probe.py [--device cuda|cpu] [PART ...]

Each part is a process: a CUDA error that stays ends that part alone. All but `memory` go side by side.
On the CPU they only show that they run.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from _accelerator import now
from commands import Run, apart, dlrun, say, told, trained
from dlrun.training.loop import Engine
from gpu_parts.pace import built
from stacked import Case, sweep

_AT_A_TIME = 3
_SECONDS = {"cuda": 170, "cpu": 900}  # for a part
AUGMENT = "dataset.augment={shift: 1, flip: true, rotation: 10, noise: 0.1, cutout: 2}"
NO_BUCKETS = "dataset=text_csv dataset.tokens.bucketing=false dataset.tokens.max_length=60 trainer.batch_size=32"
TEXTS = "dataset=text_csv trainer.batch_size=32"
DIGITS, ROWS = "dataset=digits", "dataset=digits model.hidden_size=32"
NETS = f"{DIGITS} model=torchvision trainer.batch_size=64"

# Steps of these are to be graphs with trainer.cuda_graph=true, and to be those taken one by one.
CAPTURED: dict[str, str] = {
    "logistic": f"{DIGITS} model=logistic",
    "mlp": f"{DIGITS} model=mlp",
    "mlp dropout, batch norm": f"{DIGITS} model=mlp model.dropout=0.3 model.batch_norm=before",
    "mlp regression": "dataset=diabetes model=mlp",
    "mlp binary": "dataset=breast_cancer model=mlp",
    "mlp categories": "dataset=csv model=mlp",
    "wide & deep": "dataset=csv model=wide_deep",
    "tabm": "dataset=csv model=tabm",
    "cnn": f"{DIGITS} model=cnn",
    "cnn augmented": f"{DIGITS} model=cnn model.batch_norm=true model.dense_dropout=0.3|{AUGMENT}",
    "cnn bf16 channels_last": f"{DIGITS} model=cnn trainer.precision=bf16 trainer.channels_last=true",
    "cnn ema accumulate": f"{DIGITS} model=cnn trainer.ema_decay=0.99 trainer.accumulate=2",
    "cnn clip l1": f"{DIGITS} model=cnn optimizer.l1=1e-4 optimizer.clip_norm=1 optimizer.clip_value=0.1",
    "cnn rmsprop": f"{DIGITS} model=cnn optimizer=rmsprop optimizer.momentum=0.5 optimizer.centered=true",
    "cnn adadelta": f"{DIGITS} model=cnn optimizer=adadelta",
    "cnn schedule": f"{DIGITS} model=cnn optimizer=momentum schedule=one_cycle",
    "resnet": f"{DIGITS} model=resnet model.depth=8",
    "rnn": f"{ROWS} model=rnn",
    "gru": f"{ROWS} model=gru",
    "lstm": f"{ROWS} model=lstm",
    "lstm bf16": f"{ROWS} model=lstm trainer.precision=bf16",
    "lstm 2 layers, both ways, dropout": f"{ROWS} model=lstm model.layers=2 model.bidirectional=true model.dropout=0.2",
    "lstm norm of gates": f"{ROWS} model=lstm model.layer_norm=gates",
    "gru attention ema": f"{ROWS} model=gru model.pooling=attention trainer.ema_decay=0.99",
    "text bag": f"{NO_BUCKETS} model=bag_of_words",
    "text cnn": f"{NO_BUCKETS} model=text_cnn",
    "text lstm": f"{NO_BUCKETS} model=lstm model.dropout=0.2 model.embedding_dropout=0.1",
    "series": "dataset=airline model=tcn",
    "resnet18": f"{NETS} model.name=resnet18 trainer.batch_size=128",
    "mobilenet_v3_small": f"{NETS} model.name=mobilenet_v3_small trainer.batch_size=128",
}  # fmt: skip
# Steps of these run with trainer.cuda_graph=auto, whatever it takes, and are not to wait for the device.
UNWAITING: dict[str, str] = {
    "mlp": f"{DIGITS} model=mlp trainer.batch_size=4",
    "mlp one by one": f"{DIGITS} model=mlp trainer.batch_size=4 trainer.cuda_graph=false",
    "cnn augmented": f"{DIGITS} model=cnn trainer.batch_size=4|{AUGMENT}",
    "cnn fp16": f"{DIGITS} model=cnn trainer.batch_size=4 trainer.precision=fp16",
    "cnn ema": f"{DIGITS} model=cnn trainer.batch_size=4 trainer.ema_decay=0.99",
    "mlp rmsprop": f"{DIGITS} model=mlp trainer.batch_size=4 optimizer=rmsprop",
    "mlp fp16 adadelta": f"{DIGITS} model=mlp trainer.batch_size=4 optimizer=adadelta trainer.precision=fp16",
    "texts in buckets": f"{TEXTS} model=lstm trainer.batch_size=2",
    "texts both ways": f"{TEXTS} model=lstm model.bidirectional=true trainer.batch_size=2",
    "language": "dataset=shakespeare model=char_lstm model.hidden_size=64",
    "streamed images": "dataset=image_folder dataset.in_memory=false dataset.workers=0 model=cnn trainer.batch_size=2",
}
STACKED: dict[str, str] = {
    "mlp adam": f"{DIGITS} model=mlp model.hidden=[32]",
    "mlp dropout": f"{DIGITS} model=mlp model.hidden=[32] model.dropout=0.3",
    "mlp rmsprop": f"{DIGITS} model=mlp model.hidden=[32] optimizer=rmsprop",
    "mlp momentum clip": f"{DIGITS} model=mlp model.hidden=[32] optimizer=momentum optimizer.clip_norm=0.5",
    "mlp schedule": f"{DIGITS} model=mlp model.hidden=[32] schedule=exponential schedule.rate=0.9",
    "mlp bf16": f"{DIGITS} model=mlp model.hidden=[32] trainer.precision=bf16",
    "cnn bn": f"{DIGITS} model=cnn model.batch_norm=true",
    "lstm": f"{ROWS} model=lstm",
}
RESUMED: dict[str, str] = {
    "mlp dropout": f"{DIGITS} model=mlp model.dropout=0.5 model.hidden=[64]",
    "cnn": f"{DIGITS} model=cnn model.dense_dropout=0.3 model.batch_norm=true",
    "lstm": f"{ROWS} model=lstm",
    "fp16": f"{DIGITS} model=cnn trainer.precision=fp16",
}
DETERMINISTIC: dict[str, str] = {
    "mlp": f"{DIGITS} model=mlp",
    "cnn": f"{DIGITS} model=cnn",
    "lstm": f"{ROWS} model=lstm",
    "text cnn": f"{TEXTS} model=text_cnn",
    "resnet18": f"{NETS} model.name=resnet18",
}
OPTIMIZERS = ("adam", "momentum", "rmsprop", "adagrad", "adadelta")


def main() -> int:
    """Run the parts named on the command line, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--inside", action="store_true", help="in this process")
    given = parser.parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; choose from: {', '.join(PARTS)}")
    names = given.parts or list(PARTS)
    if given.inside:
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                PARTS[name](given.device, Path(folder))
        return 0
    with ThreadPoolExecutor(_AT_A_TIME if given.device == "cuda" else 1) as pool:
        list(pool.map(partial(_apart, given.device), [name for name in names if name != "memory"]))
    if "memory" in names:  # with nobody beside it
        _apart(given.device, "memory")
    return 0


def _apart(device: str, name: str) -> None:
    """A part in a process of its own."""
    command = [sys.executable, __file__, "--inside", "--device", device, name]
    try:
        code = subprocess.run(command, timeout=_SECONDS[device], check=False).returncode
    except subprocess.TimeoutExpired:
        code = f"not done after {_SECONDS[device]} s"
    if code:
        say(name, "the whole part", "FAILED", f"({code})")


def capture(device: str, folder: Path) -> None:
    """Runs with steps as graphs against the same taken one by one, which are trained twice: no two need be equal."""
    steps = 60 if device == "cuda" else 4
    for number, (label, words) in enumerate(CAPTURED.items()):
        if device != "cuda" and "net" in label:
            continue
        with told("capture", label):
            length = [f"trainer.accelerator={device}", f"trainer.max_steps={steps}"]
            train = partial(trained, words)
            place = folder / str(number)
            one, again = (
                train(place / name, *length, "trainer.cuda_graph=false")
                for name in ("one", "again")
            )
            wanted = "true" if device == "cuda" else "auto"
            graph = train(place / "graph", *length, f"trainer.cuda_graph={wanted}")
            noise, difference = (apart(one.weights, run.weights) for run in (again, graph))
            least = 5e-2 if "bf16" in label or "net" in label else 2e-3
            good = difference <= max(least, 10 * noise) and _alike(one, graph, 10 * least)
            say("capture", label, "ok" if good else "LOOK",
                f"off by {difference:.1e}, two runs without graphs by {noise:.1e}{_taken(graph, device)}")  # fmt: skip


def _alike(one: Run, other: Run, tolerance: float) -> bool:
    """Whether as many points were logged, of about the same losses."""
    pairs = list(zip(one.points, other.points, strict=False))
    names = ("train/loss", "val/loss")
    near = all(
        abs(a[name] - b[name]) <= tolerance * max(1.0, abs(a[name]))
        for a, b in pairs
        for name in names
        if name in a and name in b
    )
    return near and len(one.points) == len(other.points)


def _taken(run: Run, device: str) -> str:
    if device == "cpu":
        return ""
    given_up = [line for line in run.log.splitlines() if "going on without" in line]
    if given_up:
        return f"; LOOK: {given_up[0]}"
    return "" if "a CUDA graph holds" in run.log else "; NO GRAPH"


def failing(device: str, folder: Path) -> None:
    """A capture that fails is to be survived, dropout and all: a step reads a number while it is recorded."""
    learn = Engine.learn

    def waiting(engine: Engine, *given: Any) -> Any:
        if device == "cuda" and torch.cuda.is_current_stream_capturing():
            torch.zeros(1, device="cuda").item()
        return learn(engine, *given)

    words = (
        f"{DIGITS} model=mlp model.dropout=0.3 trainer.max_steps=60 trainer.accelerator={device}"
    )
    with told("failing", "mlp dropout"):
        alone = trained(words, folder / "alone", "trainer.cuda_graph=false")
        Engine.learn = waiting  # type: ignore[method-assign]
        run = trained(words, folder / "failing")
        Engine.learn = learn  # type: ignore[method-assign]
        after = trained(words, folder / "after")
        torch.randn(2, device=device)
        default = device == "cpu" or torch.cuda.current_stream() == torch.cuda.default_stream()
        differences = [apart(alone.weights, one.weights) for one in (run, after)]
        good = default and max(differences) < 2e-3
        say("failing", "mlp dropout", "ok" if good else "LOOK",
            f"off by {differences[0]:.1e}, then by {differences[1]:.1e}, default stream: {default}")  # fmt: skip


def waits(device: str, folder: Path) -> None:
    """Where 200 steps between two logged points wait for the device."""
    steps, warm_up = (270, 60) if device == "cuda" else (12, 4)
    length = [
        f"trainer.max_steps={steps}",
        "trainer.max_epochs=null",
        "trainer.log_every_steps=1000",
    ]
    for label, words in UNWAITING.items():
        with told("waits", label):
            engine = built(words, *length, f"trainer.accelerator={device}").engine
            most = engine.steps_per_epoch
            watch = _Watch(engine, min(warm_up, most // 2), min(steps, most - 1))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    watch.fit()
                finally:
                    _warn_of_waits(device, "default")
            places = Counter(
                _place(w) for w in caught if "called a synchronizing" in str(w.message)
            )
            listed = ", ".join(f"{place} ({n})" for place, n in places.most_common(6))
            say(
                "waits",
                label,
                "WAITS" if places else "ok" if watch.watched else "LOOK",
                f"in {watch.watched} steps: {listed or 'none'}",
            )


class _Watch:
    """An observer that has torch warn of each wait, from a step to another."""

    def __init__(self, engine: Engine, first: int, last: int) -> None:
        self.engine, self.first, self.last = engine, first, last
        self.kind = engine.device.torch_device.type
        self.begun = self.watched = 0

    def fit(self) -> None:
        from dlrun.system.signals import StopRequest

        with StopRequest() as stop:
            self.engine.fit(save=lambda: None, observer=self, stop=stop)

    def stepped(self, steps: int) -> None:
        step = self.engine.step
        if not self.begun and step >= self.first:
            now(self.kind)
            self.begun = step
            _warn_of_waits(self.kind, "warn")
        elif self.begun and not self.watched and step >= self.last:
            _warn_of_waits(self.kind, "default")
            self.watched = step - self.begun

    def logged(self, step: int, values: dict[str, float]) -> None: ...
    def evaluated(self, values: dict[str, float]) -> None: ...


def _warn_of_waits(device: str, mode: str) -> None:
    if device == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


def _place(warning: warnings.WarningMessage) -> str:
    file = Path(warning.filename)
    return f"{file.parent.name}/{file.name}:{warning.lineno}"


def stacks(device: str, folder: Path) -> None:
    """Sweeps of four trials as one, and in turn: each trial is to reach the same."""
    epochs = 3 if device == "cuda" else 1
    for label, words in STACKED.items():
        with told("stacks", label):
            case = Case(words, epochs=epochs).on(device)
            together, alone = (sweep(mode, case, 4) for mode in ("on", "off"))
            pairs = zip(together.losses, alone.losses, strict=True)
            gap = max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)
            good = together.as_one and gap < (1e-1 if "bf16" in label else 2e-2)
            say("stacks", label, "ok" if good else "LOOK",
                f"val/loss off by {gap:.1e}, as one: {together.as_one}")  # fmt: skip


def resume(device: str, folder: Path) -> None:
    """20 steps in one command against 9 and 11 in two: bit for bit?"""
    for label, words in RESUMED.items():
        for graph in ("auto", "false"):
            with told("resume", label):
                settings = [f"trainer.accelerator={device}", f"trainer.cuda_graph={graph}"]
                place = folder / f"{label} {graph}".replace(" ", "_")
                whole = trained(words, place / "whole", *settings, "trainer.max_steps=80")
                part = trained(words, place / "part", *settings, "trainer.max_steps=33")
                dlrun("resume", str(part.path), "trainer.max_steps=80")
                difference = apart(whole.weights, part.weights)
                same = difference == 0 and whole.points[-1] == part.points[-1]
                say("resume", f"{label}, cuda_graph={graph}", "ok" if same else "LOOK",
                    "bit for bit" if same else f"off by {difference:.1e}")  # fmt: skip


def devices(device: str, folder: Path) -> None:
    """Begun on the GPU, carried on on the CPU, and back again."""
    for optimizer in OPTIMIZERS:
        with told("devices", optimizer):
            words = (
                f"{DIGITS} model=mlp model.hidden=[32] optimizer={optimizer} trainer.max_epochs=2"
            )
            run = trained(words, folder / optimizer, f"trainer.accelerator={device}")
            for epochs, where in ((3, "cpu"), (4, device)):
                dlrun(
                    "resume",
                    str(run.path),
                    f"trainer.accelerator={where}",
                    f"trainer.max_epochs={epochs}",
                )
            alone = trained(
                words,
                folder / f"{optimizer}-cpu",
                "trainer.accelerator=cpu",
                "trainer.max_epochs=4",
            )
            difference = apart(alone.weights, run.weights)
            say("devices", optimizer, "ok" if difference < 2e-2 else "LOOK",
                f"off by {difference:.1e} of a run on the CPU")  # fmt: skip


def deterministic(device: str, folder: Path) -> None:
    """trainer.deterministic=true as a user types it, without CUBLAS_WORKSPACE_CONFIG; twice the same."""
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    for label, words in DETERMINISTIC.items():
        if device != "cuda" and "net" in label:
            continue
        with told("deterministic", label):
            length = [
                f"trainer.accelerator={device}",
                "trainer.max_steps=40",
                "trainer.deterministic=true",
            ]
            place = folder / label.replace(" ", "_")
            one, other = (trained(words, place / name, *length) for name in ("one", "other"))
            difference = apart(one.weights, other.weights)
            say(
                "deterministic",
                label,
                "ok" if difference == 0 else "LOOK",
                f"two runs off by {difference:.1e}",
            )


def memory(device: str, folder: Path) -> None:
    """What sweeps of 3 and of 50 trials in turn, and their stacks, take at most, with no garbage collection."""
    for label, words in {
        "mlp": f"{DIGITS} model=mlp",
        "cnn": f"{DIGITS} model=cnn",
        "lstm": f"{ROWS} model=lstm",
    }.items():
        with told("memory", label):
            wanted = "true" if device == "cuda" else "auto"
            case = Case(f"{words} trainer.cuda_graph={wanted}", epochs=1).on(device)
            sweep("off", case, 2)
            gc.collect()
            gc.disable()
            peaks = []
            for trials in (3, 50 if device == "cuda" else 4):
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                sweep("off", case, trials)
                peaks.append(torch.cuda.max_memory_allocated() / 2**20)
            gc.enable()
            say("memory", label, "ok" if peaks[1] < 1.2 * peaks[0] + 8 else "LOOK",
                f"3 trials in turn {peaks[0]:.0f} MB at most, 50 trials {peaks[1]:.0f} MB")  # fmt: skip


PARTS: dict[str, Callable[[str, Path], None]] = {
    "capture": capture,
    "failing": failing,
    "waits": waits,
    "stacks": stacks,
    "resume": resume,
    "deterministic": deterministic,
    "devices": devices,
    "memory": memory,
}


if __name__ == "__main__":
    sys.exit(main())
