"""What no test looks at: dlrun's CUDA paths tried one by one in a process, each with its verdict on a line.

    python probe.py [--device cuda|cpu] [--only PART,...] [--mnist]

Parts: judgement, matrix, resume, devices, syncs, stack, memory, speed, fallback, deterministic. A part that fails
says so and the next one goes on; what may leave the process unusable (a capture that fails) has one of its own.
On the CPU, parts that are about CUDA alone are left out: that only tests this file.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.data.loaders import Batches
from dlrun.data.loaders import take as rows_of
from dlrun.stacked.probe import probe_stack
from dlrun.stacked.stack import Stack
from dlrun.sweep.data_cache import data_loader
from dlrun.training.build import assemble
from dlrun.training.cuda_graph import CapturedStep
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.logged_points import Pending
from dlrun.training.optim import make_capturable

PARTS = (
    "judgement",
    "matrix",
    "fallback",
    "deterministic",
    "resume",
    "devices",
    "syncs",
    "stack",
    "memory",
    "speed",
)
ASIDE = ("matrix", "fallback", "deterministic")  # in processes of their own, while others go on
ALONE = ("memory", "speed")  # with nobody beside them
CUDA_ONLY = ("syncs", "memory", "fallback", "deterministic", "judgement")
AUGMENT = "dataset.augment={shift: 1, flip: true, rotation: 10, noise: 0.1, cutout: 2}"
NO_BUCKETS = "dataset=text_csv dataset.tokens.bucketing=false dataset.tokens.max_length=60 trainer.batch_size=32"
ROWS = "dataset=digits model={} model.hidden_size=32"

# Whether a whole step can be captured, and whether it then is the step taken one by one.
MATRIX: list[tuple[str, str]] = [
    ("logistic", "dataset=digits model=logistic"),
    ("mlp", "dataset=digits model=mlp"),
    ("mlp dropout bn", "dataset=digits model=mlp model.dropout=0.3 model.batch_norm=before"),
    ("mlp regression", "dataset=diabetes model=mlp"),
    ("mlp binary", "dataset=breast_cancer model=mlp"),
    ("mlp categories", "dataset=csv model=mlp"),
    ("wide & deep", "dataset=csv model=wide_deep"),
    ("cnn", "dataset=digits model=cnn"),
    (
        "cnn bn dropout augment",
        f"dataset=digits model=cnn model.batch_norm=true model.dense_dropout=0.3|{AUGMENT}",
    ),
    (
        "cnn bf16 channels_last",
        "dataset=digits model=cnn trainer.precision=bf16 trainer.channels_last=true",
    ),
    ("cnn ema accumulate", "dataset=digits model=cnn trainer.ema_decay=0.99 trainer.accumulate=2"),
    (
        "cnn clip l1",
        "dataset=digits model=cnn optimizer.l1=1e-4 optimizer.clip_norm=1 optimizer.clip_value=0.1",
    ),
    (
        "cnn rmsprop",
        "dataset=digits model=cnn optimizer=rmsprop optimizer.momentum=0.5 optimizer.centered=true",
    ),
    ("cnn adadelta", "dataset=digits model=cnn optimizer=adadelta"),
    ("rnn", ROWS.format("rnn")),
    ("gru", ROWS.format("gru")),
    ("lstm", ROWS.format("lstm")),
    ("lstm bf16", ROWS.format("lstm") + " trainer.precision=bf16"),
    (
        "lstm 2 bidirectional dropout",
        ROWS.format("lstm") + " model.layers=2 model.bidirectional=true model.dropout=0.2",
    ),
    ("lstm norm of gates", ROWS.format("lstm") + " model.layer_norm=gates"),
    ("gru attention ema", ROWS.format("gru") + " model.pooling=attention trainer.ema_decay=0.99"),
    ("text bag", f"{NO_BUCKETS} model=bag_of_words"),
    ("text cnn", f"{NO_BUCKETS} model=text_cnn"),
    ("text lstm", f"{NO_BUCKETS} model=lstm model.dropout=0.2 model.embedding_dropout=0.1"),
    ("resnet18", "dataset=digits model=torchvision model.name=resnet18"),
    ("mobilenet_v3_small", "dataset=digits model=torchvision model.name=mobilenet_v3_small"),
    (
        "text lstm bidirectional",
        f"{NO_BUCKETS} model=lstm model.bidirectional=true",
    ),  # asks the device for lengths
]
SPEED: dict[str, str] = {
    "mlp 784-128-10": "{mnist} model=mlp model.hidden=[128]",
    "mlp dropout": "{mnist} model=mlp model.hidden=[256,128] model.dropout=0.2",
    "cnn 16-32": "{mnist} model=cnn",
    "cnn bf16 nhwc": "{mnist} model=cnn trainer.precision=bf16 trainer.channels_last=true",
    "lstm 64": "{mnist} model=lstm model.hidden_size=64",
}

place = "cuda"
asked = "cuda"
mnist = "dataset=digits"


def main() -> int:
    """Run the parts named on the command line, or all."""
    global place, asked, mnist
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument(
        "--mnist", action="store_true", help="measure on MNIST, found through DLRUN_DATA"
    )
    parser.add_argument("--begin", type=int, default=0, help="of the matrix")
    arguments = parser.parse_args()
    place = asked = arguments.device
    mnist = (
        "dataset=mnist trainer.batch_size=128"
        if arguments.mnist
        else "dataset=digits trainer.batch_size=128"
    )
    if place == "cuda" and not torch.cuda.is_available():
        print("probe: no CUDA device: nothing to do")
        return 0
    warnings.simplefilter("once")
    with ThreadPoolExecutor(len(ASIDE)) as pool:
        under_way: list[Any] = []
        for part in arguments.only.split(","):
            if place == "cpu" and part in CUDA_ONLY:
                say(part, "left out on the CPU")
            elif part in ASIDE and place == "cuda":
                under_way.append(pool.submit(run, part, 0))
            else:
                if part in ALONE:
                    wait_for(under_way)
                run(part, arguments.begin)
    return 0


def run(part: str, begin: int) -> None:
    """A part, and how long it took; what goes wrong is told."""
    started = time.perf_counter()
    try:
        matrix(begin) if part.startswith("matrix") else globals()[part.removesuffix("!")]()
    except Exception:
        say(part, f"FAILED\n{traceback.format_exc(limit=-6)}")
    print(f"-- {part}: {time.perf_counter() - started:.1f} s", flush=True)


def say(part: str, text: str) -> None:
    """A line of the log."""
    print(f"{part}: {text}", flush=True)


def first(error: BaseException) -> str:
    """The first line of what it says."""
    return (str(error).splitlines() or [""])[0][:200]


def built(words: str, *more: str) -> Any:
    """An engine; a | parts words that hold blanks."""
    first, *quoted = words.split("|")
    given = [*first.split(), *quoted, *more, "name=probe", f"trainer.accelerator={place}"]
    plain: Any = OmegaConf.to_container(compose(given), resolve=True)
    del plain["sweep"]
    return assemble(settings.parse(plain), load=data_loader).engine


def take(engine: Any, steps: int, *, eager: bool = False) -> None:
    """So many steps from where the engine is; what is kept for a log is let go now and then, as a run does."""
    engine.model.train()
    step = engine.train_step if eager else (engine.captured or engine.train_step)
    while steps > 0:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        for batch in engine.batches.epoch(epoch, skip=position):
            step(*batch)
            engine.step += 1
            steps -= 1
            if len(engine.pending.losses) >= 50:
                engine.pending = Pending()
            if not steps:
                break


def wait() -> None:
    if place == "cuda":
        torch.cuda.synchronize()


def timed(function: Any, count: int) -> float:
    """Microseconds of one of `count` calls or steps that `function` makes at once."""
    wait()
    started = time.perf_counter()
    function()
    wait()
    return (time.perf_counter() - started) / count * 1e6


def apart(one: Any, other: Any) -> float:
    """The largest difference between the weights of two engines, by the largest weight."""
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    found = [(a.cpu().double() - b.cpu().double()).abs().max() / a.cpu().double().abs().max().clamp(min=1e-3)
             for a, b in pairs if a.is_floating_point()]  # fmt: skip
    return float(torch.stack(found).max())


def again(part: str, *more: str, seconds: float = 60, **environment: str) -> int:
    """A part in a process of its own; its output goes where this one's does."""
    command = [sys.executable, __file__, "--device", asked, "--only", f"{part}!", *more]
    if mnist.startswith("dataset=mnist"):
        command.append("--mnist")
    sys.stdout.flush()
    try:
        return subprocess.run(
            command, env={**os.environ, **environment}, timeout=seconds, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        say(part, f"FAILED: not done after {seconds:.0f} s")
        return -1


# Whether a whole step can be captured


def matrix(begin: int = 0) -> None:
    """Each entry in turn, in a process of their own; after one that fails another process goes on with the next."""
    if "matrix!" not in sys.argv:
        again("matrix", seconds=150)
        return
    for number in range(begin, len(MATRIX)):
        label, words = MATRIX[number]
        try:
            _compare_captured(label, words)
        except Exception as error:
            say("matrix", f"{label:<30} FAILED {type(error).__name__}: {first(error)}")
            cause = error.__cause__ or error.__context__
            if cause is not None:
                say("matrix", f"{'':<30}   of {type(cause).__name__}: {first(cause)}")
            if place == "cuda" and number + 1 < len(MATRIX):
                again("matrix", "--begin", str(number + 1))
                return


def _compare_captured(label: str, words: str) -> None:
    alone = built(words, "trainer.cuda_graph=false")
    other = built(words, f"trainer.cuda_graph={'true' if place == 'cuda' else 'false'}")
    for engine in (alone, other):
        torch.manual_seed(0)  # torchvision's layers draw from the global state
        take(engine, 8)
    graph = place == "cpu" or (
        isinstance(other.captured, CapturedStep) and other.captured.graph is not None
    )
    difference = apart(alone, other)
    drawn = torch.equal(alone.generator.get_state(), other.generator.get_state())
    count = 40 if place == "cuda" else 2
    slow, fast = (timed(lambda e=engine: take(e, count), count) for engine in (alone, other))
    least = (
        5e-2 if "bf16" in label or "net" in label else 2e-3
    )  # Adam makes much of little, TF32 is coarse
    verdict = "ok" if graph and drawn and difference < least else "LOOK"
    say("matrix", f"{label:<30} {verdict:<4} off by {difference:.1e}  {slow:6.0f} -> {fast:6.0f} us/step"
        + ("" if drawn else "  OTHER RANDOM STATE") + ("" if graph else "  NO GRAPH"))  # fmt: skip


# Whether a run goes on as if it had not stopped


def resume() -> None:
    """20 steps at a go against 9 and 11 with a checkpoint file between them: bit for bit?"""
    for words in ("dataset=digits model=mlp model.dropout=0.5 model.hidden=[64]",
                  f"{mnist} model=cnn model.dense_dropout=0.3 model.batch_norm=true",
                  f"{mnist} model=lstm model.hidden_size=32"):  # fmt: skip
        for graph in ("auto", "false"):
            whole, part, rest = (built(words, f"trainer.cuda_graph={graph}") for _ in range(3))
            take(whole, 20), take(part, 9)
            _through_a_file(part, rest)
            take(rest, 11)
            difference = apart(whole, rest)
            told = "bit for bit" if difference == 0 else f"off by {difference:.1e}"
            say("resume", f"{words.split(' ', 1)[1][:44]:<44} cuda_graph={graph:<5} {told}")


def _through_a_file(one: Any, other: Any) -> None:
    file = io.BytesIO()
    torch.save({"engine": engine_state(one), "drawn": one.generator.get_state()}, file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    load_engine_state(other, state["engine"])
    if other.generator.get_state().shape == state["drawn"].shape:
        other.generator.set_state(state["drawn"])


def devices() -> None:
    """A run begun on the GPU goes on on the CPU, and the other way round."""
    global place
    own = place
    for optimizer in ("adam", "momentum", "rmsprop", "adagrad", "adadelta"):
        words = f"dataset=digits model=mlp model.hidden=[32] optimizer={optimizer}"
        try:
            engines = {}
            for where in (own, "cpu"):
                place = where
                engines[where] = built(words), built(words)
            (here, here_later), (cpu, cpu_later) = engines[own], engines["cpu"]
            if own == "cpu":
                here, here_later = built(words), built(words)
            take(here, 6), take(cpu, 6)
            _through_a_file(here, cpu_later), _through_a_file(cpu, here_later)
            take(cpu_later, 6), take(here_later, 6), take(cpu, 6)
            say("devices", f"{optimizer:<9} ok: CPU after GPU off by {apart(cpu, cpu_later):.1e}, "
                f"GPU after CPU off by {apart(cpu, here_later):.1e} of a run on the CPU")  # fmt: skip
        except Exception as error:
            say("devices", f"{optimizer:<9} FAILED {type(error).__name__}: {first(error)}")
        finally:
            place = own


# What waits for the device within a step


def syncs() -> None:
    """The places in Python where a step waits for the device; none is wanted."""
    cases = {
        "eager": "dataset=digits model=mlp trainer.cuda_graph=false",
        "captured": "dataset=digits model=mlp model.dropout=0.2",
        "captured ema": "dataset=digits model=mlp trainer.ema_decay=0.99",
        "clip_norm": "dataset=digits model=mlp optimizer.clip_norm=1 trainer.cuda_graph=false",
        "fp16 adam": "dataset=digits model=mlp trainer.precision=fp16",
        "fp16 rmsprop": "dataset=digits model=mlp trainer.precision=fp16 optimizer=rmsprop",
        "adagrad": "dataset=digits model=mlp optimizer=adagrad",
        "buckets of texts": "dataset=text_csv model=lstm trainer.batch_size=32",
        "bidirectional texts": "dataset=text_csv model=lstm model.bidirectional=true trainer.batch_size=32",
        "language": "dataset=shakespeare model=char_lstm model.hidden_size=64",
        "streamed images": "dataset=image_folder dataset.in_memory=false dataset.workers=0 model=cnn trainer.batch_size=8",
        "augmented": f"dataset=digits model=cnn trainer.cuda_graph=false|{AUGMENT}",
    }
    for label, words in cases.items():
        try:
            engine = built(words)
            engine.model.train()
            step, feed = engine.captured or engine.train_step, engine.batches.epoch(0)

            def one(step: Any = step, feed: Any = feed, engine: Any = engine) -> None:
                step(*next(feed))
                engine.step += 1

            _tell_syncs(label, one)
        except Exception as error:
            say("syncs", f"{label:<24} FAILED {type(error).__name__}: {first(error)}")
    plain = "dataset=digits model=mlp model.hidden=[32]"
    stacks = {
        "stack": [plain] * 4,
        "stack dropout": [f"{plain} model.dropout=0.2"] * 4,
        "stack of schedules": [
            f"{plain} schedule=exponential schedule.gamma=0.{n}" for n in (9, 8, 7, 6)
        ],
        "stack adagrad": [f"{plain} optimizer=adagrad"] * 4,
        "stack rmsprop": [f"{plain} optimizer=rmsprop"] * 4,
    }
    for label, lines in stacks.items():
        try:
            stack = Stack([built(line) for line in lines], eval_rows=256)
            feed = stack.batches.epoch(0)
            _tell_syncs(label, lambda stack=stack, feed=feed: stack.train_step(*next(feed)))
        except Exception as error:
            say("syncs", f"{label:<24} FAILED {type(error).__name__}: {first(error)}")


def _tell_syncs(label: str, step: Any) -> None:
    for _ in range(6):
        step()
    torch.cuda.synchronize()
    steps = 4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(steps):
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = Counter(
        f"{Path(w.filename).parent.name}/{Path(w.filename).name}:{w.lineno}"
        for w in caught
        if "called a synchronizing" in str(w.message)
    )
    listed = ", ".join(
        f"{where} ({count / steps:g} a step)" for where, count in found.most_common(6)
    )
    say("syncs", f"{label:<24} {'none' if not found else 'WAITS at ' + listed}")


# Trials as one


def stack() -> None:
    """Four runs as one against the same alone, and the verdict of the trying that a sweep does."""
    cases = {
        "mlp adam": "dataset=digits model=mlp model.hidden=[32]",
        "mlp adam dropout": "dataset=digits model=mlp model.hidden=[32] model.dropout=0.3",
        "mlp rmsprop": "dataset=digits model=mlp model.hidden=[32] optimizer=rmsprop",
        "mlp momentum clip": "dataset=digits model=mlp model.hidden=[32] optimizer=momentum optimizer.clip_norm=0.5",
        "mlp bf16": "dataset=digits model=mlp model.hidden=[32] trainer.precision=bf16",
        "cnn bn": "dataset=digits model=cnn model.batch_norm=true",
        "cnn 28x28": f"{mnist} model=cnn",
        "cnn 28x28 bf16": f"{mnist} model=cnn trainer.precision=bf16",
        "lstm": ROWS.format("lstm"),
    }
    for label, words in cases.items():
        try:
            rates = [f"optimizer.lr={rate}" for rate in (0.003, 0.002, 0.001, 0.0005)]
            alone = [built(words, rate, "trainer.cuda_graph=false") for rate in rates]
            together = Stack([built(words, rate) for rate in rates], eval_rows=256)
            tried = Stack([built(words, rate) for rate in rates], eval_rows=256)
            reason = probe_stack(tried, built(words, rates[0]))
            feed = together.batches.epoch(0)
            for _ in range(8):
                together.train_step(*next(feed))
            for engine in alone:
                take(engine, 8)
            pairs = zip(alone, together.engines, strict=True)
            difference = max(apart(one, other) for one, other in pairs)
            verdict = (
                "ok"
                if reason is None and difference < (2e-1 if "bf16" in label else 2e-2)
                else "LOOK"
            )
            say("stack", f"{label:<20} {verdict:<4} off by {difference:.1e} after 8 steps; a sweep would "
                + ("stack them" if reason is None else f"NOT stack them: {reason}"))  # fmt: skip
        except Exception as error:
            say("stack", f"{label:<20} FAILED {type(error).__name__}: {first(error)}")


def judgement() -> None:
    """What a sweep's first look says in a fresh process, where CUDA's own start falls into the first step."""
    from dlrun.sweep.stack_scheduler import Judgement

    if "judgement!" not in sys.argv:
        again("judgement")
        return
    for turn in ("first", "second"):
        for label in ("mlp 784-128-10", "cnn 16-32"):
            words = SPEED[label].format(mnist=mnist)
            plain: Any = OmegaConf.to_container(
                compose([*words.split(), "name=probe"]), resolve=True
            )
            del plain["sweep"]
            verdict = Judgement(forced=False).of(label, plain, 64)
            say("judgement", f"{turn} look, {label}: stack {verdict.stack}, {verdict.reason}")


# Memory


def memory() -> None:
    """What stays behind of captured runs in turn, without and with a garbage collection; what a stack may take."""
    from dlrun.stacked.memory import memory_of, room

    gc.collect()
    torch.cuda.empty_cache()
    gc.disable()
    for number in range(9):
        engine = built("dataset=digits model=mlp model.hidden=[64]", "trainer.cuda_graph=true")
        take(engine, 6)
        del engine
        if number % 4 == 0:
            say("memory", f"after {number + 1} captured runs {_megabytes()}")
    gc.enable()
    gc.collect()
    say("memory", f"after a collection {_megabytes()}")
    before = room(memory_of(torch.device("cuda")))
    held = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    del held
    after = room(memory_of(torch.device("cuda")))
    say(
        "memory",
        f"room for a stack {before / 2**30:.1f} GiB; with a GiB in torch's cache {after / 2**30:.1f} GiB",
    )


def _megabytes() -> str:
    return (f"{torch.cuda.memory_allocated() / 2**20:.0f} MB in use, "
            f"{torch.cuda.memory_reserved() / 2**20:.0f} MB held")  # fmt: skip


# Speed


def speed() -> None:
    """Microseconds a step: one by one, replayed as now, many steps in one graph; then of stacks."""
    many = 400 if place == "cuda" else 20
    head = f"{'case':<16} {'eager':>8} {'captured':>8} {'chunk 10':>8} {'chunk 50':>8} {'capture ms':>10} {'eval ms':>8}"
    say("speed", head)
    for label, words in SPEED.items():
        try:
            line = words.format(mnist=mnist)
            engine = built(line, "trainer.cuda_graph=false")
            take(engine, 20)
            numbers = [timed(lambda e=engine: take(e, many), many)]
            evaluation = timed(lambda e=engine: e.outputs(e.data.val), 1) / 1e3
            capture = float("nan")
            if place == "cuda":
                other = built(line, "trainer.cuda_graph=true")
                take(other, 3)
                capture = timed(lambda e=other: take(e, 1), 1) / 1e3
                take(other, 20)
                numbers.append(timed(lambda e=other: take(e, many), many))
                for size in (10, 50):
                    chunk = Chunk(built(line, "trainer.cuda_graph=false"), size)
                    chunk.replay(2)
                    numbers.append(timed(lambda c=chunk, s=size: c.replay(many // s), many))
            shown = " ".join(f"{number:8.0f}" for number in numbers)
            say("speed", f"{label:<16} {shown} {capture:10.0f} {evaluation:8.2f}")
        except Exception as error:
            say("speed", f"{label:<16} FAILED {type(error).__name__}: {first(error)}")
    _stack_speed()


def _stack_speed() -> None:
    say(
        "speed",
        f"{'stack of':<24} {'eager':>8} {'captured':>8} {'tf32':>8}   us a step of all (captured: for the time alone)",
    )
    many = 50 if place == "cuda" else 2
    sizes = (16, 64, 256) if place == "cuda" else (4,)
    for label in ("mlp 784-128-10", "cnn 16-32"):
        for size in sizes if label.startswith("mlp") else sizes[:2]:
            try:
                line = SPEED[label].format(mnist=mnist)
                engines = [
                    built(line, f"optimizer.lr={0.001 * (1 + n / size)}") for n in range(size)
                ]
                together = Stack(engines, eval_rows=64)
                inputs, targets = next(together.batches.epoch(0))

                def steps(
                    count: int, together: Any = together, x: Any = inputs, y: Any = targets
                ) -> None:
                    for _ in range(count):
                        together.train_step(x, y)
                        if len(together.pending.losses) >= 50:
                            together.pending = Pending()

                steps(3)
                numbers = [timed(lambda: steps(many), many)]
                if place == "cuda":
                    graph = _captured_stack(together, inputs, targets)
                    numbers.append(timed(lambda g=graph: [g.replay() for _ in range(many)], many))
                    del graph
                    torch.set_float32_matmul_precision("high")
                    steps(3)
                    graph = _captured_stack(together, inputs, targets)
                    numbers.append(timed(lambda g=graph: [g.replay() for _ in range(many)], many))
                    torch.set_float32_matmul_precision("highest")
                shown = " ".join(f"{number:8.0f}" for number in numbers)
                say(
                    "speed",
                    f"{f'{size} {label}':<24} {shown}   {_megabytes() if place == 'cuda' else ''}",
                )
            except Exception as error:
                torch.set_float32_matmul_precision("highest")
                say(
                    "speed",
                    f"{f'{size} {label}':<24} FAILED {type(error).__name__}: {first(error)}",
                )


def _captured_stack(together: Stack, inputs: Any, targets: Any) -> Any:
    """A step as a graph: its learning rates and counts of steps stay what they are now, so only its time is right."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    for engine in together.engines:
        graph.register_generator_state(engine.generator)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            together.train_step(inputs, targets)
    torch.cuda.current_stream().wait_stream(stream)
    together.pending = Pending()
    with torch.cuda.graph(graph, stream=stream):
        together.train_step(inputs, targets)
    together.pending = Pending()
    return graph


class Chunk:
    """Many steps as one graph, which reads its batches itself: what a replay of whole stretches could reach.

    The order of the rows and the learning rates are copied in before a replay; losses stay in a tensor.
    """

    def __init__(self, engine: Any, size: int) -> None:
        assert isinstance(engine.batches, Batches)
        self.engine, self.size = engine, size
        split, (start, stop) = engine.batches.split, engine.batches.bounds[0]
        self.batch = stop - start
        where = split.inputs.device
        self.order = torch.randperm(len(split), device=where)
        self.rows = self.order[: self.batch].repeat(size)
        self.rates = torch.full((size,), 1e-3, device=where)
        engine.model.train()
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        make_capturable(engine.descent, where)
        graph.register_generator_state(engine.generator)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for number in range(3):
                self._step(number % size)
        torch.cuda.current_stream().wait_stream(stream)
        engine.descent.clear()
        engine.pending = Pending()
        with torch.cuda.graph(graph, stream=stream):
            for number in range(size):
                self._step(number)
            self.losses = torch.stack(engine.pending.losses)
        self.kept, engine.pending = engine.pending, Pending()
        self.graph = graph

    def _step(self, number: int) -> None:
        engine, split = self.engine, self.engine.batches.split
        for group in engine.descent.optimizer.param_groups:
            group["lr"] = self.rates[number]
        rows = self.rows[number * self.batch : (number + 1) * self.batch]
        engine.learn(rows_of(split.inputs, rows), rows_of(split.targets, rows))

    def replay(self, times: int) -> None:
        """So many times `size` steps."""
        every = self.size * self.batch
        for number in range(times):
            start = (
                (number * every) % max(1, len(self.order) - every) if every < len(self.order) else 0
            )
            part = self.order[start : start + every]
            self.rows[: len(part)].copy_(part)
            self.rates.fill_(1e-3)
            self.graph.replay()


# What may leave a process unusable


def fallback() -> None:
    """A capture that fails is to be survived: texts read both ways ask the device for their lengths."""
    if "fallback!" not in sys.argv:
        again("fallback")
        return
    for dropout in ("0", "0.3"):
        engine = built(f"{NO_BUCKETS} model=lstm model.bidirectional=true model.dropout={dropout}")
        say("fallback", f"cuda_graph=auto takes a graph: {engine.captured is not None}")
        take(engine, 8)
        failed = getattr(engine.captured, "failed", None)
        default = torch.cuda.current_stream() == torch.cuda.default_stream()
        torch.randn(2, device="cuda")
        say(
            "fallback",
            f"ok with dropout {dropout}: capture failed {failed}, on the default stream {default}",
        )


def deterministic() -> None:
    """trainer.deterministic=true, with and without the variable that cuBLAS wants."""
    if "deterministic!" in sys.argv:
        for words in ("dataset=digits model=mlp", "dataset=digits model=cnn", ROWS.format("lstm"),
                      "dataset=text_csv model=text_cnn", "dataset=digits model=torchvision"):  # fmt: skip
            try:
                take(built(words, "trainer.deterministic=true"), 6)
                said = "ok"
            except Exception as error:
                said = f"FAILED {type(error).__name__}: {first(error)}"
            say("deterministic", f"  {words:<44} {said}")
        return
    say("deterministic", "CUBLAS_WORKSPACE_CONFIG not set")
    again("deterministic")
    say("deterministic", "CUBLAS_WORKSPACE_CONFIG=:4096:8")
    again("deterministic", CUBLAS_WORKSPACE_CONFIG=":4096:8")


if __name__ == "__main__":
    sys.exit(main())
