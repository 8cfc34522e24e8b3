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

from dlrun.config.migrate import as_texts, completed
from dlrun.config.moved import with_current_targets
from dlrun.config.search_path import GROUPS
from dlrun.config.trust import refuse_foreign, trusted_targets
from dlrun.errors import ConfigError, command, did_you_mean, first_line, new_run, note
from dlrun.storage.ensemble_directory import member_directory
from dlrun.storage.run_directory import RunDirectory, is_ensemble
from dlrun.storage.stored_run import read_plain, read_state, reported_weights, weights_of

_SERIES = "dlrun.data.series.file.series"


def read_config(run: RunDirectory, *, allowed: Sequence[str] = ()) -> dict[str, Any]:
    """The config that a run was made from, every target of it offered by the search path or `allowed`.

    Settings that the run's version of dlrun had not yet are as the configs say today, which is said.

    Raises:
        ConfigError: unreadable, or it names code that nobody here offers.
    """
    if is_ensemble(run.path):
        raise ConfigError(
            f"{run.path} is an ensemble of runs, which this command does not take: give one of these runs, or its "
            f"copy, as in {member_directory(run, 0).path}"
        )
    plain, added = completed(_renewed(with_current_targets(read_plain(run))))
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


def load_trained(
    run: RunDirectory, plain: Mapping[str, Any], *, which: str | None = None
) -> Trained:
    """The model of a run with its `best` or `last` weights, in evaluation mode on the CPU.

    `which`: None for the weights that the run reported.

    Raises:
        ConfigError: there is no whole checkpoint, or it does not fit the config.
    """
    from dlrun.config.instantiate import component
    from dlrun.config.settings import without_pretrained
    from dlrun.data.prepare import kept_from, spec_from
    from dlrun.training.device import enough_memory

    reported = reported_weights(run, plain)
    if which is None and reported == "last":
        note(f"{run.path}: the last weights are used, as for its own test metrics")
    which = which or reported
    state, path = read_state(run, which), run.checkpoints / f"{which}.pt"
    try:
        kept, spec = kept_from(state, str(run.path)), spec_from(state["spec"])
        weights = weights_of(state)
        step = state["step"]
        epoch = state.get("epoch", -(-step // state.get("steps_per_epoch", 1)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} lacks what a model needs ({error})") from error
    node = without_pretrained(plain["model"])
    node.pop("freeze", None)
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
