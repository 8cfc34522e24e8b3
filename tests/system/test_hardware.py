from __future__ import annotations

import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlrun.system import hardware
from dlrun.system.hardware import (
    NATIVE,
    NEVER,
    SLOW,
    cpu_precisions,
    cuda_devices,
    cuda_libraries,
    cuda_precisions,
    mps_precisions,
    why_no_cuda,
)


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
    expected = {"fp32": NATIVE, "tf32": NEVER, "fp64": NATIVE, "bf16": bf16, "fp16": fp16}
    assert cpu_precisions(features) == expected


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
    tf32 = NATIVE if capability >= (8, 0) else NEVER
    expected = {"fp32": NATIVE, "tf32": tf32, "fp64": fp64, "bf16": bf16, "fp16": fp16}
    assert cuda_precisions(capability) == expected
    assert mps_precisions()["fp64"] == NEVER


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
    assert "no CUDA in it" in why_no_cuda(fake_torch(cuda=None))
    no_driver = fake_torch(cuda="12.4", error="Found no NVIDIA driver on your system. Please check")
    assert why_no_cuda(no_driver) == "Found no NVIDIA driver on your system"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" in why_no_cuda(no_driver)


def test_a_gpu_is_described() -> None:
    ((text, capability),) = cuda_devices(fake_torch(cuda="12.4"))
    assert text.startswith("A GPU, 24.0 GiB, compute capability 8.9")
    assert capability == (8, 9)


@pytest.mark.parametrize(
    ("told", "processes"), [(None, 1), ("4", 4), ("", 1), ("many", 1), ("0", 1)]
)
def test_the_processes_of_a_run_on_one_machine_share_the_memory_that_data_may_take(
    monkeypatch: pytest.MonkeyPatch, told: str | None, processes: int
) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 800)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if told is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", told)
    assert hardware.allowed_memory(None, 0.5) == 400 / processes
    assert hardware.allowed_memory(2.0, 0.5) == 2**31 / processes


@pytest.mark.parametrize(
    ("usable", "processes", "each"),
    [(0.5, 1, 1), (0.5, 2, 1), (2.9, 1, 2), (8.0, 3, 2), (2.0, 4, 1)],
)
def test_processes_have_whole_cores_each_and_one_at_least(
    usable: float, processes: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: usable)
    assert hardware.cores_each(processes) == each


@pytest.mark.parametrize(
    ("membership", "root", "names"),
    [
        ("0::/slurm/job_7/step_0", "", ("memory.max", "memory.current")),
        ("4:memory:/slurm/job_7\n0::/", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
    ids=["2", "1"],
)  # fmt: skip
def test_the_limit_of_a_job_counts_whichever_group_around_the_process_has_it(
    membership: str, root: str, names: tuple[str, str], tmp_path: Path
) -> None:
    told, job = tmp_path / "cgroup", tmp_path / root / "slurm" / "job_7"
    told.write_text(f"{membership}\n")
    job.mkdir(parents=True)
    for group, limit, used in ((job, 1000, 600), (job.parent, 5000, 900)):
        for name, value in zip(names, (limit, used), strict=True):
            (group / name).write_text(f"{value}\n")
        (group / "memory.stat").write_text("inactive_file 50\n")
    assert hardware._free_in_container(tmp_path, told) == 450
    (job / names[0]).write_text("max\n")
    assert hardware._free_in_container(tmp_path, told) == 4150
    told.unlink()
    assert hardware._free_in_container(tmp_path, told) == math.inf


@pytest.mark.parametrize(
    ("cuda", "hip", "cudnn", "said"),
    [
        ("13.0", None, lambda: 91002, "13.0, cuDNN 9.10.2"),
        ("11.8", None, lambda: 8907, "11.8, cuDNN 8.9.7"),
        ("13.0", None, lambda: None, "13.0, no cuDNN"),
        (None, "7.0", lambda: 3, "none, but ROCm 7.0"),
    ],
)
def test_the_libraries_of_a_gpu_have_their_versions(
    cuda: str | None, hip: str | None, cudnn: Callable[[], int | None], said: str
) -> None:
    assert cuda_libraries(torch_with(cuda, hip, cudnn)) == said


def test_a_cudnn_that_does_not_load_is_told() -> None:
    def fail() -> int:
        raise RuntimeError("cuDNN version incompatibility: compiled against 9\nmore")

    found = cuda_libraries(torch_with("13.0", None, fail))
    assert found == "13.0, cuDNN does not load: cuDNN version incompatibility: compiled against 9"


def torch_with(cuda: str | None, hip: str | None, cudnn: Callable[[], int | None]) -> Any:
    return types.SimpleNamespace(
        version=types.SimpleNamespace(cuda=cuda, hip=hip),
        backends=types.SimpleNamespace(cudnn=types.SimpleNamespace(version=cudnn)),
    )
