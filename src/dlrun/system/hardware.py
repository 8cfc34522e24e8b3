"""The processor and the GPUs of this machine: usable cores, and how well each computes in each precision.

The precisions follow from the processor's instructions and the GPU's compute capability: nothing is measured. torch is
passed in where it is asked, so that this module loads without it.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from subprocess import DEVNULL, SubprocessError, check_output
from typing import Any

_CGROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_UNKNOWN = 2.0**31  # bytes that are taken for free where the system does not say it
NATIVE, SLOW, NEVER = "native", "slow", "no"
PRECISIONS = ("fp32", "tf32", "fp64", "bf16", "fp16")
TF32_SINCE = (8, 0)  # compute capability
NO_TF32 = (
    "NVIDIA_TF32_OVERRIDE"  # in the environment: where it is 0, NVIDIA's libraries use no TF32
)
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# Its values with which cuBLAS gives the same results at each call, by NVIDIA's notes ("Results reproducibility").
REPEATABLE_WORKSPACES = (":4096:8", ":16:8")
# Compute capabilities of the data-centre chips, whose fp64 runs at half the speed of fp32; on all
# others it is 1/32 of that or less.
_FAST_FP64 = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}
# Extensions that decide how fast deep learning runs on a CPU, x86 first.
_RELEVANT = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "sve", "bf16")


def cpu_model() -> str:
    """The processor's name, as far as the system knows it."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.processor()
    return _cpu_info("model name") or platform.processor() or platform.machine()


def usable_cores() -> float:
    """How many CPU cores this process may use: by its affinity, or less where a container has a quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0))) if affinity else float(os.cpu_count() or 1)
    return min(cores, container_quota())


def cores_each(processes: int = 1) -> int:
    """Whole cores for each of so many processes that share those of `usable_cores`, one at least."""
    return max(1, int(usable_cores()) // processes)


def container_quota(cgroups: Path = _CGROUPS) -> float:
    """The cores whose time the control group of this process gets; infinite without a limit."""
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = "max", "0"
        for folder in (cgroups / "cpu", cgroups / "cpu,cpuacct"):  # version 1 of control groups
            try:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
                break
            except OSError:
                continue
    try:
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return math.inf


def free_memory(cgroups: Path = _CGROUPS) -> int:
    """Bytes that this process may still take: of the machine, or fewer where its control group has a limit."""
    return int(min(_free_in_machine(), _free_in_container(cgroups)))


def allowed_memory(limit: float | None, share: float) -> float:
    """Bytes that data may take: `limit` GiB, or where that is None this share of what is free.

    The processes of one run on this machine each have the same part of it, since each holds the data.
    """
    return (free_memory() * share if limit is None else limit * 2**30) / local_processes()


def local_processes() -> int:
    """How many processes of one run are on this machine, as torch's launcher tells each of them; 1 of other runs."""
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(told)) if told.isdecimal() else 1


def _free_in_machine() -> float:
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        return float(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return _UNKNOWN


def _free_in_container(cgroups: Path, told: Path = _MEMBERSHIP) -> float:
    """What the control groups of this process leave, of both versions of them."""
    return min(map(_free_in_group, _groups(cgroups, told)), default=math.inf)


def _groups(cgroups: Path, told: Path) -> Iterator[Path]:
    """The folders of the groups that may limit the memory of this process: its own, and those around it.

    In a container the outermost is all that there is to see; a job of a queue has a group far within.
    """
    own = {cgroups: PurePosixPath(), cgroups / "memory": PurePosixPath()}
    with suppress(OSError, ValueError):
        for line in told.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                own[cgroups] = PurePosixPath(path.strip("/"))
            elif "memory" in controllers.split(","):
                own[cgroups / "memory"] = PurePosixPath(path.strip("/"))
    for root, inner in own.items():
        yield from (root / folder for folder in (inner, *inner.parents))


def _free_in_group(group: Path) -> float:
    """What one control group leaves; pages of files that the kernel can give up count as free."""
    details = group / "memory.stat"
    for limit, used in (
        (group / "memory.max", group / "memory.current"),
        (group / "memory.limit_in_bytes", group / "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # "max": no limit
            free = int(limit.read_text()) - int(used.read_text())
            pairs = (line.split() for line in details.read_text().splitlines())
            counts = {name: int(value) for name, value in pairs}
            inactive = counts.get("total_inactive_file", counts.get("inactive_file", 0))
            return max(0, free + inactive)
    return math.inf


def cpu_features() -> frozenset[str]:
    """The names of the instruction set's extensions; empty where the system does not list them."""
    return frozenset((_cpu_info("flags") or _cpu_info("Features")).split())


def relevant_features(features: Collection[str]) -> list[str]:
    """Those of `features` that matter for speed here."""
    return [name for name in _RELEVANT if name in features]


def cpu_precisions(features: Collection[str]) -> dict[str, str]:
    """How well a CPU with these extensions computes in each precision."""
    bf16 = {"avx512_bf16", "amx_bf16", "bf16"} & set(features)
    fp16 = {"avx512_fp16", "amx_fp16", "asimdhp"} & set(features)
    return {
        "fp32": NATIVE,
        "tf32": NEVER,
        "fp64": NATIVE,
        "bf16": NATIVE if bf16 else SLOW,
        "fp16": NATIVE if fp16 else SLOW,
    }


def cuda_precisions(capability: tuple[int, int]) -> dict[str, str]:
    """How well a CUDA device of this compute capability computes in each precision."""
    return {
        "fp32": NATIVE,
        "tf32": NATIVE if capability >= TF32_SINCE else NEVER,
        "fp64": NATIVE if capability in _FAST_FP64 else SLOW,
        "bf16": NATIVE if capability >= (8, 0) else SLOW,
        "fp16": NATIVE if capability >= (7, 0) or capability in {(5, 3), (6, 0), (6, 2)} else SLOW,
    }


def mps_precisions() -> dict[str, str]:
    """How well Apple's GPUs compute in each precision."""
    return {"fp32": NATIVE, "tf32": NEVER, "fp64": NEVER, "bf16": NATIVE, "fp16": NATIVE}


def cuda_devices(torch: Any) -> list[tuple[str, tuple[int, int]]]:
    """A line on each CUDA device, and its compute capability."""
    return [_cuda_device(torch, index) for index in range(torch.cuda.device_count())]


def cuda_libraries(torch: Any) -> str:
    """The versions of CUDA, or AMD's ROCm, and cuDNN that torch brings."""
    if torch.version.cuda is None:
        return f"none, but ROCm {torch.version.hip}"
    try:
        number = torch.backends.cudnn.version()
    except RuntimeError as error:  # another cuDNN of the system is in its way
        return f"{torch.version.cuda}, cuDNN does not load: {str(error).splitlines()[0]}"
    if number is None:
        return f"{torch.version.cuda}, no cuDNN"
    # 90100 is 9.1.0; before version 9 the major number stood at the thousands.
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1_000)
    return f"{torch.version.cuda}, cuDNN {major}.{rest // 100}.{rest % 100}"


def tf32_is_switched_off() -> bool:
    """Whether the environment keeps NVIDIA's libraries from using TF32."""
    return os.environ.get(NO_TF32) == "0"


def why_no_cuda(torch: Any) -> str:
    """The likeliest reason why torch has no CUDA device."""
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "this build of torch has no CUDA in it"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides them all"
    try:
        torch.cuda.init()
    except Exception as error:
        return str(error).splitlines()[0].split(". ")[0]
    return "torch finds none"


def driver_version() -> str:
    """Of NVIDIA's kernel driver; empty where there is none, or its version is not known."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    match = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return match.group() if match else ""


def _cuda_device(torch: Any, index: int) -> tuple[str, tuple[int, int]]:
    properties = torch.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    memory = f"{properties.total_memory / 2**30:.1f} GiB"
    driver = f", driver {driver_version()}" if driver_version() else ""
    compute = f"compute capability {capability[0]}.{capability[1]}"
    return f"{properties.name}, {memory}, {compute}{driver}", capability


def _cpu_info(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "")


def _sysctl(key: str) -> str:
    try:
        return check_output(["sysctl", "-n", key], text=True, stderr=DEVNULL, timeout=5).strip()
    except (OSError, SubprocessError):
        return ""
