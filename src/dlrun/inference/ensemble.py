"""What predicts: the model of one run, or those of an ensemble's members, each on inputs that it prepares itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from dlrun.data.base import Preprocessing, Spec
from dlrun.data.kinds import kind_of
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.text.character_encoding import UNKNOWN, CharacterEncoding
from dlrun.errors import ConfigError, collected_notes, listed, note
from dlrun.inference.averaging import MeanModel, Order, Units, places_in
from dlrun.inference.load import Trained, load_trained, read_config
from dlrun.inference.threshold import with_kept
from dlrun.inference.views import on_views
from dlrun.storage.ensemble_directory import member_directory, read_members
from dlrun.storage.run_directory import RunDirectory, is_ensemble
from dlrun.storage.run_summary import full_name

OF_MEMBERS = "members'"  # weights that an ensemble has: neither the best nor the last of one run


@dataclass(frozen=True)
class Stored:
    """A run, or one member of an ensemble, whose weights are not read yet.

    Attributes:
        name: of the run; of a member that of the run that it is a copy of.
        plain: its config.
        which: best or last weights; None for those that the run reported.
        share: of an ensemble's mean.
        views: of each image, whose predictions are averaged.
    """

    name: str
    run: RunDirectory
    plain: dict[str, Any]
    which: str | None = None
    share: float = 1.0
    views: int = 1

    def load(self) -> Trained:
        """The model with its weights."""
        return on_views(
            load_trained(self.run, self.plain, which=self.which), self.plain, self.views
        )


def read_stored(
    run: RunDirectory, *, allowed: Sequence[str] = (), which: str | None = None
) -> list[Stored]:
    """The run, or the members of the ensemble, that is at `run`.

    Raises:
        ConfigError: as `read_config`; an ensemble that is damaged, or is asked for weights of one kind.
    """
    if not is_ensemble(run.path):
        return [Stored(full_name(run.path), run, read_config(run, allowed=allowed), which)]
    if which is not None:
        raise ConfigError(
            f"checkpoint is {which}, but {run.path} is an ensemble, which has one set of weights of each member: "
            "leave it out"
        )
    stored = []
    with collected_notes() as notes:  # each would say the same
        for number, member in enumerate(read_members(run)):
            directory = member_directory(run, number)
            plain = read_config(directory, allowed=allowed)
            stored.append(Stored(member.name, directory, plain, member.checkpoint, member.share))
    if notes:
        note(
            f"{run.path} is of an earlier version: what its members lack is as the configs say today"
        )
    return stored


@dataclass(frozen=True)
class Predictor:
    """What predicts: one model, or several whose predictions are averaged.

    Attributes:
        stored, members: the runs, and each as it was trained.
        reference: the first of them, which decides the order of classes and targets; of texts to be continued with the
            characters of all.
        orders: of an ensemble, how the outputs of each member come into this order.
    """

    stored: tuple[Stored, ...]
    members: tuple[Trained, ...]
    reference: Trained
    orders: tuple[Order, ...]

    @classmethod
    def load(cls, stored: Sequence[Stored], run: RunDirectory | None = None) -> Predictor:
        """With the weights of each, and the thresholds that are kept with the run or the ensemble `run`.

        Raises:
            ConfigError: there is no whole checkpoint, or members that predict different things.
        """
        members = [one.load() for one in stored]
        if len(members) == 1 and run is not None:
            members = [with_kept(members[0], run)]
        first = members[0]
        for one, member in zip(stored[1:], members[1:], strict=True):
            refuse_others(first, member, (stored[0].name, one.name))
        if first.spec.task == "language" and len(members) > 1:
            first = _with_all_characters(members)
        orders = [order_in(first, member) for member in members] if len(members) > 1 else []
        if len(members) > 1:
            first = replace(first, which=OF_MEMBERS, epoch=0, step=0)
            first = first if run is None else with_kept(first, run)
        return cls(tuple(stored), tuple(members), first, tuple(orders))

    @property
    def is_ensemble(self) -> bool:
        """Whether there are several models."""
        return len(self.members) > 1

    @property
    def spec(self) -> Spec:
        """What is predicted; of an ensemble's inputs that of its first member."""
        return self.reference.spec

    @property
    def shares(self) -> list[float]:
        """Of each member, its share of the mean."""
        return [one.share for one in self.stored]

    def prepared_alike(self) -> tuple[list[int], list[int]]:
        """A member for each way to prepare raw inputs, but for their scale, and of each member which way is its own."""
        distinct: list[int] = []
        ways = []
        for number, member in enumerate(self.members):
            alike = (n for n, at in enumerate(distinct) if _rescaling(member, self.members[at]))
            ways.append(next(alike, len(distinct)))
            if ways[-1] == len(distinct):
                distinct.append(number)
        return distinct, ways

    def as_one(self) -> Trained:
        """All models as one, which takes the inputs that `prepared_alike` has.

        Raises:
            ConfigError: forecasts of changes from different values.
        """
        if not self.is_ensemble:
            return self.reference
        distinct, ways = self.prepared_alike()
        scales = [
            _rescaling(member, self.members[distinct[way]])
            for member, way in zip(self.members, ways, strict=True)
        ]
        model = MeanModel(
            [member.model for member in self.members],
            self.shares,
            self.orders,
            self.spec,
            units=self._units() if self.spec.task == "regression" else (),
            reads=ways,
            rescalings=[] if self.spec.carries_state else scales,
        )
        return replace(self.reference, model=model.eval())

    def _units(self) -> list[Units]:
        """Of a regression, those of each member without what each sample adds to them: the same for all members."""
        first = self.reference.preprocessing
        for stored, member in zip(self.stored, self.members, strict=True):
            if _added(member.preprocessing) != _added(first):
                raise ConfigError(
                    f"{self.stored[0].name} and {stored.name} forecast changes from different values, or scale several "
                    "series differently, which one model cannot average: export them one by one"
                )
        return [Units.of(one.preprocessing, one.spec) for one in self.members]


def _rescaling(member: Trained, other: Trained) -> tuple[Any, Any] | None:
    """(scale, shift) that make the member's inputs of those of another; None where more than a scale differs."""
    if (member.spec.kind, member.spec.input_shape) != (other.spec.kind, other.spec.input_shape):
        return None
    return member.preprocessing.rescaling(other.preprocessing)


def _added(preprocessing: Preprocessing) -> Any:
    """What decides the values that forecasts are changes from, and the scale of each of several series."""
    if not isinstance(preprocessing, SeriesScaling):
        return None
    scales = {
        name: (own["target_mean"], own["target_std"]) for name, own in preprocessing.members.items()
    }
    return preprocessing.difference, preprocessing.seasonal_difference, scales


def _with_all_characters(members: Sequence[Trained]) -> Trained:
    """The first member as if it knew the characters of all."""
    first = members[0]
    encodings = [cast(CharacterEncoding, member.preprocessing) for member in members]
    characters = sorted({character for one in encodings for character in one.characters})
    encoding = replace(encodings[0], characters=characters)
    size = len(characters) + 1
    spec = replace(first.spec, num_outputs=size, vocabulary=size)
    kept = first.kept and replace(first.kept, spec=spec, preprocessing=encoding)
    return replace(first, spec=spec, preprocessing=encoding, kept=kept)


def order_in(first: Trained, member: Trained) -> Order:
    """How the outputs of `member` come into the order of `first`, of which `refuse_others` has nothing to say."""
    mine, own = first.spec, member.spec
    if mine.task == "multiclass":
        return Order.of(places_in(mine.class_names, own.class_names))
    if mine.task == "binary":
        return Order.of([0], [1 if mine.class_names == own.class_names else -1])
    if mine.task == "language":
        known = [None, *cast(CharacterEncoding, member.preprocessing).characters]
        number_of = {character: number for number, character in enumerate(known)}
        asked = cast(CharacterEncoding, first.preprocessing).characters
        return Order.of([UNKNOWN, *(number_of.get(one, UNKNOWN) for one in asked)])
    places = _places_of_targets(first, member)
    if mine.task == "regression":
        return Order.of(places)
    labels = [own.classes[place] for place in places]
    return Order.of(
        places, [1 if a == b else -1 for a, b in zip(mine.classes, labels, strict=True)]
    )


def _places_of_targets(first: Trained, member: Trained) -> list[int]:
    """Of each target, which of the member's it is; of forecasts all targets of a step come before those of the next."""
    asked, own = first.preprocessing.predicted, member.preprocessing.predicted
    count = first.spec.num_targets or first.spec.num_outputs
    if len(asked) < 2:
        return [*range(count)]
    places = places_in(asked, own)
    return [start + place for start in range(0, count, len(asked)) for place in places]


def refuse_others(first: Trained, member: Trained, names: tuple[str, str]) -> None:
    """Refuse a member that does not predict what the first one does; `names` are those of the two.

    Raises:
        ConfigError: naming both, and what differs.
    """
    if first.spec.task == "reconstruction":
        raise ConfigError(
            f"{names[0]} gives its inputs again, and reconstructions are not averaged; use it by itself"
        )
    for what, of in _ASKED.items():
        mine, own = of(first), of(member)
        if mine != own:
            raise ConfigError(
                f"{names[0]} and {names[1]} cannot be members of one ensemble, as their {what} differ: "
                f"{_shown(mine)} and {_shown(own)}; leave one of them out"
            )


def _classes(trained: Trained) -> Any:
    """By name, whatever their order; of several targets those of each."""
    spec = trained.spec
    if spec.labels:
        names = trained.preprocessing.predicted
        return {name: sorted(labels) for name, labels in zip(names, spec.classes, strict=True)}
    return sorted(spec.class_names)


_ASKED: dict[str, Callable[[Trained], Any]] = {
    "kinds of data": lambda one: kind_of(one.preprocessing, one.spec).units[one.spec.kind],
    "tasks": lambda one: one.spec.task,
    "targets": lambda one: sorted(one.preprocessing.predicted),
    "classes": _classes,
    "quantiles": lambda one: list(one.spec.quantiles),
    "links from scores to predictions": lambda one: one.spec.link,
    "horizons": lambda one: getattr(one.preprocessing, "horizon", None),
    "numbers of targets": lambda one: one.spec.num_targets,
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return listed(f"{name} ({', '.join(labels)})" for name, labels in value.items())
    return (listed(value, most=5) or "none") if isinstance(value, list) else str(value)
