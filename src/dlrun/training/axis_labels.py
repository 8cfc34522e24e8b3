"""What the places along an axis of a tensor stand for: tokens of a vocabulary, or the categories of a column."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dlrun.data.base import Preprocessing, Spec
from dlrun.models.columns import Embedded

Labels = Sequence[Hashable]


@dataclass(frozen=True)
class Labelled:
    """A tensor with an axis along which places stand for tokens or categories, and its place in the other run."""

    source: str
    axis: int
    ours: Labels
    theirs: Labels


@dataclass(frozen=True)
class Known:
    """What a run knows of its data: what the places along an axis stand for follows from it."""

    spec: Spec
    preprocessing: Preprocessing

    @property
    def columns(self) -> Mapping[str, Labels]:
        """The columns of a table by name, with the codes of those that are categories."""
        return dict.fromkeys(self.spec.feature_names, ()) | _categories(self)


def labels(model: nn.Module, ours: Known, theirs: Known) -> dict[str, Labelled]:
    """By name, the tensors of `model` with an axis of tokens or categories, and what its places stand for in both."""
    found: dict[str, Labelled] = {}
    tokens, other_tokens = _tokens(ours.preprocessing), _tokens(theirs.preprocessing)
    if tokens and other_tokens:
        for name, axis in _axes_of_tokens(model, ours.spec):
            found[name] = Labelled(name, axis, tokens, other_tokens)
    categories, other_categories = _categories(ours), _categories(theirs)
    places = {column: place for place, column in enumerate(other_categories)}
    for path, module in model.named_modules():
        if isinstance(module, Embedded):
            for place, (column, levels) in enumerate(categories.items()):
                source = places.get(column)
                there = f"{path}.tables.{source}.weight".lstrip(".") if source is not None else ""
                name = f"{path}.tables.{place}.weight".lstrip(".")
                found[name] = Labelled(there, 0, levels, other_categories.get(column, ()))
    return found


def _axes_of_tokens(model: nn.Module, spec: Spec) -> Iterator[tuple[str, int]]:
    """Each tensor with an axis of tokens, and which: of vectors, of a language model's scores and one-hot inputs."""
    size, embedded = spec.vocabulary, False
    last: str | None = None
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == size:
            embedded = True
            yield f"{path}.weight", 0
        if isinstance(module, nn.Linear) and module.out_features == size:
            last = path
    if not spec.carries_state:
        return
    if last is not None:
        yield f"{last}.weight", 0
        yield f"{last}.bias", 0
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase) and module.input_size == size and not embedded:
            yield f"{path}.weight_ih_l0", 1
            return


def _tokens(preprocessing: Preprocessing) -> Labels:
    """What each token is, by number, with the level of texts, since a letter is not a word of one letter."""
    if characters := preprocessing.token_names:
        return ["unknown", *(("character", one) for one in characters)]
    vocabulary, level = (
        getattr(preprocessing, "vocabulary", ()),
        getattr(preprocessing, "level", None),
    )
    special = ["padding", "unknown"]
    return [*special, *((level, word) for word in vocabulary[len(special) :])] if vocabulary else []


def _categories(known: Known) -> dict[str, Labels]:
    """Of each column of categories, what each code is: never seen, the words, and all that are rare."""
    levels = getattr(known.preprocessing, "levels", [])
    other = getattr(known.preprocessing, "other", []) or [False] * len(levels)
    names = known.spec.feature_names[len(known.spec.feature_names) - len(levels) :]
    each = zip(names, levels, other, strict=True)
    return {
        name: [(0, None), *((1, word) for word in words), *([(2, None)] if rare else [])]
        for name, words, rare in each
    }
