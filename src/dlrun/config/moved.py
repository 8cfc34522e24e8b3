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
_LOSSES = {  # a loss of version 0.1: its target, and which of the settings of all losses it had a use for
    "auto": ("choice.Auto", "label_smoothing"),
    "cross_entropy": ("classes.CrossEntropy", "label_smoothing"),
    "binary_cross_entropy": ("classes.BinaryCrossEntropy", "label_smoothing"),
    "mse": ("quantities.MSE", ""),
    "mae": ("quantities.MAE", ""),
    "huber": ("quantities.Huber", ""),
    "quantile": ("quantities.Quantile", "quantiles"),
}


def current(target: str) -> str:
    """The dotted name by which a target is found today."""
    module, _, name = target.rpartition(".")
    return f"{_MOVED.get(module, module)}.{name}" if module else target


def with_current_targets(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose components are named as they are today."""
    renewed = {key: _with_current_target(node) for key, node in plain.items()}
    loss = renewed.get("loss")
    if isinstance(loss, Mapping) and "_target_" not in loss and loss.get("name") in _LOSSES:
        renewed["loss"] = _with_target_of_loss(loss)
    return renewed


def _with_target_of_loss(loss: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a loss that was named, with settings that all losses had, as it is today."""
    target, own = _LOSSES[loss["name"]]
    kept = {name: value for name, value in loss.items() if name in (own, "reduction")}
    return {"_target_": f"dlrun.training.losses.{target}", **kept}


def _with_current_target(node: Any) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return node
    return {**node, "_target_": current(node["_target_"])}
