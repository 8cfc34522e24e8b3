"""How many CPU cores this process may use. No torch here."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> float:
    """By its affinity, or less where a container has a quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0))) if affinity else float(os.cpu_count() or 1)
    return min(cores, container_quota())


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
