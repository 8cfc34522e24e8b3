"""The scripts set the checkout up by themselves, survive being killed, and pass the call on.

They run here in a checkout of their own, with stand-ins for python and the installer that only note
what they are asked to do: no network, no packages.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = ["venv", "pip", "packages", "editable", "bytecode"]
SCRIPTS = [
    "scripts/dlrun",
    "scripts/test",
    "scripts/bench",
    "scripts/torture",
    "scripts/picture",
    ".ci/run",
]

# Stands in for python3, .venv/bin/python and .venv/bin/uv. Each step does its work, notes its name
# in FAKE_LOG, and then fails or kills the whole set-up where FAKE_FAIL_AT or FAKE_KILL_AT says so.
FAKE_PYTHON = """#!/usr/bin/env bash
bin=$(dirname "$0")
step() {
    echo "$1" >>"$FAKE_LOG"
    [ "${FAKE_KILL_AT:-}" != "$1" ] || kill -9 0
    [ "${FAKE_FAIL_AT:-}" != "$1" ] || { echo "error: no route to host" >&2; exit 1; }
}
case "${0##*/} $*" in
    *fcntl.flock*) exec REAL_PYTHON "$@" ;;
    *sys.version_info*) echo "ok $FAKE_PYTHON" ;;
    *" -m venv "*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python"; step venv ;;
    *" -m pip install "*) echo "pip noise"; cp "$0" "$bin/uv"; step pip ;;
    "uv "*" -r requirements.txt") sleep "${FAKE_SECONDS:-0}"; step packages ;;
    "uv "*" --editable .")
        for tool in dlrun pytest ruff mypy; do cp "$FAKE_TOOL" "$bin/$tool"; done; step editable ;;
    *"import hydra"*) step bytecode ;;
    *find_spec*) [ -e "$bin/extra" ] ;;
    "uv "*" --constraint requirements.txt "*" --extra bench") step extra; touch "$bin/extra" ;;
    */scripts/benchmarks/*) echo "ran $*" ;;
    *) echo "unexpected: $0 $*" >&2; exit 99 ;;
esac
"""

# Stands in for the programs in .venv/bin: says how it was called.
FAKE_TOOL = """#!/usr/bin/env bash
printf '%s\\n' "${0##*/}" "cwd=$PWD" "env=${PYTHONPATH-}${PYTHONHOME-}${VIRTUAL_ENV-}" \\
    "threads=${OMP_NUM_THREADS-}" "$@"
[ "${0##*/}" != "${FAKE_FAILING_TOOL:-}" ]
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("REAL_PYTHON", sys.executable))
    path.chmod(0o755)
    return path


class Checkout:
    """A copy of the scripts beside small pins, and the environment to call them in."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"  # the space is meant
        self.log = folder / "log"
        bin_folder = folder / "bin"
        python = write_program(bin_folder / "python3", FAKE_PYTHON)
        tool = write_program(folder / "tool", FAKE_TOOL)
        benchmarks = [
            f"scripts/benchmarks/{name}.py" for name in ("data", "peers", "stacked", "start")
        ]
        for script in [*SCRIPTS, *benchmarks, "scripts/_setup"]:
            (self.root / script).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / script, self.root / script)
        (self.root / "requirements.txt").write_text("tqdm==4.0\nuv==0.1\n")
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.env = {
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "FAKE_LOG": str(self.log),
            "FAKE_PYTHON": str(python),
            "FAKE_TOOL": str(tool),
        }

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "dlrun-stamp"

    def start(
        self, *args: str, script: str = "scripts/dlrun", cwd: str = "/", **env: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / script, *args],
            cwd=cwd,
            env=self.env | env,
            start_new_session=True,  # FAKE_KILL_AT kills its process group, not ours
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *args: str, **options: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **options)
        stdout, stderr = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, stdout, stderr)

    def steps(self) -> list[str]:
        """The steps noted since the last call of this."""
        noted = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return noted


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout that is set up."""
    assert checkout.call().returncode == 0
    assert checkout.steps() == STEPS
    return checkout


def test_the_first_call_sets_up_and_the_second_only_runs(checkout: Checkout) -> None:
    first, first_steps = checkout.call(), checkout.steps()
    second, second_steps = checkout.call(), checkout.steps()
    assert (first.returncode, first_steps) == (0, STEPS)
    assert "first call" in first.stderr
    assert (second.returncode, second_steps, second.stderr) == (0, [], "")
    assert first.stdout == second.stdout  # what the installers print stays out of it


def test_arguments_and_the_working_directory_reach_dlrun(ready: Checkout, tmp_path: Path) -> None:
    arguments = ["train", "name=two words", "*", "it's", ""]
    lines = ready.call(*arguments, cwd=str(tmp_path)).stdout.split("\n")
    assert lines[:2] == ["dlrun", f"cwd={tmp_path}"]
    assert lines[4:-1] == arguments


def test_the_exit_code_of_dlrun_is_the_one_of_the_script(ready: Checkout) -> None:
    assert ready.call(FAKE_FAILING_TOOL="dlrun").returncode == 1


def test_the_callers_python_environment_does_not_reach_dlrun(ready: Checkout) -> None:
    output = ready.call(PYTHONPATH="/x", PYTHONHOME="/y", VIRTUAL_ENV="/z").stdout
    assert "env=\n" in output


def test_a_chain_of_symbolic_links_leads_to_the_checkout(ready: Checkout, tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(ready.root / "scripts" / "dlrun")
    (tmp_path / "two").symlink_to("one")
    result = subprocess.run(["./two"], cwd=tmp_path, env=ready.env, capture_output=True, text=True)
    assert (result.returncode, result.stdout.split("\n")[0]) == (0, "dlrun")


@pytest.mark.parametrize("step", STEPS)
def test_the_call_after_a_kill_completes_the_set_up(checkout: Checkout, step: str) -> None:
    assert checkout.call(FAKE_KILL_AT=step).returncode == -signal.SIGKILL
    assert checkout.steps()[-1] == step
    assert not checkout.stamp.exists()
    assert checkout.call().returncode == 0
    assert checkout.steps() == STEPS


def test_a_set_up_killed_while_updating_is_made_anew(ready: Checkout) -> None:
    (ready.root / "requirements.txt").write_text("tqdm==4.1\nuv==0.1\n")
    ready.call(FAKE_KILL_AT="packages")
    ready.steps()
    (ready.root / "requirements.txt").write_text("tqdm==4.0\nuv==0.1\n")
    assert ready.call().returncode == 0
    assert ready.steps() == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_step_shows_its_error_and_what_to_do(checkout: Checkout, step: str) -> None:
    result = checkout.call(FAKE_FAIL_AT=step)
    assert result.returncode == 1
    *_, error, advice = result.stderr.splitlines()
    assert error == "error: no route to host"
    assert advice.startswith("dlrun: ") and "message above" in advice
    assert result.stdout == ""
    assert not checkout.stamp.exists()


@pytest.mark.parametrize("file", ["requirements.txt", "pyproject.toml"])
def test_a_change_updates_in_place(ready: Checkout, file: str) -> None:
    with (ready.root / file).open("a") as text:
        text.write("# changed\n")
    assert ready.call().returncode == 0
    assert ready.steps() == ["packages", "editable", "bytecode"]
    assert ready.call().stderr == ""


def test_a_moved_checkout_is_set_up_anew(ready: Checkout, tmp_path: Path) -> None:
    ready.root = ready.root.rename(tmp_path / "elsewhere")
    assert ready.call().returncode == 0
    assert ready.steps() == STEPS


@pytest.mark.parametrize("file", ["python", "dlrun"])
def test_a_damaged_venv_is_mended(ready: Checkout, file: str) -> None:
    (ready.root / ".venv" / "bin" / file).unlink()
    assert ready.call().returncode == 0
    assert "editable" in ready.steps()


def test_a_foreign_venv_is_replaced(checkout: Checkout) -> None:
    write_program(checkout.root / ".venv" / "bin" / "dlrun", "#!/bin/sh\nexit 7\n")
    assert checkout.call().returncode == 0
    assert checkout.steps() == STEPS


def test_of_calls_at_once_one_sets_up_and_all_run(checkout: Checkout) -> None:
    processes = [checkout.start(FAKE_SECONDS="0.5") for _ in range(4)]
    outputs = [process.communicate(timeout=30) for process in processes]
    assert checkout.steps() == STEPS
    assert all(stdout.startswith("dlrun\n") for stdout, _ in outputs)
    assert any("waiting for another" in stderr for _, stderr in outputs)


def test_only_an_old_python_gives_one_line_and_exit_code_2(checkout: Checkout) -> None:
    old = checkout.root.parent / "old" / "python3"
    pretend = "import sys; sys.version_info = (3, 10, 13); exec(sys.argv[1])"
    write_program(old, f"#!/bin/sh\nexec REAL_PYTHON -c '{pretend}' \"$2\"\n")
    for name in ["python3.11", "python3.12", "python3.13"]:  # hides the real ones
        write_program(old.parent / name, "#!/bin/sh\necho shim: no such version >&2\nexit 127\n")
    result = checkout.call(PATH=f"{old.parent}:/usr/bin:/bin", python="/x")
    assert result.returncode == 2
    assert re.fullmatch(r"dlrun: needs Python 3\.11.*found python3 = 3\.10\.13;.*\n", result.stderr)
    assert not (checkout.root / ".venv").exists()


def test_a_shim_that_does_not_run_is_passed_over(checkout: Checkout) -> None:
    good, shims = Path(checkout.env["FAKE_PYTHON"]), checkout.root.parent / "shims"
    write_program(shims / "python3", "#!/bin/sh\nexit 127\n")
    write_program(shims / "python3.13", FAKE_PYTHON)
    result = checkout.call(PATH=f"{shims}:{good.parent}:/usr/bin:/bin", DLRUN_PYTHON="/none")
    assert result.returncode == 0
    assert "DLRUN_PYTHON=/none does not run" in result.stderr


def test_the_test_script_leaves_slow_and_cluster_tests_out_and_uses_two_workers(
    ready: Checkout,
) -> None:
    lines = ready.call("-k", "a b", script="scripts/test").stdout.split("\n")
    called = ["pytest", f"cwd={ready.root}", "env=", "threads=1"]
    assert lines[:-1] == [
        *called, "-n", "2", "--dist", "worksteal", "-m", "not slow and not cluster", "-k", "a b",
    ]  # fmt: skip


def test_ci_runs_every_check_and_names_the_one_that_failed(checkout: Checkout) -> None:
    result = checkout.call(script=".ci/run", FAKE_FAILING_TOOL="ruff")
    assert result.returncode == 1
    programs = [line for line in result.stdout.split("\n") if line in {"ruff", "mypy", "pytest"}]
    assert programs == ["ruff", "ruff", "mypy", "pytest", "pytest"]
    assert result.stdout.endswith("FAILED:\n  ruff check .\n  ruff format --check .\n")
    assert checkout.call(script=".ci/run").returncode == 0


def test_the_benchmark_against_peers_installs_them_once_and_says_so(ready: Checkout) -> None:
    first = ready.call("peers", "mlp", script="scripts/bench")
    assert (first.returncode, ready.steps()) == (0, ["extra"])
    (line,) = first.stderr.splitlines()
    assert "installing lightning, keras" in line
    assert first.stdout.startswith("ran ") and first.stdout.endswith("peers.py mlp\n")
    second = ready.call("peers", "mlp", script="scripts/bench")
    assert (second.stdout, second.stderr, ready.steps()) == (first.stdout, "", [])
    assert ready.call().stderr == ""  # nothing is left to set up


def test_the_benchmark_of_data_needs_pandas(ready: Checkout) -> None:
    assert ready.call("data", "csv", script="scripts/bench").returncode == 0
    assert ready.steps() == ["extra"]


def test_stacked_sweeps_need_the_peers_only_to_be_compared_with_them(ready: Checkout) -> None:
    assert ready.call("stacked", script="scripts/bench").returncode == 0
    assert ready.steps() == []
    ready.call("stacked", "--peer", "optuna-lightning", script="scripts/bench")
    assert ready.steps() == ["extra"]


def test_other_benchmarks_need_no_peers(ready: Checkout) -> None:
    assert ready.call("start", script="scripts/bench").returncode == 0
    assert ready.steps() == []


def test_peers_that_cannot_be_installed_leave_the_set_up_whole(ready: Checkout) -> None:
    result = ready.call("peers", script="scripts/bench", FAKE_FAIL_AT="extra")
    assert result.returncode == 1
    assert result.stdout == ""
    *_, error, advice = result.stderr.splitlines()
    assert error == "error: no route to host"
    assert "message above" in advice
    assert ready.steps() == ["extra"]
    assert (ready.call().stderr, ready.steps()) == ("", [])


def test_peers_whose_installation_was_killed_are_installed_into_a_new_venv(ready: Checkout) -> None:
    assert ready.call("peers", script="scripts/bench", FAKE_KILL_AT="extra").returncode < 0
    ready.steps()
    assert ready.call("peers", script="scripts/bench").returncode == 0
    assert ready.steps() == [*STEPS, "extra"]


def test_an_unknown_benchmark_is_refused_with_the_known_ones(ready: Checkout) -> None:
    result = ready.call("pears", script="scripts/bench")
    assert result.returncode == 2
    known = re.search(r"choose from: (.*)\n", result.stderr)
    files = (REPOSITORY / "scripts" / "benchmarks").glob("[!_]*.py")
    assert known and sorted(known[1].split(", ")) == sorted(file.stem for file in files)


def pinned() -> Iterator[Requirement]:
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            yield Requirement(line)


def wanted() -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wishes = [Requirement(line) for line in project["dependencies"] + extras["dev"]]
    # `dlrun[joblib]` among them stands for what that extra needs.
    own = [name for wish in wishes if wish.name == "dlrun" for name in sorted(wish.extras)]
    wishes += [Requirement(line) for name in own for line in extras[name]]
    return [wish for wish in wishes if wish.name != "dlrun"]


def test_the_pins_hold_no_address() -> None:
    text = (REPOSITORY / "requirements.txt").read_text()
    assert not re.search(r"://|http|--index|--extra-index|--find-links| @ ", text)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_dependency_has_one_pin_within_its_range(python: str) -> None:
    place = {"python_version": python, "python_full_version": f"{python}.0"}
    pins: dict[str, list[str]] = {}
    for pin in pinned():
        if not pin.marker or pin.marker.evaluate(place):
            pins.setdefault(pin.name.lower(), []).append(str(pin.specifier))
    assert wanted()
    for wish in wanted():
        found = pins.get(wish.name.lower(), [])
        assert len(found) == 1, f"{wish} has the pins {found}"
        assert found[0].startswith("=="), f"{wish} has the pin {found[0]}"
        version = found[0].removeprefix("==")
        assert wish.specifier.contains(version), f"{wish} has the pin {found[0]}"


def built_files(kind: str, folder: Path) -> set[str]:
    """The names in the repository's wheel; kind is standard or editable."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", f"wheel:{kind}", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_carries_the_configs_and_the_plugins(tmp_path: Path) -> None:
    names = built_files("standard", tmp_path)
    configs = REPOSITORY / "configs"
    for config in configs.rglob("*.yaml"):
        assert f"dlrun/configs/{config.relative_to(configs)}" in names
    assert "dlrun/__init__.py" in names
    assert "hydra_plugins/dlrun_plugins/__init__.py" in names
    assert "hydra_plugins/__init__.py" not in names
    assert {name.split("/")[0] for name in names} == {"dlrun", "hydra_plugins"}


def test_an_editable_install_copies_nothing(tmp_path: Path) -> None:
    assert built_files("editable", tmp_path) == {"_dlrun.pth"}


def test_the_scripts_can_be_executed() -> None:
    for script in SCRIPTS:
        assert os.access(REPOSITORY / script, os.X_OK)
