"""Where configs come from: the working directory's own `configs/` first, then dlrun's; and data. No hydra here."""

from __future__ import annotations

import os
from pathlib import Path

COMPONENTS = ("dataset", "model", "optimizer", "schedule", "loss")
RUN_GROUPS = ("experiment", *COMPONENTS, "trainer")  # what one run is made of
GROUPS = (*RUN_GROUPS, "sweep")


def packaged_configs() -> Path:
    """The configs that come with dlrun: inside the wheel, or the repository's own when editable."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "configs"


def user_configs() -> Path | None:
    """The working directory's `configs/`, unless there is none or it is dlrun's own."""
    folder = Path.cwd() / "configs"
    if not folder.is_dir() or folder.samefile(packaged_configs()):
        return None
    return folder


def config_folders(extra: Path | None = None) -> list[Path]:
    """Every folder that may offer an option, the first to have it wins; `extra` is --config-dir.

    Hydra puts that one last: it adds options and replaces none.
    """
    return [folder for folder in (user_configs(), packaged_configs(), extra) if folder is not None]


def option_file(group: str, option: str, folders: list[Path]) -> Path | None:
    """The YAML of `option`, or None where no folder offers it."""
    files = (folder / group / f"{option}.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def options(group: str, folders: list[Path]) -> list[str]:
    """The names that `group=` accepts, sorted."""
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def data_folder() -> Path:
    """The folder of data sets and pretrained weights, as in the configs: DLRUN_DATA, or the usual one."""
    return Path(os.environ.get("DLRUN_DATA") or "~/.cache/dlrun").expanduser()
