"""From a node with a `_target_` to a call: the signature decides what is accepted."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Gt

from dlrun.config.instantiate import component, split_component
from dlrun.config.schema import Count
from dlrun.errors import ConfigError

HERE = __name__


@dataclass(frozen=True)
class Shared:
    decay: float


class Model:
    def __init__(self, spec, *, width: Count, kind: Literal["a", "b"] = "a") -> None:
        self.spec, self.width, self.kind = spec, width, kind


def schedule(step: int, *, total_steps: int, rate: Annotated[float, Gt(0)]):
    return step, total_steps, rate


def free(spec, *, width: Count, **more):
    return spec, width, more


def renamed(anything, *, width: Count):
    return anything, width


def untyped(spec, size, *rest):
    return spec, size, rest


def picky(*, width: int):
    if width > 3:
        raise ValueError("width is too large")
    if width == 3:
        raise ConfigError("the whole sentence")
    if width == 2:
        raise KeyError("a bug of the author")
    return width


def unresolvable(*, width: "NoSuchType"):  # noqa: F821
    return width


not_callable = 3


def node(name, **arguments):
    return {"_target_": f"{HERE}.{name}", **arguments}


def refusal(function, *arguments, **more):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **more)
    return str(caught.value)


def test_a_class_is_called_with_what_the_run_gives_first_and_the_configured_values_by_name():
    built = component("model", node("Model", width=3), given=("spec",))
    model = built("the spec")
    assert (model.spec, model.width, model.kind) == ("the spec", 3, "a")


def test_building_calls_nothing_yet():
    built = component("data", node("picky", width=9))
    assert (built.key, built.target, built.arguments) == ("data", picky, {"width": 9})


def test_values_take_the_type_of_their_annotation():
    built = component("schedule", node("schedule", rate=1), given=("step", "total_steps"))
    assert built(5, total_steps=10) == (5, 10, 1.0)
    assert type(built.arguments["rate"]) is float


def test_what_the_run_gives_cannot_be_configured():
    given = ("step", "total_steps")
    message = refusal(component, "schedule", node("schedule", rate=1, total_steps=3), given=given)
    assert message == ("schedule.total_steps is not a setting of schedule; choose from: rate")
    assert "schedule.step is not a setting" in refusal(
        component, "schedule", node("schedule", rate=1, step=3), given=given
    )


def test_what_is_given_by_position_may_have_any_name():
    built = component("model", node("renamed", width=1), given=("spec",))
    assert built("the spec") == ("the spec", 1)
    message = refusal(component, "model", node("renamed", width=1, anything=2), given=("spec",))
    assert message == "model.anything is not a setting of model; choose from: width"


def test_an_unknown_argument_is_refused_with_the_nearest_name():
    message = refusal(component, "model", node("Model", width=3, knid="a"), given=("spec",))
    assert message == "model.knid is not a setting of model; did you mean kind?"


def test_a_missing_argument_is_refused():
    message = refusal(component, "model", node("Model"), given=("spec",))
    assert message == "model.width is missing: give it a value, as in model.width=…"


def test_a_value_that_breaks_the_annotation_is_refused():
    message = refusal(component, "model", node("Model", width=0), given=("spec",))
    assert message == "model.width is 0, but must be a whole number of at least 1"
    message = refusal(component, "model", node("Model", width=1, kind="c"), given=("spec",))
    assert message == "model.kind is c, but must be one of a, b"


def test_arguments_without_annotation_pass_as_they_are():
    built = component("model", node("untyped", size="any"), given=("spec",))
    assert built(1) == (1, "any", ())


def test_annotations_that_cannot_be_resolved_check_nothing():
    assert component("model", node("unresolvable", width="x"))() == "x"


def test_a_target_that_takes_any_name_is_given_them_all():
    built = component("model", node("free", width=1, depth=2), given=("spec",))
    assert built(0) == (0, 1, {"depth": 2})


def test_a_target_that_takes_any_name_still_needs_its_own():
    message = refusal(component, "model", node("free", depth=2), given=("spec",))
    assert message == "model.width is missing: give it a value, as in model.width=…"


def test_a_target_that_takes_any_name_cannot_be_configured_what_the_run_gives():
    message = refusal(component, "model", node("free", width=1, spec=2), given=("spec",))
    assert "model.spec is not a setting of model" in message


@pytest.mark.parametrize("wrong", [None, 3, "mlp", {}, {"width": 3}])
def test_a_node_without_target_is_refused(wrong):
    assert refusal(component, "model", wrong) == (
        "model has no _target_: choose an option of the group model, see `dlrun list model`"
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_package.Model", "No module named 'no_such_package'"),
        (f"{HERE}.NoSuchModel", f"module '{HERE}' has no attribute 'NoSuchModel'"),
        (None, "No module named 'None'"),
    ],
)
def test_a_target_that_cannot_be_imported_is_refused_with_the_reason(path, reason):
    message = refusal(component, "model", {"_target_": path})
    assert message == f"model._target_ is {path}, which cannot be imported: {reason}"


def test_whatever_a_users_module_raises_as_it_is_imported_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_on_import.py").write_text("raise RuntimeError('first\\nsecond')\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(component, "model", {"_target_": "broken_on_import.Model"})
    assert message.endswith("which cannot be imported: first")
    assert "broken_on_import" not in sys.modules


def test_a_target_that_is_no_function_is_refused():
    message = refusal(component, "model", {"_target_": f"{HERE}.not_callable"})
    assert message == f"model._target_ is {HERE}.not_callable, which is not a class or function"


def test_a_target_whose_arguments_cannot_be_known_is_refused():
    message = refusal(component, "model", {"_target_": "builtins.dict", "a": 1})
    assert message.startswith("model._target_ is builtins.dict, ")


def test_a_value_error_of_the_target_is_the_users_and_names_the_group():
    message = refusal(component("dataset", node("picky", width=4)))
    assert message == "dataset: width is too large"


def test_a_targets_own_config_error_stays_as_it_is():
    assert refusal(component("dataset", node("picky", width=3))) == "the whole sentence"


def test_any_other_error_of_the_target_is_not_taken_for_the_users():
    with pytest.raises(KeyError):
        component("dataset", node("picky", width=2))()


def test_shared_settings_are_split_from_the_targets_own():
    built, shared = split_component(
        "model", node("Model", width=3, decay=1), Shared, given=("spec",)
    )
    assert shared == Shared(1.0)
    assert built.arguments == {"width": 3}


def test_a_name_near_a_shared_setting_suggests_it():
    wrong = node("Model", width=3, deccay=1)
    message = refusal(split_component, "model", wrong, Shared, given=("spec",))
    assert message == "model.deccay is not a setting of model; did you mean decay?"


def test_shared_settings_are_checked_too():
    message = refusal(
        split_component, "model", node("Model", width=3, decay="x"), Shared, given=("spec",)
    )
    assert message == "model.decay is x, but must be a number"
    message = refusal(split_component, "model", node("Model", width=3), Shared, given=("spec",))
    assert message == "model.decay is missing: give it a value, as in model.decay=…"
