"""Where the targets of older versions stand today: configs that name the old place still work. No torch here."""

from collections.abc import Mapping
from typing import Any

_MOVED = {  # module of version 0.1: module of today
    "dlrun.data.characters": "dlrun.data.text.characters",
    "dlrun.data.image_folder": "dlrun.data.images.folder",
    "dlrun.data.points": "dlrun.data.arrays.points",
    "dlrun.data.scikit_learn": "dlrun.data.arrays.scikit_learn",
    "dlrun.data.series_file": "dlrun.data.series.file",
    "dlrun.data.series_sets": "dlrun.data.series.sources",
    "dlrun.data.synthetic_series": "dlrun.data.series.sources",
    "dlrun.data.tables": "dlrun.data.tables.sources",
    "dlrun.data.text_files": "dlrun.data.text.files",
    "dlrun.data.text_folder": "dlrun.data.text.folder",
    "dlrun.data.text_sets": "dlrun.data.text.published",
    "dlrun.data.torchvision_sets": "dlrun.data.arrays.torchvision",
    "dlrun.optim": "dlrun.training.optim",
    "dlrun.schedules": "dlrun.training.schedules",
    "dlrun.sweep.coarse_to_fine": "dlrun.sweep.samplers.coarse_to_fine",
    "dlrun.sweep.grid": "dlrun.sweep.samplers.grid",
}


def current(target: str) -> str:
    """The dotted name by which a target is found today."""
    module, _, name = target.rpartition(".")
    return f"{_MOVED.get(module, module)}.{name}" if module else target


def with_current_targets(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose components are named as they are today."""
    return {key: _with_current_target(node) for key, node in plain.items()}


def _with_current_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return node
    return {**node, "_target_": current(node["_target_"])}
