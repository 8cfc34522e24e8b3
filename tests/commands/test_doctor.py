from __future__ import annotations

import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlrun.commands import doctor
from dlrun.commands.doctor import _PACKAGES, NATIVE, NEVER, SLOW

Dlrun = Callable[..., subprocess.CompletedProcess[str]]


def broken(folder: Path, **errors: str) -> dict[str, str]:
    """Variables under which these packages fail to import."""
    for package, error in errors.items():
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise {error}\n")
    source = str(Path(doctor.__file__).parents[2])
    return {"PYTHONPATH": f"{folder}:{source}"}


def test_here_all_is_well(dlrun: Dlrun) -> None:
    result = dlrun("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("All well.\n")
    assert all(f"\n  {name} " in result.stdout for name in _PACKAGES)
    assert "trainer.accelerator=auto takes " in result.stdout


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
    variables = broken(project / "broken", torch="ImportError", torchvision="ImportError")
    result = dlrun("doctor", variables={**variables, "DLRUN_DATA": str(project / "data")})
    words = " ".join(result.stdout.split())
    assert f"configs {project / 'configs'} (your own) " in words
    assert f"data {project / 'data'} (from DLRUN_DATA) there: mnist downloaded when first" in words
    assert f"outputs {project / 'outputs'}: writable" in words


@pytest.mark.parametrize(
    ("features", "bf16", "fp16"),
    [
        ({"avx2"}, SLOW, SLOW),
        ({"avx2", "avx512f", "avx512_bf16"}, NATIVE, SLOW),
        ({"avx512f", "amx_bf16", "avx512_fp16"}, NATIVE, NATIVE),
        ({"asimd", "bf16", "asimdhp"}, NATIVE, NATIVE),
    ],
)
def test_a_cpus_precisions_follow_from_its_instructions(
    features: set[str], bf16: str, fp16: str
) -> None:
    expected = {"fp32": NATIVE, "fp64": NATIVE, "bf16": bf16, "fp16": fp16}
    assert doctor.cpu_precisions(features) == expected


@pytest.mark.parametrize(
    ("capability", "fp64", "bf16", "fp16"),
    [
        ((6, 1), SLOW, SLOW, SLOW),
        ((7, 0), NATIVE, SLOW, NATIVE),
        ((7, 5), SLOW, SLOW, NATIVE),
        ((8, 0), NATIVE, NATIVE, NATIVE),
        ((8, 9), SLOW, NATIVE, NATIVE),
        ((9, 0), NATIVE, NATIVE, NATIVE),
    ],
)
def test_a_gpus_precisions_follow_from_its_generation(
    capability: tuple[int, int], fp64: str, bf16: str, fp16: str
) -> None:
    expected = {"fp32": NATIVE, "fp64": fp64, "bf16": bf16, "fp16": fp16}
    assert doctor.cuda_precisions(capability) == expected
    assert doctor.mps_precisions()["fp64"] == NEVER


def fake_torch(*, cuda: str | None, error: str = "") -> Any:
    def init() -> None:
        if error:
            raise RuntimeError(error)

    properties = types.SimpleNamespace(name="A GPU", total_memory=24 * 2**30, major=8, minor=9)
    return types.SimpleNamespace(
        version=types.SimpleNamespace(cuda=cuda, hip=None),
        cuda=types.SimpleNamespace(
            init=init, device_count=lambda: 1, get_device_properties=lambda index: properties
        ),
    )


def test_the_reason_for_the_lack_of_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "no CUDA in it" in doctor.why_no_cuda(fake_torch(cuda=None))
    no_driver = fake_torch(cuda="12.4", error="Found no NVIDIA driver on your system. Please check")
    assert doctor.why_no_cuda(no_driver) == "Found no NVIDIA driver on your system"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" in doctor.why_no_cuda(no_driver)


def test_a_gpu_is_described() -> None:
    ((text, capability),) = doctor.cuda_devices(fake_torch(cuda="12.4"))
    assert text.startswith("A GPU, 24.0 GiB, compute capability 8.9")
    assert capability == (8, 9)
