"""A finished run read back: its config, its model and what it knows of its data.

A run directory may come from somebody else, so reading it is reading input: only weights and plain
values are loaded, and only code that may be named (`config/trust.py`) is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import yaml

from dlrun.config import plain_yaml
from dlrun.config.migrate import as_texts, completed
from dlrun.config.moved import with_current_targets
from dlrun.config.search_path import GROUPS
from dlrun.config.trust import refuse_foreign, trusted_targets
from dlrun.errors import ConfigError, command, did_you_mean, first_line, new_run, note
from dlrun.storage.run_directory import RunDirectory

_PRETRAINED = "dlrun.models.torchvision_model.TorchvisionModel"
_SERIES = "dlrun.data.series.file.series"


def read_config(run: RunDirectory, *, allowed: Sequence[str] = ()) -> dict[str, Any]:
    """The config that a run was made from, every target of it offered by the search path or `allowed`.

    Settings that the run's version of dlrun had not yet are as the configs say today, which is said.

    Raises:
        ConfigError: unreadable, or it names code that nobody here offers.
    """
    if not run.config_file.is_file():  # nor a pipe, which would be waited for
        raise ConfigError(f"{run.path} is not a run: it has no {run.config_file.name}")
    try:
        plain = plain_yaml.load(run.config_file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"{run.config_file} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{run.config_file} is not the config of a run: it holds no mapping")
    plain, added = completed(_renewed(with_current_targets(plain)))
    refuse_foreign(plain, trusted_targets(allowed))
    if added:
        said = ", ".join(f"{key}={_text(value)}" for key, value in added.items())
        note(
            f"{run.config_file} is of a version without {said}: these values are taken for it; "
            f"`{command('resume', run.path)} KEY=VALUE` changes them"
        )
    return plain


def _renewed(plain: dict[str, Any]) -> dict[str, Any]:
    """The config as it is written now: of a series, address and checksum were settings once."""
    node = plain.get("dataset")
    if not isinstance(node, dict) or node.get("_target_") != _SERIES or "md5" not in node:
        return plain
    from dlrun.data.series import sources
    from dlrun.data.series.file import series

    if (target := sources.FORMER.get(str(node["md5"]))) is None:
        kept = {name: value for name, value in node.items() if name not in ("root", "url", "md5")}
        return {**plain, "dataset": kept}
    function = getattr(sources, target.rpartition(".")[2])
    fixed = {*signature(series).parameters, "url", "md5"} - {*signature(function).parameters}
    kept = {name: value for name, value in node.items() if name not in fixed}
    return {**plain, "dataset": {**kept, "_target_": target}}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def override(plain: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`plain` with the values of `key=value` words, in Hydra's own grammar.

    Raises:
        ConfigError: no such key, a group's name, or more than a plain value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from dlrun.config.compose import leaf_keys
    from dlrun.config.hydra_errors import explain
    from dlrun.config.overrides import readable_words

    config = OmegaConf.create(as_texts(plain))
    try:
        parsed = OverridesParser.create().parse_overrides(readable_words(words))
    except Exception as error:
        raise explain(error, list(words)) from error
    for one in parsed:
        key = one.key_or_group
        if key in GROUPS:
            raise ConfigError(new_run(f"{one.input_line}: a resume can change values, not choices"))
        if one.is_add() or one.is_delete() or one.is_sweep_override():
            raise ConfigError(
                f"{one.input_line}: a resume takes plain values only, as in optimizer.lr=1e-4"
            )
        known = list(leaf_keys(plain))
        try:
            if key not in known and OmegaConf.select(config, key, default=_MISSING) is _MISSING:
                near = did_you_mean(key, known)
                hint = near if near.endswith("?") else did_you_mean(key, plain)
                raise ConfigError(f"{key} is not a setting of this run{hint}")
            OmegaConf.update(config, key, one.value())
        except OmegaConfBaseException as error:
            raise ConfigError(f"{one.input_line}: {first_line(error)}") from error
    try:
        return dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{' '.join(words)}: {first_line(error)}") from error


_MISSING = object()


@dataclass(frozen=True)
class Trained:
    """A model with its weights, ready for new inputs.

    Attributes:
        epoch, step: of the weights.
        which: of the run's weights they are: best or last.
        kept: what more is known of the run's data, a `dlrun.data.changed_data.Kept`.
        thresholds: what its decisions follow, a `dlrun.inference.threshold.Thresholds`; None for 0.5.
    """

    model: Any
    spec: Any
    preprocessing: Any
    epoch: int
    step: int
    which: str = "best"
    kept: Any = None
    thresholds: Any = None


def reported_weights(run: RunDirectory, plain: Mapping[str, Any]) -> str:
    """`best` or `last`: the weights that the run measured its test part with, or would at its end.

    Of a run that has no best weights yet, since it was ended before its first evaluation, the last ones.
    """
    summary = run.read_summary() or {}
    tested = summary.get("tested") if summary.get("status") == "completed" else None
    if tested not in ("best", "last"):
        stopping = plain.get("trainer", {}).get("early_stopping", {})
        tested = "best" if stopping.get("restore_best", True) else "last"
    best, last = (run.checkpoints / f"{name}.pt" for name in ("best", "last"))
    return "last" if tested == "best" and last.exists() and not best.exists() else str(tested)


def load_trained(
    run: RunDirectory, plain: Mapping[str, Any], *, which: str | None = None
) -> Trained:
    """The model of a run with its `best` or `last` weights, in evaluation mode on the CPU.

    `which`: None for the weights that the run reported.

    Raises:
        ConfigError: there is no whole checkpoint, or it does not fit the config.
    """
    from dlrun.config.instantiate import component
    from dlrun.data.prepare import kept_from, spec_from
    from dlrun.storage import checkpoint
    from dlrun.training.device import enough_memory

    reported = reported_weights(run, plain)
    if which is None and reported == "last":
        note(f"{run.path}: the last weights are used, as for its own test metrics")
    which = which or reported
    path = run.checkpoints / f"{which}.pt"
    if not path.exists():
        raise ConfigError(
            f"{run.path} has no {which} checkpoint yet: train it first with `{command('resume', run.path)}`"
        )
    try:
        state = checkpoint.load(path)
    except ConfigError as error:
        other = "last" if which == "best" else "best"
        raise ConfigError(f"{error}; use the {other} checkpoint instead") from error
    try:
        kept, spec = kept_from(state, str(run.path)), spec_from(state["spec"])
        weights = _without_averaging(state["averaged"]) if state.get("averaged") else state["model"]
        step = state["step"]
        epoch = state.get("epoch", -(-step // state.get("steps_per_epoch", 1)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} lacks what a model needs ({error})") from error
    node = {key: value for key, value in plain["model"].items() if key != "freeze"}
    if node["_target_"] == _PRETRAINED:
        node["weights"] = None  # the checkpoint has its own: none need be fetched
    try:
        with enough_memory("model", "use a machine with more"):
            model = component("model", node, given=("spec",))(spec)
        model.load_state_dict(weights)
    except ConfigError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # a spec of other data
        raise ConfigError(
            f"{path} does not fit the model in {run.config_file}: {' '.join(str(error).split())}"
        ) from error
    return Trained(model.eval(), spec, kept.preprocessing, epoch, step, which, kept)


def _without_averaging(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The averaged model's own weights, out of torch's AveragedModel."""
    return {
        name.removeprefix("module."): value
        for name, value in weights.items()
        if name != "n_averaged"
    }
