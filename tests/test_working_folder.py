"""Files of the working folder: none stands in for a library in any process, and the user's own model is found."""

import subprocess
import sys
from pathlib import Path

import pytest

from test_user_project import NET, OPTION

MODULES = ("yaml", "random", "numpy", "json", "logging", "torch", "hydra", "sitecustomize")
DLRUN = Path(sys.executable).with_name("dlrun")
TRAIN = (
    "dataset=iris",
    "model=mine",
    "trainer.max_epochs=1",
    "trainer.num_threads=1",
    "tracking.tensorboard=false",
)


@pytest.mark.parametrize(
    "argv",
    [
        ("train", "--help"),
        pytest.param(
            (
                "train",
                "-m",
                *TRAIN,
                "optimizer.lr=0.1,0.2",
                "hydra/launcher=joblib",
                "hydra.sweep.dir=sweep",
            ),
            marks=pytest.mark.cluster,
        ),
        pytest.param(
            (
                "train",
                "-m",
                *TRAIN,
                "optimizer.lr=0.1,0.2",
                "hydra/launcher=ray",
                "+hydra.launcher.init.object_store_memory=80_000_000",
            ),
            marks=pytest.mark.cluster,
        ),
    ],
    ids=["help", "processes", "ray"],
)
def test_no_file_of_the_working_folder_is_run_but_the_target_of_a_config(argv, tmp_path):
    if "hydra/launcher=joblib" in argv:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "mynet.py").write_text(NET)
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mine.yaml").write_text(OPTION)
    (tmp_path / "hydra_plugins" / "more").mkdir(parents=True)
    for file in (
        *(f"{name}.py" for name in MODULES),
        "hydra_plugins/more/__init__.py",
        "hydra_plugins/a.py",
    ):
        (tmp_path / file).write_text(f"open({str(tmp_path / 'called')!r}, 'a').write({file!r})\n")
    done = subprocess.run([DLRUN, *argv], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "called").exists(), (tmp_path / "called").read_text()
