"""Trials as tasks of Ray's: the launcher's settings, what a node refuses, and a cluster that loses a node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from scratch import QUICK, Look, Result, wait_for

from dlrun.config.search_path import packaged_configs
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep import ray_cluster, resources
from dlrun.sweep.ray_cluster import Cluster, read_settings
from dlrun.sweep.ray_task import Order, carry_out
from dlrun.sweep.resume import allow_words, command_words

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

ADDRESS = "hydra.launcher.init.address"


def launcher(**changed: Any) -> Any:
    """The node of hydra/launcher=ray; `init__address` is a key below init."""
    node = OmegaConf.load(packaged_configs() / "hydra/launcher/ray.yaml")
    for key, value in changed.items():
        OmegaConf.update(node, key.replace("__", "."), value)
    return node


# Settings.


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"num_cpus": 0}, "num_cpus is 0, but must be a number above 0"),
        ({"num_cpus": 1.5}, "num_cpus is 1.5, but must be a whole number where it is above 1"),
        ({"num_gpus": -1}, "num_gpus is -1, but must be a number of at least 0 or null"),
        ({"num_gpus": 2.5}, "num_gpus is 2.5, but must be a whole number where it is above 1"),
        ({"max_concurrent": 0}, "max_concurrent is 0, but must be"),
        ({"timeout": 0}, "timeout is 0, but must be a number above 0"),
        ({"init": "auto"}, "init is auto, but must be"),
        (
            {"init__address": "auto", "init__num_gpus": 1},
            "init.num_gpus is 1, but the nodes of a cluster have what they were started with: leave it out",
        ),
    ],
)
def test_a_setting_that_ray_cannot_follow_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(launcher(**changed))
    assert str(refused.value).startswith(f"hydra.launcher.{said}")


def test_the_packaged_settings_are_complete() -> None:
    settings = read_settings(launcher())
    assert (settings.num_cpus, settings.num_gpus, settings.init["address"]) == (1, None, None)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, dlrun: Dlrun) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    result = dlrun("train", "-m", *QUICK, "model.width=4,8", "hydra/launcher=ray", "--dry-run")
    assert result.code == 2
    assert result.err == (
        "dlrun: error: hydra/launcher=ray: that launcher is not installed: pip install 'dlrun[ray]'\n"
    )


def test_an_address_where_nothing_answers_is_refused_in_time_and_leaves_nothing(
    sweep: Dlrun, project: Path
) -> None:
    pytest.importorskip("ray")
    words = ("model.width=4,8", "hydra/launcher=ray", "hydra.launcher.timeout=0.2")
    result = sweep(*words, f"{ADDRESS}=127.0.0.1:9")
    assert result.code == 2
    assert result.err == (
        f"dlrun: error: {ADDRESS} is 127.0.0.1:9, where no cluster has answered within 0.2 s: see that it runs, "
        "as with `ray status`, or raise hydra.launcher.timeout\n"
    )
    assert not (project / "sweep").exists()


def test_ray_gives_each_trial_its_cores_and_no_place_on_this_machine() -> None:
    assert resources.is_ray(launcher())
    assert not resources.is_local(launcher())
    assert not resources.in_this_process(launcher())
    assert resources.on_this_machine(launcher())
    assert not resources.on_this_machine(launcher(init__address="auto"))


@pytest.mark.parametrize(
    ("devices", "per_gpu", "gpus"),
    [(1, 1, 1), (1, 3, 0.3333), (1, 6, 0.1666), (2, 1, 2), ([0, 2], 1, 2), ("all", 2, 0.5)],
)
def test_a_trial_takes_a_gpu_for_each_device_or_a_part_of_one(
    devices: Any, per_gpu: int, gpus: float
) -> None:
    assert ray_cluster.gpus_of_trial(devices, per_gpu) == gpus


# Nodes.


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What a cluster has, to be changed."""
    there = [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}]
    monkeypatch.setattr(ray_cluster, "_nodes", lambda: there)
    return there


@pytest.mark.parametrize(
    ("cpus", "gpus", "most"), [(1, 0, 8), (8, 0, 8), (9, 0, None), (1, 1, 4), (1, 4, None), (5, 1, None)]
)  # fmt: skip
def test_a_trial_alone_gets_the_largest_node_that_has_what_it_takes(
    cpus: float, gpus: float, most: float | None, nodes: list[dict[str, float]]
) -> None:
    cluster = Cluster(read_settings(launcher(num_cpus=cpus)), gpus, grows=True)
    assert cluster.most_cpus() == most


def test_a_node_that_nobody_has_is_waited_for_as_long_as_the_timeout(
    nodes: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: clock[0])
    cluster = Cluster(read_settings(launcher()), 4, grows=True)
    cluster.refuse_endless_wait()
    clock[0] += 59
    cluster.refuse_endless_wait()
    nodes.append({"CPU": 1, "GPU": 8})
    cluster.refuse_endless_wait()
    nodes.pop()
    clock[0] += 59
    cluster.refuse_endless_wait()  # for a while there was one
    clock[0] += 61
    with pytest.raises(ConfigError) as refused:
        cluster.refuse_endless_wait()
    assert str(refused.value) == (
        "hydra.launcher.num_cpus is 1 and num_gpus 4, but no node of the cluster has that (cores and GPUs: 8 and 0, "
        "4 and 2); ask for less, or add a node"
    )


def test_this_machine_does_not_grow(nodes: list[dict[str, float]]) -> None:
    with pytest.raises(ConfigError, match="num_gpus 4, but no node of the cluster has that"):
        Cluster(read_settings(launcher()), 4, grows=False).refuse_endless_wait()


def test_a_node_that_does_not_see_the_sweep_says_so(tmp_path: Path) -> None:
    outcome = carry_out(Order(tmp_path / "sweep", tmp_path, {}, 1, 0), 0)
    assert outcome.kind == "refused"
    assert f" does not see {tmp_path / 'sweep'}: hydra.sweep.dir must be a folder" in outcome.text


def test_a_node_with_another_version_says_so(tmp_path: Path) -> None:
    outcome = carry_out(Order(tmp_path, tmp_path, {}, 1, 0, version="0.0.1"), 0)
    assert outcome.kind == "refused"
    assert outcome.text.endswith("the sweep dlrun 0.0.1: install one version everywhere")


# Resumed.


def test_a_resume_asks_before_it_connects_to_an_address_that_a_sweep_brings(
    describe_sweep: Callable[..., SweepDirectory],
) -> None:
    sweep = describe_sweep("mine")
    words = ["--multirun", "hydra/launcher=ray", "hydra.launcher.init.num_cpus=2"]
    address = f"{ADDRESS}=10.0.0.1:6379"
    described = yaml.safe_load(sweep.sweep_file.read_text()) | {"settings": {}}
    sweep.write(described | {"command": [*words, f"{ADDRESS}=auto"]})
    assert allow_words(sweep) == []
    sweep.write(described | {"command": [*words, address]})
    with pytest.raises(ConfigError) as refused:
        command_words(sweep, [])
    assert str(refused.value).endswith(f"add --allow {address}")
    assert allow_words(sweep) == [f"--allow={address}"]
    assert address in command_words(sweep, [], allowed=[address])


# A cluster of two nodes.

TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
small = {"num_cpus": 1, "object_store_memory": 80_000_000}
cluster = Cluster(
    initialize_head=True, head_node_args={**small, "include_dashboard": False, "temp_dir": sys.argv[1]}
)
node = cluster.add_node(**small)
print("address", cluster.address, flush=True)
for line in sys.stdin:
    if line == "lose\\n":
        cluster.remove_node(node, allow_graceful=False)
    else:
        node = cluster.add_node(**small)
    print("done", flush=True)
cluster.shutdown()
"""


class TwoNodes:
    """A cluster in a process of its own, which ends with its standard input."""

    def __init__(self, folder: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", TWO_NODES, folder],
            stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.address = self._said().removeprefix("address ")

    def lose_a_node(self) -> None:
        self._do("lose")

    def get_another(self) -> None:
        self._do("add")

    def end(self) -> None:
        self.process.communicate(timeout=60)

    def _do(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self._said() == "done"

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[str]:
    """For Ray's own files, whose sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def two_nodes(ray_folder: str) -> Iterator[TwoNodes]:
    pytest.importorskip("ray")
    cluster = TwoNodes(ray_folder)
    yield cluster
    cluster.end()


def on_cluster(cluster: TwoNodes, **variables: str) -> tuple[str, ...]:
    """Words for a sweep on the cluster, with variables in the environment of its tasks."""
    settings = ",".join(f"{name}:'{value}'" for name, value in variables.items())
    return (
        "hydra/launcher=ray", f"{ADDRESS}={cluster.address}",
        f"+hydra.launcher.init.runtime_env={{env_vars:{{{settings}}}}}",
    )  # fmt: skip


# 60 steps a trial, each of which is logged: a pause at each gives two nodes time to begin, however slow they are.
LONG = [word.replace("max_epochs=2", "max_epochs=20") for word in QUICK]
TRAIN = ("train", "-m", *LONG, "trainer.num_threads=1", "trainer.log_every_steps=1")


@pytest.mark.cluster
def test_a_sweep_loses_a_node_a_process_and_a_trial_and_finds_what_one_process_would(
    two_nodes: TwoNodes,
    start: Callable[..., BaseProcess],
    dlrun: Dlrun,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("model.width=4,8,13,21,16", "checkpoint.every_steps=1")
    cluster = on_cluster(two_nodes, PAUSE="1.5", RAISE="13", SIGKILL_ONCE="21", AT_STEP="3")
    process = start(*TRAIN, *words, *cluster, "hydra.sweep.dir=sweep")
    monkeypatch.setenv("RAISE", "13")
    monkeypatch.setenv("AT_STEP", "3")
    assert dlrun(*TRAIN, *words, "hydra.sweep.dir=whole", "sweep.stack=off").code == 1
    wait_for(lambda: all(look().run(n).checkpoints.joinpath("last.pt").exists() for n in (0, 1)))
    two_nodes.lose_a_node()
    Path("hurry").touch()
    process.join(120)
    assert process.exitcode == 1, Path("err.txt").read_text()
    assert Path("err.txt").read_text() == ""
    assert "raylet" not in Path("out.txt").read_text()
    assert look().states == ["complete", "complete", "fail", "complete", "complete"]
    assert look().values == look("whole").values
    assert rows(look()) == rows(look("whole"))
    assert sorted(len(look().starts(number)) for number in (0, 1)) == [1, 2]  # one was on it
    assert max(look().starts(0) + look().starts(1)) > 0  # and went on from its checkpoint
    assert [len(look().starts(number)) for number in (2, 3, 4)] == [1, 2, 1]
    for number in (0, 1, 3, 4):
        assert look().points(number) == look("whole").points(number)
        assert look().log(number).count(" INFO completed\n") == 1
    assert "IndexError: width 13 has a bug" in look().log(2)
    two_nodes.get_another()


@pytest.mark.cluster
def test_a_signal_saves_the_trials_on_all_nodes_and_a_resume_completes_them(
    two_nodes: TwoNodes,
    start: Callable[..., BaseProcess],
    away: Dlrun,
    dlrun: Dlrun,
    look: Looks,
) -> None:
    train = (*TRAIN, "model.width=4,8", "checkpoint.every_seconds=1000")
    cluster = on_cluster(two_nodes, PAUSE="1.5")
    process = start(*train, *cluster, "hydra.sweep.dir=sweep")
    assert dlrun(*train, "hydra.sweep.dir=whole", "sweep.stack=off").code == 0
    wait_for(lambda: all((look().path / str(n) / "metrics.jsonl").exists() for n in (0, 1)))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    said = Path("err.txt").read_text()
    assert said.startswith("dlrun: stopped with 0 of 2 done; continue with `dlrun resume sweep ")
    assert said.count("--allow=") == 2
    assert [look().summary(number)["status"] for number in (0, 1)] == ["stopped"] * 2
    assert all(look().summary(number)["step"] > 0 for number in (0, 1))

    Path("hurry").touch()
    words = allow_words(SweepDirectory(look().path))
    result = away("resume", "sweep", *words)
    assert (result.code, result.err) == (0, "")
    assert look().values == look("whole").values
    for number in (0, 1):
        assert look().points(number) == look("whole").points(number)
        assert [step > 0 for step in look().starts(number)] == [False, True]


@pytest.mark.cluster
def test_ray_on_this_machine_is_started_for_a_sweep_and_ends_with_it(
    ray_folder: str, away: Dlrun, look: Looks, project: Path
) -> None:
    result = away(
        *TRAIN, "model.width=4,8", "hydra/launcher=ray", "+hydra.launcher.init.object_store_memory=80_000_000",
        f"+hydra.launcher.init._temp_dir={ray_folder}", "hydra.sweep.dir=sweep", HOME=str(project),
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert "ray" not in result.out.lower().replace("launcher=ray", "")
    assert look().states == ["complete"] * 2
    assert [look().environment(number)["threads"] for number in (0, 1)] == [1, 1]
    assert not (project / ".ray").exists()


def rows(sweep: Look) -> list[dict[str, str]]:
    """leaderboard.csv without what depends on the clock."""
    return [
        {key: cell for key, cell in row.items() if "seconds" not in key and "time" not in key}
        for row in sweep.rows
    ]
