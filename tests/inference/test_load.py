"""A run read back: whose code it may call, what a resume may change, and the model with its weights."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from torch.optim.swa_utils import AveragedModel

from dlrun.config.search_path import packaged_configs
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.inference.load import load_trained, override, read_config
from dlrun.models.logistic import LogisticRegression
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory

PLAIN = {
    "name": "a run",
    "seed": 0,
    "dataset": {"_target_": "dlrun.data.arrays.scikit_learn.iris", "val_fraction": 0.2},
    "model": {
        "_target_": "dlrun.models.logistic.LogisticRegression",
        "bias": True,
        "init": "default",
    },
    "optimizer": {"_target_": "dlrun.training.optim.sgd", "lr": 0.1},
    "schedule": {"_target_": "dlrun.training.schedules.constant", "warmup_steps": 0},
    "loss": {"name": "auto"},
    "trainer": {"max_epochs": 20, "max_steps": None, "shuffle": True, "sizes": [1, 2]},
}
SPEC = Spec("multiclass", "features", (4,), 3, ("x", "y", "z"), ("a", "b", "c", "d"))
PREPROCESSING = Scaling([1.0, 2.0, 3.0, 4.0], [2.0] * 4, [], [], 0.0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run directory with a config, in a working directory without configs of its own."""
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(tmp_path / "run")
    directory.checkpoints.mkdir(parents=True)
    directory.config_file.write_text(yaml.safe_dump(PLAIN))
    return directory


def rewrite(run, group, target):
    changed = PLAIN | {group: PLAIN[group] | {"_target_": target}}
    run.config_file.write_text(yaml.safe_dump(changed))


def refusal(function, *arguments, **more):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **more)
    return str(caught.value)


def test_the_config_is_read_as_it_was_written(run, capsys):
    whole = read_config(run)
    run.config_file.write_text(yaml.safe_dump(whole))
    capsys.readouterr()
    assert read_config(run) == whole
    assert capsys.readouterr().err == ""


def test_what_an_older_config_lacks_is_as_the_configs_say_today_and_said_in_a_line(run, capsys):
    dataset = {"_target_": "dlrun.data.images.folder.image_folder", "path": "photos", "size": None}
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"seed": 7, "dataset": dataset}))
    found = read_config(run)
    assert found["dataset"] | dataset == found["dataset"]
    assert found["dataset"]["alpha"] == "auto"
    assert found["dataset"]["split_seed"] == 7
    assert found["trainer"]["max_epochs"] == 20
    assert found["trainer"]["early_stopping"]["restore_best"] is True
    assert found["loss"]["label_smoothing"] == 0.0
    assert {"every_steps", "every_seconds"} == {*found["checkpoint"]}
    assert found["tracking"]["tensorboard"] is True
    (line,) = capsys.readouterr().err.splitlines()
    assert "dataset.alpha=auto" in line and "dataset.split_seed=7" in line and "resume" in line


def test_of_several_options_with_one_target_the_one_most_alike_tells_what_is_missing(run):
    packaged = yaml.safe_load((packaged_configs() / "dataset" / "airline.yaml").read_text())
    older = {name: value for name, value in packaged.items() if name not in ("header", "only")}
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"dataset": older}))
    assert read_config(run)["dataset"] == {"balance": "none", "folds": None, "fold": 0, **packaged}


@pytest.mark.parametrize("text", ["x ${oc.env:SECRET}", "${oc.${seed}:SECRET}", "\\${seed}", "${"])
def test_what_a_stored_text_refers_to_is_not_looked_up(text, run, monkeypatch):
    monkeypatch.setenv("SECRET", "secret")
    older = {name: value for name, value in PLAIN["dataset"].items() if name != "split_seed"}
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"name": text, "dataset": older}))
    found = read_config(run)
    assert (found["name"], found["dataset"]["split_seed"]) == (text, 0)
    changed = override(found, ["seed=1", "trainer.max_epochs=${seed}"])
    assert (changed["name"], changed["trainer"]["max_epochs"]) == (text, 1)


def test_a_list_in_the_place_of_a_group_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="trainer"):
        override(PLAIN | {"trainer": []}, ["trainer.max_epochs=1"])


def test_a_value_that_is_null_stays_null(run):
    dataset = {"_target_": "dlrun.data.images.folder.image_folder", "augment": None}
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"dataset": dataset}))
    assert read_config(run)["dataset"]["augment"] is None


def test_a_folder_without_config_is_no_run(run):
    run.config_file.unlink()
    assert refusal(read_config, run) == f"{run.path} is not a run: it has no config.yaml"


SERIES = {
    "_target_": "dlrun.data.series.file.series",
    "path": "../../.bashrc",
    "header": True,
    "window": 3,
}


def test_where_and_what_to_fetch_is_not_read_back(run):
    fetched = SERIES | {"root": "/home", "url": "file:///x", "md5": "0" * 32}
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"dataset": fetched}))
    found = read_config(run)["dataset"]
    assert found.items() >= SERIES.items()
    assert not {"root", "url", "md5"} & {*found}


def test_a_published_series_of_an_older_run_is_the_set_that_it_is_called_now(run):
    fetched = SERIES | {
        "root": "data",
        "url": "https://x",
        "md5": "dee19278d812667c0933bfcccbe4d0b2",
    }
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"dataset": fetched}))
    now = {"_target_": "dlrun.data.series.sources.sunspots", "root": "data", "window": 3}
    found = read_config(run)["dataset"]
    assert found.items() >= now.items()
    assert not {"url", "md5", "path", "header"} & {*found}


@pytest.mark.parametrize("content", [b"a: [1", b"a: 1\na:\tb: {", b"\xff\xfe\x00", b"a: \x00"])
def test_a_config_that_is_no_yaml_is_refused_in_one_line(content, run):
    run.config_file.write_bytes(content)
    message = refusal(read_config, run)
    assert message.startswith(f"{run.config_file} is not valid YAML: ")
    assert "\n" not in message


@pytest.mark.parametrize("content", ["", "just text", "[1, 2]"])
def test_a_config_that_is_no_mapping_is_refused(content, run):
    run.config_file.write_text(content)
    assert refusal(read_config, run) == (
        f"{run.config_file} is not the config of a run: it holds no mapping"
    )


def test_code_in_the_yaml_is_refused_and_not_run(run, tmp_path):
    trace = tmp_path / "trace"
    run.config_file.write_text(f"seed: !!python/object/apply:os.mkdir ['{trace}']\n")
    assert "is not valid YAML" in refusal(read_config, run)
    assert not trace.exists()


@pytest.mark.parametrize("group", ["dataset", "model", "optimizer", "schedule"])
def test_a_target_that_no_config_offers_is_refused_unless_allowed(group, run):
    rewrite(run, group, "os.system")
    assert refusal(read_config, run) == (
        f"{group}._target_ is os.system, which no config on the search path offers: if you trust this run, "
        "call it from the folder whose configs/ has it, or add --allow os.system"
    )
    assert refusal(read_config, run, allowed=["os.remove"])
    assert read_config(run, allowed=["os.remove", "os.system"])[group]["_target_"] == "os.system"


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_target_of_the_folders_own_configs_is_accepted(quote, run):
    rewrite(run, "model", "mine.Model")
    file = Path("configs/model/mine.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(f"# a model\n_target_: {quote}mine.Model{quote}  # it is\nwidth: 3\n")
    assert read_config(run)["model"]["_target_"] == "mine.Model"


def test_a_target_in_a_comment_offers_nothing(run):
    rewrite(run, "model", "mine.Model")
    file = Path("configs/model/mine.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("# _target_: mine.Model\nwidth: 3\n")
    assert "model._target_ is mine.Model" in refusal(read_config, run)


@pytest.mark.parametrize("node", [None, "mlp", {}, {"width": 3}])
def test_a_component_without_target_is_refused(node, run):
    run.config_file.write_text(yaml.safe_dump(PLAIN | {"model": node}))
    assert "model._target_ is None" in refusal(read_config, run)


@pytest.mark.parametrize("target", [["os.system"], {"a": 1}])
def test_a_target_that_is_no_text_is_refused(target, run):
    rewrite(run, "model", target)
    assert "model._target_ is " in refusal(read_config, run)


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("optimizer.lr=1e-4", ("optimizer", "lr"), 1e-4),
        ("seed=7", ("seed",), 7),
        ("trainer.max_epochs=null", ("trainer", "max_epochs"), None),
        ("trainer.max_steps=5", ("trainer", "max_steps"), 5),
        ("trainer.shuffle=false", ("trainer", "shuffle"), False),
        ("trainer.sizes=[3,4,5]", ("trainer", "sizes"), [3, 4, 5]),
        ("trainer.sizes=[]", ("trainer", "sizes"), []),
        ("name=another", ("name",), "another"),
        ("name='with spaces, and = signs'", ("name",), "with spaces, and = signs"),
    ],
)
def test_a_resume_changes_values_in_hydras_grammar(word, path, value):
    changed = override(PLAIN, [word])
    expected = {**PLAIN, path[0]: value}
    if len(path) == 2:
        expected[path[0]] = {**PLAIN[path[0]], path[1]: value}
    assert changed == expected
    found = changed[path[0]] if len(path) == 1 else changed[path[0]][path[1]]
    assert type(found) is type(value)


def test_of_two_values_for_one_key_the_last_holds_and_the_original_config_stays():
    before = yaml.safe_dump(PLAIN)
    assert override(PLAIN, ["seed=1", "optimizer.lr=0.5", "seed=2"])["seed"] == 2
    assert yaml.safe_dump(PLAIN) == before


def test_without_words_nothing_changes():
    assert override(PLAIN, []) == PLAIN


@pytest.mark.parametrize("word", ["model=cnn", "trainer=debug", "experiment=mnist_cnn"])
def test_a_choice_cannot_be_changed_by_a_resume(word):
    assert refusal(override, PLAIN, [word]) == (
        f"{word}: a resume can change values, not choices; start a new run with `dlrun train`"
    )


@pytest.mark.parametrize(
    "word",
    ["+trainer.new=1", "+seed=1", "~seed", "seed=1,2", "seed=range(1,3)", "seed=choice(1,2)"],
)
def test_more_than_a_plain_value_is_refused(word):
    assert refusal(override, PLAIN, [word]) == (
        f"{word}: a resume takes plain values only, as in optimizer.lr=1e-4"
    )


@pytest.mark.parametrize("word", ["trainer.sizes={a:1}", "loss=[1,2]"])
def test_a_mapping_for_a_list_and_a_list_for_a_mapping_are_refused_in_one_line(word):
    message = refusal(override, PLAIN, [word])
    assert message.startswith(word)
    assert "\n" not in message


@pytest.mark.parametrize("word", ["seed", "two words=3"])
def test_what_is_no_override_is_refused(word):
    assert refusal(override, PLAIN, ["seed=1", word]) == (
        f"{word}: not an override; write key=value, and quote lists and spaces for the shell"
    )


def test_an_open_bracket_is_refused_with_the_way_to_type_that_text():
    assert refusal(override, PLAIN, ["seed=1", "trainer.sizes=[1,2"]) == (
        "trainer.sizes=[1,2: not an override; write key=value with brackets and quotes closed, or for that very "
        "text 'trainer.sizes=\"[1,2\"'"
    )


def test_a_text_that_hydra_does_not_read_is_that_text():
    assert override(PLAIN, ["name=größe (1).csv"])["name"] == "größe (1).csv"


def test_a_key_that_the_run_does_not_have_is_refused_with_the_nearest():
    message = refusal(override, PLAIN, ["optimizer.lrr=0.1"])
    assert message == "optimizer.lrr is not a setting of this run; did you mean optimizer.lr?"
    assert "zzz is not a setting of this run; choose from: " in refusal(override, PLAIN, ["zzz=1"])


def trained_model():
    """A model and a checkpoint of it, as a run saves them."""
    model = LogisticRegression(SPEC, bias=True, init="default")
    state = {
        "model": model.state_dict(),
        "spec": asdict(SPEC),
        "preprocessing": PREPROCESSING.to_dict(),
        "epoch": 3,
        "step": 30,
    }
    return model.eval(), state


def test_a_trained_model_comes_back_with_all_it_knows_of_its_data(run):
    model, state = trained_model()
    checkpoint.save_best(run.checkpoints, state)
    trained = load_trained(run, PLAIN, which="best")
    x = torch.randn(5, 4)
    assert torch.equal(trained.model(x), model(x))
    assert not trained.model.training
    assert trained.spec == SPEC
    assert trained.preprocessing == PREPROCESSING
    assert (trained.epoch, trained.step) == (3, 30)


def test_best_and_last_are_two_models(run):
    best, state = trained_model()
    checkpoint.save_best(run.checkpoints, state)
    last, state = trained_model()
    checkpoint.save(run.checkpoints, state)
    x = torch.randn(5, 4)
    assert torch.equal(load_trained(run, PLAIN, which="best").model(x), best(x))
    assert torch.equal(load_trained(run, PLAIN, which="last").model(x), last(x))


def test_the_epoch_of_a_checkpoint_within_an_epoch_is_that_epoch(run):
    _, state = trained_model()
    del state["epoch"]
    checkpoint.save(run.checkpoints, state | {"step": 31, "steps_per_epoch": 10})
    assert load_trained(run, PLAIN, which="last").epoch == 4


def test_where_weights_were_averaged_the_average_is_the_model(run):
    model, state = trained_model()
    averaged = AveragedModel(LogisticRegression(SPEC, bias=True, init="default"))
    averaged.update_parameters(averaged.module)
    checkpoint.save(run.checkpoints, state | {"averaged": averaged.state_dict()})
    x = torch.randn(5, 4)
    found = load_trained(run, PLAIN, which="last").model(x)
    assert torch.equal(found, averaged.module(x))
    assert not torch.equal(found, model(x))


def test_a_run_without_checkpoint_is_refused_with_the_remedy(run):
    assert refusal(load_trained, run, PLAIN, which="best") == (
        f"{run.path} has no best checkpoint yet: train it first with `dlrun resume {run.path}`"
    )


def test_a_damaged_checkpoint_is_refused(run):
    (run.checkpoints / "best.pt").write_bytes(b"PK")
    assert "best.pt is damaged" in refusal(load_trained, run, PLAIN, which="best")


def test_weights_of_another_model_are_refused_in_one_line(run):
    _, state = trained_model()
    checkpoint.save_best(run.checkpoints, state)
    other = PLAIN | {"model": PLAIN["model"] | {"bias": False}}
    message = refusal(load_trained, run, other, which="best")
    file = run.checkpoints / "best.pt"
    assert message.startswith(f"{file} does not fit the model in {run.config_file}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("spec"),
        lambda state: state.pop("model"),
        lambda state: state.pop("preprocessing"),
        lambda state: state["spec"].pop("input_shape"),
        lambda state: state["spec"].update(unheard_of=1),
    ],
)
def test_a_checkpoint_that_lacks_what_a_model_needs_is_refused(damage, run):
    _, state = trained_model()
    damage(state)
    checkpoint.save_best(run.checkpoints, state)
    assert "best.pt" in refusal(load_trained, run, PLAIN, which="best")


@pytest.mark.parametrize(
    "made_up",
    [
        {"input_shape": "x"}, {"input_shape": []}, {"input_shape": [0]}, {"input_shape": [-3]},
        {"input_shape": [1, 2, 3, 4]}, {"num_outputs": "two"}, {"num_outputs": True}, {"task": "sums"},
        {"kind": 3}, {"class_names": [1]}, {"categories": [0]}, {"vocabulary": "many"},
        {"task": "regression"}, {"task": "language"}, {"class_names": ["a"]},
    ],
)  # fmt: skip
def test_a_checkpoint_with_a_spec_that_no_run_writes_is_refused_in_one_line(made_up, run):
    _, state = trained_model()
    state["spec"] |= made_up
    checkpoint.save_best(run.checkpoints, state)
    message = refusal(load_trained, run, PLAIN, which="best")
    assert "best.pt" in message and "\n" not in message
