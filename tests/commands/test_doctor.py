from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dlrun.cli import main
from dlrun.commands import doctor
from dlrun.commands.doctor import _PACKAGES

Dlrun = Callable[..., subprocess.CompletedProcess[str]]


def broken(folder: Path, **errors: str) -> dict[str, str]:
    """Variables under which these packages fail to import."""
    for package, error in errors.items():
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise {error}\n")
    source = str(Path(doctor.__file__).parents[2])
    return {"PYTHONPATH": f"{folder}:{source}"}


def test_here_all_is_well(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = main(["doctor"]), capsys.readouterr()
    assert code == 0, said.out + said.err
    assert said.out.endswith("All well.\n")
    assert all(f"\n  {name} " in said.out for name in _PACKAGES)
    assert "trainer.accelerator=auto takes " in said.out


def test_broken_and_missing_packages_are_told_with_a_remedy(dlrun: Dlrun, project: Path) -> None:
    variables = broken(
        project / "broken",
        torch='ImportError("libcudnn.so: cannot open\\nsecond line")',
        torchvision='RuntimeError("operator torchvision::nms does not exist")',
        hydra='ModuleNotFoundError("No module named hydra")',
        tensorboard="AttributeError",
    )
    result = dlrun("doctor", variables=variables)
    assert result.returncode == 1
    assert result.stderr == ""
    words = " ".join(result.stdout.split())
    assert "but broken: libcudnn.so: cannot open torchvision" in words
    assert "but broken: operator torchvision::nms does not exist" in words
    assert "but broken: AttributeError" in words
    assert "trainer.accelerator=auto cannot choose without torch" in words
    problems = result.stdout.partition("\nproblems\n")[2]
    assert problems.count("\n") == 4
    assert "torch is broken: the two come as a pair: pip install" in problems
    assert "hydra-core is broken: pip install --force-reinstall hydra-core" in problems


def test_folders_are_told(dlrun: Dlrun, project: Path) -> None:
    (project / "configs").mkdir()
    (project / "data/MNIST/raw").mkdir(parents=True)
    (project / "data/MNIST/raw/train-images-idx3-ubyte.gz").touch()
    (project / "data/FashionMNIST/raw").mkdir(parents=True)  # empty: a download that failed
    absent = dict.fromkeys(("torch", "torchvision", "sklearn", "tensorboard"), "ImportError")
    variables = broken(project / "broken", **absent)  # what is slow to import
    result = dlrun("doctor", variables={**variables, "DLRUN_DATA": str(project / "data")})
    words = " ".join(result.stdout.split())
    assert f"configs {project / 'configs'} (your own) " in words
    assert f"data {project / 'data'} (from DLRUN_DATA) there: mnist downloaded when first" in words
    assert f"outputs {project / 'outputs'}: writable" in words


@pytest.mark.parametrize(
    ("capability", "values", "variables", "words"),
    [
        (
            (9, 0),
            "native native native native native",
            {},
            ["cuda 13.0, cuDNN 9.10.2", "CUBLAS_WORKSPACE_CONFIG set to :4096:8 by"],
        ),
        (
            (7, 5),
            "native no slow slow native",
            {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "NVIDIA_TF32_OVERRIDE": "1"},
            ["CUBLAS_WORKSPACE_CONFIG :16:8 NVIDIA_TF32_OVERRIDE 1 "],
        ),
        (
            (8, 6),
            "native native slow native native",
            {"CUBLAS_WORKSPACE_CONFIG": ":0:0", "NVIDIA_TF32_OVERRIDE": "0"},
            [":0:0, which trainer.deterministic=true refuses NVIDIA_TF32_OVERRIDE 0 (no TF32, "],
        ),
    ],
)
def test_what_decides_how_a_gpu_computes_is_told(
    capability: tuple[int, int], values: str, variables: dict[str, str], words: list[str],
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    card = SimpleNamespace(
        name="Card", total_memory=2**30, major=capability[0], minor=capability[1]
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name in ("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "devices fp32 tf32 fp64 bf16 fp16" in said
    assert f"cuda:0 {values} Card, 1.0 GiB, compute capability" in said
    assert all(text in said for text in words)
