"""A whole run's config: the YAML files against the dataclasses, and the rules across keys."""

from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from dlrun.config.instantiate import split_component
from dlrun.config.search_path import packaged_configs
from dlrun.config.settings import (
    CheckpointSettings,
    DataSettings,
    GradientSettings,
    LossSettings,
    ModelSettings,
    RunConfig,
    TrackingSettings,
    TrainerSettings,
    WarmUp,
    parse,
)
from dlrun.errors import ConfigError
from dlrun.training import schedules
from dlrun.training.losses.choice import loss_of

CONFIGS = packaged_configs()
OF_ALL_OPTIONS = yaml.safe_load((CONFIGS / "_shared.yaml").read_text())
SETTINGS = {
    "dataset": DataSettings,
    "model": ModelSettings,
    "optimizer": GradientSettings,
    "schedule": WarmUp,
    "loss": LossSettings,
}
GIVEN = {
    "dataset": (),
    "model": ("spec",),
    "optimizer": ("groups",),
    "schedule": schedules.GIVEN,
    "loss": (),
}
COMPONENT_FILES = sorted(file for group in SETTINGS for file in (CONFIGS / group).glob("*.yaml"))
EXPERIMENT_FILES = sorted((CONFIGS / "experiment").glob("*.yaml"))


def read(file: Path):
    """A YAML file's own values, with the one interpolation of a number resolved."""
    text = file.read_text().replace("${seed}", "0")
    return yaml.safe_load(text)


def name_of(file: Path):
    return f"{file.parent.name}={file.stem}"


@pytest.fixture
def plain():
    """The composed default run, as plain values."""
    config = read(CONFIGS / "train.yaml")
    choices = {
        group: choice
        for default in config.pop("defaults")
        if isinstance(default, dict)
        for group, choice in default.items()
    }
    for group in ("dataset", "model", "optimizer", "schedule", "loss", "trainer"):
        config[group] = OF_ALL_OPTIONS.get(group, {}) | read(
            CONFIGS / group / f"{choices[group]}.yaml"
        )
    return config | {"name": "a run"}


def refusal(plain, key, value):
    """How `plain` is refused with `value` at the dotted `key`."""
    changed = deepcopy(plain)
    *path, last = key.split(".")
    node = changed
    for name in path:
        node = node[name]
    node[last] = value
    with pytest.raises(ConfigError) as caught:
        parse(changed)
    return str(caught.value)


def assert_same_keys(values, settings):
    """`values` has a key for every field of `settings` and no other, at every depth."""
    hints = get_type_hints(settings)
    assert set(values) == set(hints)
    for name, hint in hints.items():
        inner = next((t for t in (hint, *get_args(hint)) if is_dataclass(t)), None)
        if inner is not None and values[name] is not None:
            assert_same_keys(values[name], inner)


def test_the_default_run_is_a_valid_config(plain):
    config = parse(plain)
    assert config.trainer.batch_size == 32
    assert config.trainer.early_stopping.restore_best is True
    assert config.dataset["_target_"] == "dlrun.data.arrays.scikit_learn.digits"


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("trainer", TrainerSettings),
        ("checkpoint", CheckpointSettings),
        ("tracking", TrackingSettings),
    ],
)
def test_yaml_keys_are_the_settings_of_their_group(group, settings, plain):
    assert_same_keys(plain[group], settings)


def test_the_keys_of_a_run_are_the_fields_of_its_config(plain):
    assert set(plain) == {field.name for field in fields(RunConfig)}


@pytest.mark.parametrize("group", sorted({file.parent.name for file in COMPONENT_FILES}))
def test_component_yaml_is_complete_for_its_target_and_the_settings_of_its_group(group):
    settings = SETTINGS[group]
    for file in COMPONENT_FILES:
        if file.parent.name != group:
            continue
        values = OF_ALL_OPTIONS.get(group, {}) | read(file)
        component, shared = split_component(
            group, values, settings, given=GIVEN[group], on_demand=("model",)
        )
        missing = set(get_type_hints(settings)) - set(values)
        assert not missing, name_of(file)
        assert_same_keys({key: values[key] for key in get_type_hints(settings)}, settings)
        own = set(values) - {"_target_"} - {field.name for field in fields(settings)}
        assert set(component.arguments) == own, name_of(file)
        assert isinstance(shared, settings), name_of(file)


def test_yamls_of_settings_have_no_key_of_their_own():
    known = {field.name for field in fields(TrainerSettings)}
    for file in (CONFIGS / "trainer").glob("*.yaml"):
        assert set(read(file)) - {"defaults"} <= known, name_of(file)


def test_each_option_of_the_loss_is_named_by_its_loss():
    for file in (CONFIGS / "loss").glob("*.yaml"):
        assert loss_of(read(file)).name == file.stem


@pytest.mark.parametrize("file", EXPERIMENT_FILES, ids=name_of)
def test_experiments_set_only_keys_that_their_choices_have(file, plain):
    apply_experiment(file, plain)
    parse(plain)


def apply_experiment(file, plain):
    """Change `plain` as the experiment does, and as those that it builds upon do before it."""
    values = read(file)
    for choice in values.pop("defaults"):
        if choice == "_self_":
            continue
        if isinstance(choice, str):
            apply_experiment(file.with_name(f"{choice}.yaml"), plain)
            continue
        ((group, option),) = choice.items()
        group = group.removeprefix("override /")
        if group != "sweep":  # no part of a run
            shared = deepcopy(OF_ALL_OPTIONS.get(group, {}))
            plain[group] = shared | read(CONFIGS / group / f"{option}.yaml")
    assert set(values.pop("sweep", {})) <= set(read(CONFIGS / "sweep" / "grid.yaml"))
    merge(plain, values)


def merge(plain, changes):
    for key, value in changes.items():
        assert key in plain
        if isinstance(value, dict) and isinstance(plain[key], dict):
            merge(plain[key], value)
        else:
            plain[key] = value


@pytest.mark.parametrize("key", ["seed", "loss", "trainer", "model", "dataset"])
def test_a_run_without_one_of_its_keys_is_refused(key, plain):
    del plain[key]
    with pytest.raises(ConfigError, match=f"^{key} is missing: give it a value, as in {key}=…$"):
        parse(plain)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seed", -1, "seed is -1, but must be a whole number of at least 0 and of at most 4294967295"),
        ("seed", 2**32, "of at least 0 and of at most 4294967295"),
        ("name", 3, "name is 3, but must be text"),
        ("name", "", "name is , but must be text without slashes and control characters: it names a folder"),
        ("name", "a/b", "name is a/b, but must be text without slashes and control characters: it names a folder"),
        ("name", "..", "name is .., but must be text without slashes and control characters: it names a folder"),
        ("name", "\x1b", "name is \x1b, but must be text without slashes and control characters: it names a folder"),
        ("sedd", 3, "sedd is not a setting of a run; did you mean seed?"),
        ("model", "mlp", "model is mlp, but must be an option of the group model, see `dlrun list model`"),
        ("trainer", None, "trainer is null, but must be a group of settings, not one value"),
        ("trainer.bach_size", 3, "trainer.bach_size is not a setting of trainer; did you mean batch_size?"),
        ("trainer.batch_size", 0, "trainer.batch_size is 0, but must be a whole number of at least 1 or full"),
        ("trainer.max_epochs", 1.5, "trainer.max_epochs is 1.5, but must be a whole number of at least 1 or null"),
        ("trainer.precision", "fp23", "one of fp32, tf32, bf16, fp16, fp64; did you mean fp32?"),
        ("trainer.ema_decay", 1, "trainer.ema_decay is 1, but must be a number above 0 and below 1 or null"),
        ("trainer.shuffle", "yes", "trainer.shuffle is yes, but must be true or false"),
        (
            "trainer.early_stopping.patience", 0,
            "trainer.early_stopping.patience is 0, but must be a whole number of at least 1 or null",
        ),
        ("checkpoint.every_seconds", -1, "checkpoint.every_seconds is -1, but must be a number of at least 0"),
        ("tracking.graph", 1, "tracking.graph is 1, but must be true or false"),
    ],
)  # fmt: skip
def test_each_key_is_refused_in_its_own_words(key, value, words, plain):
    assert words in refusal(plain, key, value)


def test_a_run_that_nothing_ends_is_refused(plain):
    plain["trainer"]["max_steps"] = None
    assert refusal(plain, "trainer.max_epochs", None) == (
        "trainer.max_epochs and trainer.max_steps are both null: set one, or nothing ends the run"
    )
    plain["trainer"] |= {"max_epochs": None, "max_steps": 10}
    assert parse(plain).trainer.max_steps == 10


def test_a_validation_metric_without_a_validation_part_is_refused(plain):
    assert refusal(plain, "dataset.val_fraction", 0) == (
        "trainer.monitor is val/loss, but dataset.val_fraction is 0: there is no validation part; "
        "set trainer.monitor=train/loss or a val_fraction above 0"
    )
    plain["trainer"]["monitor"] = "train/loss"
    plain["dataset"]["val_fraction"] = 0
    assert parse(plain).trainer.monitor == "train/loss"


def test_a_monitor_that_is_no_metric_is_refused(plain):
    assert refusal(plain, "trainer.monitor", "loss") == (
        "trainer.monitor is loss, but must name a logged metric, as in val/loss"
    )


def test_the_settings_of_a_run_cannot_change_once_checked(plain):
    config = parse(plain)
    with pytest.raises(AttributeError):
        config.trainer.batch_size = 3
    plain["dataset"]["val_fraction"] = 0.9
    assert config.dataset["val_fraction"] == 0.1


@pytest.mark.parametrize(
    ("group", "key", "value", "remedy"),
    [
        ("trainer", "compile", True, "trainer.compile=false"),
        ("trainer", "compile", "max-autotune", "trainer.compile=false"),
        ("trainer", "cuda_graph", True, "trainer.cuda_graph=auto"),
        ("trainer", "channels_last", True, "trainer.channels_last=false"),
        ("trainer", "precision", "fp16", "trainer.precision=bf16"),
        ("tracking", "gradient_flow", True, "tracking.gradient_flow=false"),
        ("dataset", "balance", "latent", "dataset.balance=none"),
        ("optimizer", "_target_", "dlrun.training.optim.muon", "optimizer=adamw"),
        ("optimizer", "_target_", "dlrun.training.optim.schedule_free", "optimizer=adamw"),
    ],
)
def test_what_needs_whole_weights_is_refused_where_each_device_has_a_part(
    plain, group, key, value, remedy
):
    plain[group][key] = value
    parse(plain)
    plain["trainer"]["strategy"] = "fsdp"
    with pytest.raises(ConfigError, match=rf"fsdp, which does not go with .*: take {remedy}"):
        parse(plain)
