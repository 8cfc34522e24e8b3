"""From raw data of any kind to a data set, and back from what a checkpoint keeps of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args, get_origin, get_type_hints

from dlrun.config.schema import check
from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec, task_of
from dlrun.data.baselines import majority_of, with_baselines
from dlrun.data.changed_data import Kept
from dlrun.data.fingerprint import origin_from, origin_of
from dlrun.data.kinds import KINDS
from dlrun.errors import ConfigError, listed, note

_USES = {"train": "train on", "val": "validate on", "test": "test on"}


def note_missing_classes(data: Dataset) -> None:
    """A line on the error stream, where an evaluation's JSON is not, if a part has no row of a class."""
    names = data.spec.target_names
    for at, classes in enumerate(data.spec.classes):
        lacking: dict[str, list[str]] = {}
        for part, use in _USES.items():
            targets = data.split(part).targets if len(getattr(data, part)) else None
            if targets is None:
                continue
            numbers = (targets[:, at] if names else targets).long().flatten()
            present = numbers.bincount(minlength=len(classes)).tolist()
            if missing := [name for name, rows in zip(classes, present, strict=True) if not rows]:
                lacking.setdefault(listed(missing), []).append(use)
        if lacking:
            said = "; ".join(
                f"{of} has none to {' or '.join(uses)}" for of, uses in lacking.items()
            )
            alone = ", and of one class alone roc_auc is nan" if len(classes) == 2 else ""
            where = f" of {names[at]}" if names else ""
            note(f"a class{where} has too few rows for every part: {said}{alone}")


def prepare(raw: Any, settings: DataSettings, kept: Kept | None = None) -> Dataset:
    """Split what a dataset's target returned, fit on the training part what has to be, apply it to all parts.

    Of a run with something `kept`, the parts have the rows that they had, or others `instead`, encoded as they were.

    Raises:
        ConfigError: it cannot be split as asked, or is nothing that dlrun knows.
        DataChanged: it is not what the run was trained on.
    """
    kind = next((kind for kind in KINDS if isinstance(raw, kind.raw)), None)
    if kind is None:
        raise ConfigError(
            f"dataset._target_ returned a {type(raw).__name__}, but must return a dlrun.data.arrays.source.Source"
        )
    if kept is not None:
        kept.refuse_other(raw, kind.preprocessing)
    before = kept and kept.origin
    origin = before or origin_of(raw, kind.split(raw, settings))
    if kept is not None and kept.instead:
        origin = origin_of(raw, {**origin.parts, **kept.instead})
    encoding = kept.preprocessing if kept else None
    data = kind.encode(raw, settings, origin.parts, encoding)
    if kept is not None:  # what is measured stays as it was in the run's version
        data = replace(data, spec=replace(data.spec, target_names=kept.spec.target_names))
    data = with_baselines(data)
    note_missing_classes(data)
    return replace(data, origin=replace(origin, majority=majority_of(data)))


def kept_from(state: Mapping[str, Any], run: str) -> Kept:
    """What a checkpoint keeps of its run's data.

    Raises:
        KeyError, TypeError: it lacks values, or has some of another kind.
    """
    origin = origin_from(state["origin"]) if "origin" in state else None
    spec = spec_from(state["spec"]).of_data
    preprocessing = preprocessing_from(state["preprocessing"])
    if len(preprocessing.target_mean) != spec.num_targets:
        raise TypeError(
            f"preprocessing scales {len(preprocessing.target_mean)} targets, which is no {spec.task} problem"
        )
    if spec.task not in preprocessing.tasks:
        raise TypeError(f"preprocessing of kind {preprocessing.kind} is not that of {spec.task}")
    return Kept(spec, preprocessing, origin, run)


# A checkpoint has lists for the tuples of a spec.
_SPEC_RULES = {
    name: list[get_args(rule)[0]] if get_origin(rule) is tuple else rule  # type: ignore[misc]
    for name, rule in get_type_hints(Spec).items()
}


def spec_from(plain: Mapping[str, Any]) -> Spec:
    """The spec that a checkpoint has, of which a model was made.

    Raises:
        TypeError: no spec, or one whose values do not fit each other.
    """
    values: dict[str, Any] = {}
    for name, value in plain.items():
        if name == "data" and value is not None:
            values[name] = spec_from(value)
            continue
        given = list(value) if isinstance(value, tuple) else value
        try:
            checked = check(f"spec.{name}", given, _SPEC_RULES[name])
        except ConfigError as error:
            raise TypeError(str(error)) from error
        values[name] = tuple(checked) if isinstance(checked, list) else checked
    spec = Spec(**values)
    if not spec.input_shape or min(spec.num_outputs, *spec.input_shape, *spec.categories) < 1:
        raise TypeError("spec has a size below 1")
    if len(spec.labels) % 2 or (spec.task, spec.num_outputs) != _task_of(spec):
        raise TypeError(f"spec has {spec.num_outputs} outputs, which is no {spec.task} problem")
    if spec.quantiles and spec.num_targets * len(spec.quantiles) != spec.num_outputs:
        raise TypeError(
            f"spec has {spec.num_outputs} outputs, which are no {len(spec.quantiles)} quantiles each"
        )
    return spec


def _task_of(spec: Spec) -> tuple[str, int]:
    """The task and the number of outputs that follow from classes, targets and vocabulary."""
    if spec.carries_state:
        return spec.task, spec.vocabulary
    if spec.task == "reconstruction":
        return spec.task, spec.reconstructed + spec.latent * (1 if spec.beta is None else 2)
    return task_of(
        spec.class_names,
        spec.labels,
        len(spec.target_names) * (len(spec.quantiles) or 1) or spec.num_outputs,
    )


_PREPROCESSINGS = {kind.preprocessing.kind: kind.preprocessing for kind in KINDS}
# As earlier versions wrote them.
_FORMER_NAMES = {"inputs_taken": "input_columns", "targets_told": "target_columns"}


def preprocessing_from(plain: Mapping[str, Any]) -> Preprocessing:
    """What `Preprocessing.to_dict` gave, as an object again.

    Raises:
        KeyError, TypeError: it is of no kind that is known, or lacks values.
    """
    values = {_FORMER_NAMES.get(name, name): value for name, value in plain.items()}
    return _PREPROCESSINGS[values.pop("kind", "scaling")](**values)
