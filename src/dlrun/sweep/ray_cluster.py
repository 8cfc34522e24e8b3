"""Ray as a sweep needs it: the launcher's settings, the connection, and what the nodes have."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from dlrun.config.schema import Most, NonNegative, Positive, check_settings
from dlrun.config.search_path import packaged_configs
from dlrun.errors import ConfigError, first_line
from dlrun.system.hardware import cores_each

_KEY = "hydra.launcher"
_CLIENT = "ray://"
# Of Ray itself. It must not hide GPUs by its own rule, which changes: a task does.
_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class RaySettings:
    """configs/hydra/launcher/ray.yaml."""

    num_cpus: Positive
    num_gpus: NonNegative | None
    max_concurrent: Annotated[int, Ge(1), Most(100_000)] | None
    timeout: Positive
    init: dict[str, Any]


@dataclass
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        grows: whether nodes may come that are not there yet.
    """

    settings: RaySettings
    num_gpus: float  # of a trial
    grows: bool
    _lacking_since: float | None = field(default=None, init=False)

    def most_cpus(self) -> float | None:
        """Of the nodes that have what a trial takes, the largest number of cores; None where there is no such node."""
        nodes = [node for node in _nodes() if node.get("GPU", 0) >= self.num_gpus]
        most = max((node.get("CPU", 0) for node in nodes), default=0)
        return most if most >= self.settings.num_cpus else None

    def refuse_endless_wait(self) -> None:
        """Let trials wait for a node that has what they take, for a bounded time.

        Raises:
            ConfigError: there was none for `timeout` seconds, or there is none and none can come.
        """
        if self.most_cpus() is not None:
            self._lacking_since = None
            return
        now = time.monotonic()
        since = self._lacking_since = self._lacking_since or now
        if self.grows and now - since < self.settings.timeout:
            return
        nodes = [f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in _nodes()]
        raise ConfigError(
            f"{_KEY}.num_cpus is {self.settings.num_cpus:g} and num_gpus {self.num_gpus:g}, but no node of the "
            f"cluster has that (cores and GPUs: {', '.join(nodes) or 'no node is left'}); ask for less, or add a node"
        )


def read_settings(launcher: DictConfig) -> RaySettings:
    """The launcher's settings, checked.

    Raises:
        ConfigError: one is wrong, or Ray is not installed.
    """
    plain: Any = OmegaConf.to_container(launcher, resolve=True)
    del plain["_target_"]
    settings: RaySettings = check_settings(_KEY, plain, RaySettings)
    for name in ("num_cpus", "num_gpus"):
        amount = getattr(settings, name) or 0
        if amount > 1 and amount % 1:
            raise ConfigError(
                f"{_KEY}.{name} is {amount:g}, but must be a whole number where it is above 1"
            )
    address = settings.init.get("address")
    given = [name for name in ("num_cpus", "num_gpus") if settings.init.get(name) is not None]
    if address is not None and given:
        raise ConfigError(
            f"{_KEY}.init.{given[0]} is {settings.init[given[0]]}, but the nodes of a cluster have what they were "
            f"started with: leave it out ({_KEY}.{given[0]} is what a trial takes)"
        )
    if find_spec("ray") is None:
        raise ConfigError(
            "hydra/launcher=ray: that launcher is not installed: pip install 'dlrun[ray]'"
        )
    return settings


@contextmanager
def connected(
    launcher: DictConfig, *, trainer: DictConfig, trials_per_gpu: int
) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to a cluster.

    Raises:
        ConfigError: it does not answer, refuses a setting, or has no node on this machine that can train a trial.
    """
    settings = read_settings(launcher)
    os.environ.update(_VARIABLES)
    import ray

    # What becomes of a trial is said by the sweep.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    ray._private.worker._worker_logs_enabled = False
    _connect(settings)
    try:
        num_gpus = settings.num_gpus
        if num_gpus is None:
            use = trainer.accelerator != "cpu" and any(node.get("GPU") for node in _nodes())
            num_gpus = gpus_of_trial(trainer.devices, trials_per_gpu) if use else 0
        cluster = Cluster(settings, num_gpus, grows=settings.init.get("address") is not None)
        if not cluster.grows:
            cluster.refuse_endless_wait()
        yield cluster
    finally:
        ray.shutdown()


def gpus_of_trial(devices: Any, trials_per_gpu: int) -> float:
    """Those that a trial takes, or the part of one; `devices` as in the trainer's settings."""
    count = devices if isinstance(devices, int) else 1 if devices == "all" else len(devices)
    return count if count > 1 else 10_000 // trials_per_gpu / 10_000  # Ray knows four decimals


def _connect(settings: RaySettings) -> None:
    import ray

    quiet = {"configure_logging": False, "log_to_driver": False}
    words = quiet | {name: value for name, value in settings.init.items() if value is not None}
    address = words.pop("address", None)
    if address is None:
        # Else Ray writes a key into the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
        words = {"num_cpus": cores_each(), "include_dashboard": False} | words
    elif address != "auto":
        _wait_for(str(address), settings.timeout)
    before = signal.getsignal(signal.SIGTERM)
    try:
        # Tasks search the folder that Ray is begun in before all libraries: one without modules.
        with chdir(packaged_configs()):
            ray.init(address=address or "local", **words)
    except Exception as error:
        place = "Ray on this machine" if address is None else f"the cluster at {address}"
        raise ConfigError(f"{_KEY}.init: {place} refuses: {first_line(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray has its own


def _wait_for(address: str, seconds: float) -> None:
    """Where nothing answers, Ray itself waits for minutes, and no signal ends that."""
    import grpc

    try:
        with grpc.insecure_channel(address.removeprefix(_CLIENT)) as channel:
            grpc.channel_ready_future(channel).result(seconds)
    except grpc.FutureTimeoutError:
        raise ConfigError(
            f"{_KEY}.init.address is {address}, where no cluster has answered within {seconds:g} s: "
            f"see that it runs, as with `ray status`, or raise {_KEY}.timeout"
        ) from None


def _nodes() -> list[dict[str, float]]:
    """What each node that is up has in all."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
