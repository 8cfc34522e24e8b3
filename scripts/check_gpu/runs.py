"""dlrun as its user runs it, timed: runs of several kinds, a kill -9 and a resume, sweeps; and bare loops beside them.

    python runs.py train [CASE ...]   each case in every variant, in this process, after a short run that warms up
    python runs.py bare [CASE ...]    the loop that one would write by hand, on the same device
    python runs.py smoke [PART/PARTS] every kind of data, model and setting once, some steps each; commands on a run
    python runs.py resume             killed and carried on; moved from the GPU to the CPU and back
    python runs.py sweep              many trials as one against the same in turn; trials side by side on one GPU

--device cuda|cpu, --epochs N, --variants a,b; MNIST through DLRUN_DATA, else digits take its place. Everything is
written under the folder --work (default: a temporary one), a line a result on the screen.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from dlrun import cli

HAS_MNIST = "DLRUN_DATA" in os.environ and "REHEARSAL" not in os.environ
MNIST = (
    "dataset=mnist trainer.batch_size=128" if HAS_MNIST else "dataset=digits trainer.batch_size=128"
)
CASES = {
    "digits-cnn": "dataset=digits model=cnn",
    "mnist-mlp": f"{MNIST} model=mlp model.hidden=[128]",
    "mnist-cnn": f"{MNIST} model=cnn",
    "mnist-lstm": f"{MNIST} model=lstm model.hidden_size=64",
}
VARIANTS = {
    "auto": "",
    "no-graph": "trainer.cuda_graph=false",
    "graph": "trainer.cuda_graph=true",
    "bf16": "trainer.precision=bf16",
    "bf16+nhwc": "trainer.precision=bf16 trainer.channels_last=true",
    "fp16": "trainer.precision=fp16",
}
TEXTS = "dataset=text_csv trainer.batch_size=32 dataset.tokens.max_length=80"
SMOKE = {
    "points": "dataset=moons model=mlp",
    "regression": "dataset=diabetes model=mlp schedule=plateau",
    "binary": "dataset=breast_cancer model=logistic optimizer=adagrad",
    "categories": "experiment=tips",
    "wide & deep": "dataset=csv model=wide_deep",
    "texts in buckets": f"{TEXTS} model=lstm model.bidirectional=true",
    "texts cnn": f"{TEXTS} model=text_cnn trainer.precision=bf16",
    "texts gru": f"{TEXTS} model=gru model.pooling=attention optimizer=rmsprop",
    "language": "dataset=shakespeare model=char_lstm",
    "language bf16": "dataset=irish_tunes model=char_gru trainer.precision=bf16",
    "series": "experiment=airline_lstm",
    "synthetic series": "dataset=synthetic_series model=lstm",
    "streamed images": "dataset=image_folder dataset.in_memory=false model=cnn trainer.batch_size=16",
    "gradient flow": "dataset=digits model=lstm tracking.gradient_flow=true",
    "norm of gates": "dataset=digits model=lstm model.layer_norm=gates",
    "profile": "dataset=digits model=cnn trainer.profile=true",
    "fp64": "dataset=digits model=cnn trainer.precision=fp64",
    "fp16 ema parts": "dataset=digits model=cnn trainer.precision=fp16 trainer.ema_decay=0.9 trainer.accumulate=2",
    "ema lstm": "dataset=digits model=lstm trainer.ema_decay=0.9",
    "full batch": "dataset=digits model=mlp trainer.batch_size=full trainer.eval_every_steps=5",
    "deterministic": "dataset=digits model=cnn trainer.deterministic=true",
    "early stop": "dataset=digits model=cnn trainer.early_stopping.patience=1 trainer.eval_every_steps=2 optimizer.lr=0.1",
    "overfit": "dataset=digits model=mlp trainer.overfit_batches=1 trainer.log_every_steps=1",
    "resnet18": "dataset=digits model=torchvision trainer.channels_last=true trainer.precision=bf16",
    "mobilenet": "dataset=digits model=torchvision model.name=mobilenet_v3_small",
    "members": "dataset=breast_cancer model=tabm metrics=[macro_f1,brier,calibration_error]",
    "residual": "dataset=digits model=resnet model.depth=8 dataset.augment.mixup=0.2 dataset.augment.crop=0.5",
    "weights": "dataset=iris model=mlp loss=focal loss.class_weights=balanced",
    "counts": "dataset=diabetes model=mlp loss=poisson",
    "balance": "dataset=breast_cancer model=mlp dataset.balance=oversample loss.label_smoothing=0.1",
    "transformer": "dataset=airline model=transformer loss=quantile",
    "convolutions in time": "dataset=airline model=tcn optimizer=lion",
    "gpt": "dataset=shakespeare model=gpt model.width=64 optimizer=muon trainer.precision=bf16",
    "reconstruction": "dataset=digits model=vae",
    "rare samples": "dataset=unbalanced_digits model=debiasing_vae dataset.balance=latent",
    "unfreezing": "dataset=digits model=cnn model.freeze={blocks.*:1} optimizer.lr_multipliers={blocks.*:0.1}",
    "vit": "dataset=image_folder dataset.size=224 dataset.color=rgb model=torchvision model.name=vit_b_16 trainer.batch_size=8",
}
RANGE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def main() -> int:
    """One of the four."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("train", "bare", "smoke", "resume", "sweep"))
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--variants", default="auto,no-graph,bf16,bf16+nhwc,fp16")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--in-turn", type=int, default=16)
    parser.add_argument("--work", type=Path)
    given = parser.parse_intermixed_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("runs: no CUDA device: nothing to do")
        return 0
    if given.what != "smoke":
        given.cases = given.cases or list(CASES)
    with tempfile.TemporaryDirectory() as temporary:
        given.work = (given.work or Path(temporary)).absolute()
        given.work.mkdir(parents=True, exist_ok=True)
        return {"train": train, "bare": bare, "smoke": smoke, "resume": resume, "sweep": sweep}[
            given.what
        ](given)


def dlrun(*words: str, log: Path | None = None) -> tuple[int, str]:
    """A command in this process: its exit code, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = cli.main(list(words))
    if log is not None:
        log.write_text(printed.getvalue())
    return code, printed.getvalue()


def peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


# Runs


def train(given: Any) -> int:
    """A line for each case and variant."""
    failed = 0
    print(
        f"{'case':<11} {'variant':<10} {'device':<5} {'us/step':>8} {'s/epoch':>8} {'samples/s':>10} {'test acc':>8} {'peak MB':>7}"
    )
    for case in given.cases:
        words = [*CASES[case].split(), f"trainer.accelerator={given.device}"]
        dlrun(
            "train",
            *words,
            "trainer.max_epochs=1",
            "trainer.max_steps=30",
            f"hydra.run.dir={given.work}/{case}-warm",
        )
        for variant in given.variants.split(","):
            if variant == "bf16+nhwc" and "cnn" not in case:
                continue
            more = [*VARIANTS[variant].split(), f"trainer.max_epochs={given.epochs}"]
            folder = given.work / f"{case}-{variant}"
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            code, text = dlrun("train", *words, *more, f"hydra.run.dir={folder}")
            failed += code != 0
            if code:
                print(
                    f"{case:<11} {variant:<10} FAILED ({code}): {' | '.join(text.strip().splitlines()[-3:])[:400]}",
                    flush=True,
                )
                continue
            print(_row(case, variant, folder, given.epochs), flush=True)
    return 1 if failed else 0


def _row(case: str, variant: str, folder: Path, epochs: int) -> str:
    found = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = sorted(line["samples_per_second"] for line in lines if line.get("samples_per_second"))
    seconds, steps = found["seconds"], found["step"]
    accuracy = found["best"]["metrics"].get("test/accuracy", float("nan"))
    return (
        f"{case:<11} {variant:<10} {found['device']:<5} {seconds / steps * 1e6:>8.0f} {seconds / epochs:>8.3f}"
        f" {rates[len(rates) // 2] if rates else 0:>10,.0f} {accuracy:>8.4f} {peak():>7.0f}"
    )


# By hand


def bare(given: Any) -> int:
    """The limit without graphs: tensors on the device, fused Adam, no waiting within an epoch."""
    sys.path.insert(0, str(Path("scripts/benchmarks").absolute()))
    from peer_programs import by_hand, job, mnist

    data = Path(os.environ["DLRUN_DATA"])
    place = torch.device(given.device)
    parts = {}
    for name in ("train", "t10k"):
        images, labels = mnist.images(data, name), mnist.labels(data, name)
        parts[name] = (
            torch.from_numpy(images)[:, None].to(place),
            torch.from_numpy(labels).to(place),
        )
    (inputs, targets), held_out = parts["train"], len(parts["train"][1]) - job.VALIDATION
    val = inputs[held_out:], targets[held_out:]
    print(f"{'case':<11} {'device':<5} {'us/step':>8} {'s/epoch':>8} {'test acc':>8}")
    for case in given.cases:
        name = case.removeprefix("mnist-")
        if (
            name not in by_hand.MODELS
            or case.startswith("digits")
            or ("REHEARSAL" in os.environ and name != "mlp")
        ):
            continue
        torch.manual_seed(0)
        model = by_hand.MODELS[name]().to(place)
        optimizer = torch.optim.Adam(model.parameters(), lr=job.LEARNING_RATE, fused=True)
        for epochs in (0.05, given.epochs):  # the first warms up
            started, steps = time.perf_counter(), 0
            for _ in range(max(1, int(epochs))):
                model.train()
                rows = torch.randperm(held_out, device=place).split(job.BATCH_SIZE)
                for part in rows[: 20 if epochs < 1 else None]:
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(model(inputs[part]), targets[part])
                    loss.backward()
                    optimizer.step()
                    steps += 1
                by_hand.accuracy(model, val)
            seconds = time.perf_counter() - started
        accuracy = by_hand.accuracy(model, parts["t10k"])
        print(
            f"{case:<11} {given.device:<5} {seconds / steps * 1e6:>8.0f} {seconds / given.epochs:>8.3f} {accuracy:>8.4f}",
            flush=True,
        )
    return 0


# Everything once


def smoke(given: Any) -> int:
    """Some steps of each, tensorboard and pictures included; of one run the commands that read it."""
    part, parts = map(int, (given.cases or ["0/1"])[0].split("/"))
    names, failed = list(SMOKE)[part::parts], 0
    steps = 30 if given.device == "cuda" else 4
    for name in names:
        if given.device == "cpu" and name in ("resnet18", "mobilenet", "vit"):
            continue
        started = time.perf_counter()
        more = [
            f"trainer.accelerator={given.device}",
            "trainer.max_epochs=2",
            f"trainer.max_steps={steps}",
        ]
        failed += _tried(
            name,
            started,
            "train",
            *SMOKE[name].split(),
            *more,
            f"hydra.run.dir={_folder(given, name)}",
        )
    if part == 0:
        run = str(_folder(given, names[0]))
        rows = Path(run) / "rows.csv"
        rows.write_text("x1,x2\n0.1,0.2\n0.5,0.1\n")
        for words in (["eval", run], ["predict", run, str(rows)], ["export", run, "--format", "torch_export"],
                      ["lr-find", "model=cnn", f"trainer.accelerator={given.device}", "--output", f"{given.work}/lr"],
                      ["resume", run, "trainer.max_steps=60"]):  # fmt: skip
            failed += _tried(words[0], time.perf_counter(), *words)
    return 1 if failed else 0


def _folder(given: Any, name: str) -> Path:
    return given.work / "".join(letter if letter.isalnum() else "_" for letter in name)


def _tried(name: str, started: float, *words: str) -> bool:
    try:
        code, text = dlrun(*words)
    except BaseException as error:
        code, text = 99, f"{type(error).__name__}: {error}"
    shown = (
        "ok"
        if code == 0
        else f"FAILED ({code}): {' | '.join(text.strip().splitlines()[-4:])[:500]}"
    )
    noted = next((line.strip() for line in text.splitlines() if "Warning" in line), "")
    print(
        f"smoke {name:<18} {time.perf_counter() - started:5.1f} s  {shown}{'  noted: ' + noted[:200] if noted else ''}",
        flush=True,
    )
    return code != 0


# Killed and carried on


def resume(given: Any) -> int:
    """The same run whole and in two parts; then from one device to the other."""
    epochs = 8 if given.device == "cuda" else 6
    with ThreadPoolExecutor(2) as pool:
        ways = {"as it is": [], "deterministic": ["trainer.deterministic=true"]}
        failed = sum(pool.map(lambda way: _in_two_parts(given, epochs, *way), ways.items()))
    run = given.work / "whole-as-it-is"
    if (run / "summary.json").exists():
        reached = json.loads((run / "summary.json").read_text())["best"]["metrics"].get(
            "test/accuracy"
        )
        _, text = dlrun("eval", str(run), "--json")
        again = json.loads(text.strip().splitlines()[-1])["metrics"]["test/accuracy"]
        print(f"eval on the CPU: test accuracy {again:.4f}, in training {reached:.4f}", flush=True)
        other = "cpu" if given.device == "cuda" else "auto"
        more = [f"trainer.accelerator={other}", f"trainer.max_epochs={epochs + 1}"]
        failed += _command(["resume", str(run), *more], dict(os.environ)) != 0
        back = [f"trainer.accelerator={given.device}", f"trainer.max_epochs={epochs + 3}"]
        failed += _command(["resume", str(run), *back], dict(os.environ)) != 0
        print(f"carried on on {other}, then on {given.device} again: {_last(run)}", flush=True)
    return 1 if failed else 0


def _in_two_parts(given: Any, epochs: int, label: str, more: list[str]) -> int:
    words = [*CASES["mnist-cnn"].split(), "model.dense_dropout=0.3", f"trainer.accelerator={given.device}",
             f"trainer.max_epochs={epochs}", "checkpoint.every_steps=50", *more]  # fmt: skip
    whole, killed = (
        given.work / f"{name}-{label.replace(' ', '-')}" for name in ("whole", "killed")
    )
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if more else dict(os.environ)
    if _command(["train", *words, f"hydra.run.dir={whole}"], environment):
        return 1
    step = _killed_at(["train", *words, f"hydra.run.dir={killed}"], killed, environment)
    if _command(["resume", str(killed)], environment):
        return 1
    print(f"resume, {label}: killed at step {step}; {_compared(whole, killed)}", flush=True)
    return 0


def _command(words: list[str], environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "dlrun.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shown = " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        print(
            f"FAILED ({done.returncode}) dlrun {' '.join(words[:1])} …: {shown[:500]}", flush=True
        )
    return done.returncode


def _killed_at(words: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Start a run, and kill it with no warning when it has a checkpoint and has come some way."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dlrun.cli", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file, step = folder / "metrics.jsonl", 0
    while process.poll() is None:
        lines = file.read_text().splitlines() if file.exists() else []
        with contextlib.suppress(ValueError, IndexError, KeyError):
            step = json.loads(lines[-1])["step"]
        if step >= 30 and (folder / "checkpoints" / "last.pt").exists():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    return step


def _compared(whole: Path, killed: Path) -> str:
    states = [
        torch.load(run / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)["model"]
        for run in (whole, killed)
    ]
    difference = max(
        float((a.double() - b.double()).abs().max())
        for a, b in zip(*(s.values() for s in states), strict=True)
    )
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, killed)
    ]
    same = [
        [{k: v for k, v in row.items() if k != "samples_per_second"} for row in part]
        for part in rows
    ]
    told = "weights bit for bit" if difference == 0 else f"weights off by {difference:.1e}"
    return f"{told}, metrics {'the same' if same[0] == same[1] else 'not the same'}; {_last(whole)} | {_last(killed)}"


def _last(run: Path) -> str:
    found = json.loads((run / "summary.json").read_text())
    best = found["best"]["metrics"]
    return f"{found['status']} step {found['step']} test accuracy {best.get('test/accuracy', float('nan')):.4f} {found['seconds']:.1f} s"


# Sweeps


def sweep(given: Any) -> int:
    """As one, as dlrun chooses, in turn; the same trials must reach the same."""
    epochs = 2 if given.device == "cuda" else 1
    words = [
        *CASES["mnist-mlp"].split(),
        f"trainer.max_epochs={epochs}",
        f"trainer.accelerator={given.device}",
        RANGE,
        "sweep=random",
    ]
    dlrun("train", *words, "sweep.trials=2", "sweep.stack=on", f"hydra.sweep.dir={given.work}/warm")
    boards, seconds = {}, {}
    for mode, trials in (("on", given.trials), ("auto", given.trials), ("off", given.in_turn)):
        folder = given.work / f"sweep-{mode}"
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        code, text = dlrun(
            "train",
            *words,
            f"sweep.trials={trials}",
            f"sweep.stack={mode}",
            f"hydra.sweep.dir={folder}",
            log=given.work / f"sweep-{mode}.log",
        )
        seconds[mode] = time.perf_counter() - started
        said = next(
            (line for line in text.splitlines() if "as one" in line or "in turn" in line), ""
        )
        print(f"sweep {mode:<4} {trials:>3} trials of {epochs} epochs: {seconds[mode]:.1f} s, {1000 * seconds[mode] / trials:.0f} ms each, "
              f"peak {peak():.0f} MB, exit code {code}; {said}", flush=True)  # fmt: skip
        with contextlib.suppress(FileNotFoundError), (folder / "leaderboard.csv").open() as file:
            boards[mode] = {row["trial"]: row for row in csv.DictReader(file)}
    if {"on", "off"} <= boards.keys():
        pairs = [(boards["on"][n], row) for n, row in boards["off"].items() if n in boards["on"]]
        gaps = [
            abs(float(a["val/loss"]) - float(b["val/loss"]))
            for a, b in pairs
            if a["val/loss"] and b["val/loss"]
        ]
        print(f"val/loss of {len(gaps)} trials, as one against in turn: off by {max(gaps, default=float('nan')):.4f} at most; "
              f"each trial {seconds['off'] / given.in_turn / (seconds['on'] / given.trials):.1f} times as fast as one", flush=True)  # fmt: skip
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        print("side by side: left out, the joblib launcher is not installed")
        return 0
    folder = given.work / "sweep-joblib"
    started = time.perf_counter()
    code = _command(
        [
            "train",
            *words,
            "sweep.trials=8",
            "sweep.trials_per_gpu=4",
            "hydra/launcher=joblib",
            f"hydra.sweep.dir={folder}",
        ],
        dict(os.environ),
    )
    devices = {json.loads(file.read_text()).get("device") for file in folder.glob("*/summary.json")}
    print(
        f"side by side, 8 trials, 4 on a GPU: {time.perf_counter() - started:.1f} s, exit code {code}, on {sorted(map(str, devices))}"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
