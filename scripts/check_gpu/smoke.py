"""Every kind of data, model and setting once, some steps each, pictures included; then commands on a run.

python smoke.py [--device cuda|cpu] [CASE ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from commands import dlrun, say, told

_AT_A_TIME = 3
_LARGE = ("resnet18", "mobilenet", "vit")  # too slow for a rehearsal on the CPU
TEXTS = "dataset=text_csv trainer.batch_size=32 dataset.tokens.max_length=80"
DIGITS = "dataset=digits"
CASES: dict[str, str] = {
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
    "gradient flow": f"{DIGITS} model=lstm tracking.gradient_flow=true",
    "norm of gates": f"{DIGITS} model=lstm model.layer_norm=gates",
    "profile": f"{DIGITS} model=cnn trainer.profile=true",
    "fp64": f"{DIGITS} model=cnn trainer.precision=fp64",
    "fp16 ema parts": f"{DIGITS} model=cnn trainer.precision=fp16 trainer.ema_decay=0.9 trainer.accumulate=2",
    "ema lstm": f"{DIGITS} model=lstm trainer.ema_decay=0.9",
    "full batch": f"{DIGITS} model=mlp trainer.batch_size=full trainer.eval_every_steps=5",
    "deterministic": f"{DIGITS} model=cnn trainer.deterministic=true",
    "early stop": f"{DIGITS} model=cnn trainer.early_stopping.patience=1 trainer.eval_every_steps=2 optimizer.lr=0.1",
    "overfit": f"{DIGITS} model=mlp trainer.overfit_batches=1 trainer.log_every_steps=1",
    "resnet18": f"{DIGITS} model=torchvision trainer.channels_last=true trainer.precision=bf16",
    "mobilenet": f"{DIGITS} model=torchvision model.name=mobilenet_v3_small",
    "members": "dataset=breast_cancer model=tabm metrics=[macro_f1,brier,calibration_error]",
    "residual": f"{DIGITS} model=resnet model.depth=8 dataset.augment.mixup=0.2 dataset.augment.crop=0.5",
    "weights": "dataset=iris model=mlp loss=focal loss.class_weights=balanced",
    "counts": "dataset=diabetes model=mlp loss=poisson",
    "balance": "dataset=breast_cancer model=mlp dataset.balance=oversample loss.label_smoothing=0.1",
    "transformer": "dataset=airline model=transformer loss=quantile",
    "convolutions in time": "dataset=airline model=tcn optimizer=lion",
    "gpt": "dataset=shakespeare model=gpt model.width=64 optimizer=muon trainer.precision=bf16",
    "reconstruction": f"{DIGITS} model=vae",
    "rare samples": "dataset=unbalanced_digits model=debiasing_vae dataset.balance=latent",
    "unfreezing": f"{DIGITS} model=cnn model.freeze={{blocks.*:1}} optimizer.lr_multipliers={{blocks.*:0.1}}",
    "vit": "dataset=image_folder dataset.size=224 dataset.color=rgb model=torchvision model.name=vit_b_16",
}  # fmt: skip
COMMANDS = "commands on a run"


def main() -> int:
    """Run the cases named on the command line, or all: some processes side by side, since only correctness counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    large = _LARGE if given.device == "cpu" else ()
    names = given.cases or [name for name in (*CASES, COMMANDS) if name not in large]
    if given.cases:
        with tempfile.TemporaryDirectory() as folder:
            for number, name in enumerate(names):
                tried(name, given.device, Path(folder, str(number)))
        return 0
    several = _AT_A_TIME if given.device == "cuda" else 1
    command = [sys.executable, __file__, "--device", given.device]
    with ThreadPoolExecutor(several) as pool:
        shares = [names[at::several] for at in range(several)]
        codes = pool.map(
            lambda share: subprocess.run([*command, *share], check=False).returncode, shares
        )
    return max(map(abs, codes))


def tried(name: str, device: str, folder: Path) -> None:
    """A line on one case."""
    started = time.perf_counter()
    with told("smoke", name):
        if name == COMMANDS:
            commands(device, folder)
        else:
            steps = 30 if device == "cuda" else 4
            length = ["trainer.max_epochs=2", f"trainer.max_steps={steps}"]
            dlrun("train", *CASES[name].split(), *length, f"trainer.accelerator={device}",
                  f"hydra.run.dir={folder}")  # fmt: skip
        say("smoke", name, "ok", f"{time.perf_counter() - started:.1f} s")


def commands(device: str, folder: Path) -> None:
    """What reads a run or trains otherwise than `train`."""
    folder.mkdir()
    run, rows, accelerator = (
        str(folder / "run"),
        folder / "rows.csv",
        f"trainer.accelerator={device}",
    )
    dlrun(
        "train",
        *CASES["points"].split(),
        "trainer.max_steps=30",
        accelerator,
        f"hydra.run.dir={run}",
    )
    rows.write_text("x1,x2\n0.1,0.2\n0.5,0.1\n")
    dlrun("eval", run)
    dlrun("predict", run, str(rows))
    dlrun("export", run, "--format", "torch_export")
    dlrun("resume", run, "trainer.max_steps=60")
    dlrun("lr-find", "model=cnn", accelerator, "--output", f"{folder}/lr")


if __name__ == "__main__":
    sys.exit(main())
