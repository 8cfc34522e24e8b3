"""Steps in other settings than the usual ones: precisions, memory layouts, compiled, without graphs."""

from __future__ import annotations

from gpu_parts.figures import note, tell
from gpu_parts.pace import Size, step_seconds
from gpu_parts.steps import MNIST
from peer_programs.dlrun import MODELS

CASES = {
    "mlp": f"{MNIST} {' '.join(MODELS['mlp'])}",
    "mlp 2 x 2048": f"{MNIST} model=mlp model.hidden=[2048,2048]",
    "cnn": f"{MNIST} model=cnn",
    "lstm": f"{MNIST} {' '.join(MODELS['lstm'])}",
    "resnet20": f"{MNIST} model=resnet model.depth=20",
}
VARIANTS = {
    "as it is": "",
    "without graphs": "trainer.cuda_graph=false",
    "tf32": "trainer.precision=tf32",
    "bf16": "trainer.precision=bf16",
    "bf16 channels_last": "trainer.precision=bf16 trainer.channels_last=true",
}


def measure(kind: str) -> None:
    """Microseconds a step of each case in each of the settings."""
    size = Size.on(kind, turns=3)
    cases = CASES if kind == "cuda" else {"mlp": "dataset=digits model=mlp"}
    for case, words in cases.items():
        for name, more in VARIANTS.items():
            if kind != "cuda" and "tf32" in more:  # refused there
                continue
            if "channels_last" in more and not case.startswith(("cnn", "resnet")):
                continue
            _tell(f"{case}, {name}", f"{words} {more}", kind, size)


def compiled(kind: str) -> None:
    """The same with torch.compile, after what it takes to compile."""
    size = Size.on(kind, turns=3)
    for case in ("resnet20", "cnn"):
        for name, more in (
            ("compile", "trainer.compile=true"),
            ("max-autotune", "trainer.compile=max-autotune"),
        ):
            _tell(f"{case}, {name}", f"{CASES[case]} {more}", kind, size)


def _tell(label: str, words: str, kind: str, size: Size) -> None:
    try:
        seconds = step_seconds(f"{words} trainer.accelerator={kind}", size=size)
    except Exception as error:
        note(f"{label}: FAILED {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    else:
        tell(label, 1e6 * seconds, "µs a step")
