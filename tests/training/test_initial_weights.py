"""Which weights of another run a model takes: by name and shape, tokens and categories by what they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.tables.encoding import TableEncoding
from dlrun.data.text.character_encoding import CharacterEncoding
from dlrun.data.text.encoding import TextEncoding
from dlrun.models.bag_of_words import BagOfWords
from dlrun.models.columns import Embedded
from dlrun.models.language import RecurrentLanguageModel
from dlrun.training.axis_labels import Known, labels
from dlrun.training.initial_weights import transfer


def conv_net(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


def taken_from(
    old: nn.Module, new: nn.Module, ours: Known, theirs: Known
) -> tuple[dict[str, str], list[str]]:
    return transfer(new, old.state_dict(), labels(new, ours, theirs))


def texts(*words: str, level: Any = "word") -> Known:
    vocabulary = ["", "?", *words]
    encoding = TextEncoding(vocabulary, level, True, 9, "utf-8", None)
    return Known(
        Spec("multiclass", "tokens", (9,), 3, ("a", "b", "c"), vocabulary=len(vocabulary)), encoding
    )


def characters(text: str) -> Known:
    size = len(text) + 1
    spec = Spec("language", "tokens", (9,), size, vocabulary=size)
    return Known(spec, CharacterEncoding([*text]))


def columns(levels: dict[str, list[str | None]], other: list[bool]) -> Known:
    counts = tuple(
        len(words) + 1 + rare for words, rare in zip(levels.values(), other, strict=True)
    )
    names = ("age", *levels)
    spec = Spec("regression", "features", (len(names),), 1, (), names, counts)
    encoding = TableEncoding({}, [0.0], [0.0], [1.0], [*levels.values()], [0.0], [1.0], other)
    return Known(spec, encoding)


def language_model(known: Known, **settings: Any) -> RecurrentLanguageModel:
    usual = {
        "cell": "gru", "embedding_size": 5, "hidden_size": 5, "layers": 1, "input_dropout": 0.0, "dropout": 0.0,
        "tied": False, "layer_norm": "none", "residual": False, "forget_bias": 0.0, "init": "default",
    }  # fmt: skip
    return RecurrentLanguageModel(known.spec, **(usual | settings))


def nothing() -> Known:
    return Known(Spec("multiclass", "features", (4,), 3), Scaling([0.0], [1.0], [], [], 0.0))


def test_what_has_the_same_name_and_shape_is_taken_with_running_statistics_and_the_rest_stays() -> (
    None
):
    old, new = conv_net(3), conv_net(5)
    with torch.no_grad():
        for tensor in old.state_dict().values():
            tensor.add_(1)
    head = {name: t.clone() for name, t in new.state_dict().items() if name.startswith("2.")}
    taken, fresh = taken_from(old, new, nothing(), nothing())
    assert list(taken) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert fresh == ["2.weight", "2.bias"]
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, head[name] if name in head else old.state_dict()[name])


def test_words_take_the_vectors_that_they_had_wherever_they_stand() -> None:
    theirs, ours = texts("the", "cat", "sat"), texts("sat", "dog", "the", "mat")
    old = BagOfWords(theirs.spec, embedding_size=6, dropout=0.0, init="default")
    new = BagOfWords(ours.spec, embedding_size=6, dropout=0.0, init="default")
    before = new.embedding.vectors.weight.detach().clone()
    taken, _ = taken_from(old, new, ours, theirs)
    there, here = old.embedding.vectors.weight, new.embedding.vectors.weight
    assert taken["embedding.vectors.weight"] == "4 of 6"  # two words, padding, and unknown words
    for place, source in {0: 0, 1: 1, 2: 4, 4: 2}.items():
        assert torch.equal(here[place], there[source])
    assert torch.equal(here[[3, 5]], before[[3, 5]])


def test_a_vocabulary_of_the_same_size_is_not_taken_place_by_place() -> None:
    theirs, ours = texts("red", "green"), texts("green", "red")
    old = BagOfWords(theirs.spec, embedding_size=6, dropout=0.0, init="default")
    new = BagOfWords(ours.spec, embedding_size=6, dropout=0.0, init="default")
    taken_from(old, new, ours, theirs)
    there, here = old.embedding.vectors.weight, new.embedding.vectors.weight
    assert torch.equal(here[[2, 3]], there[[3, 2]])


def test_a_letter_takes_nothing_of_the_word_that_is_written_alike() -> None:
    theirs, ours = texts("a", "b"), texts("a", "b", level="character")
    old = BagOfWords(theirs.spec, embedding_size=6, dropout=0.0, init="default")
    new = BagOfWords(ours.spec, embedding_size=6, dropout=0.0, init="default")
    taken, _ = taken_from(old, new, ours, theirs)
    assert taken["embedding.vectors.weight"] == "2 of 4"  # padding and unknown


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_takes_vectors_and_scores_by_character(tied: bool) -> None:
    theirs, ours = characters("abc"), characters("bcd")
    old, new = language_model(theirs, tied=tied), language_model(ours, tied=tied)
    taken, fresh = taken_from(old, new, ours, theirs)
    assert not fresh and taken["head.bias"] == "3 of 4"
    for name in ("embedding.weight", "head.weight", "head.bias"):
        here, there = new.state_dict()[name], old.state_dict()[name]
        assert torch.equal(here[[0, 1, 2]], there[[0, 2, 3]])
    assert (new.head.weight is new.embedding.weight) == tied  # type: ignore[union-attr]


def test_one_hot_characters_take_the_columns_of_the_first_layer() -> None:
    theirs, ours = characters("abc"), characters("dcb")
    old = language_model(theirs, embedding_size=None)
    new = language_model(ours, embedding_size=None)
    taken_from(old, new, ours, theirs)
    here, there = (m.state_dict()["layers.0.weight_ih_l0"] for m in (new, old))
    assert torch.equal(here[:, [0, 2, 3]], there[:, [0, 3, 2]])


def test_categories_are_taken_by_column_and_word() -> None:
    theirs = columns({"day": ["Sun", "Mon"], "sex": ["f", "m", None]}, [False, True])
    ours = columns(
        {"sex": [None, "m", "x"], "town": ["A"], "day": ["Mon", "Tue"]}, [True, False, False]
    )
    old, new = Embedded(theirs.spec, size=3), Embedded(ours.spec, size=3)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    taken, fresh = taken_from(old, new, ours, theirs)
    here, there = new.state_dict(), old.state_dict()
    # Of sex: never seen, missing, m and the rare ones; x is new.
    assert torch.equal(
        here["tables.0.weight"][[0, 1, 2, 4]], there["tables.1.weight"][[0, 3, 2, 4]]
    )
    assert torch.equal(here["tables.0.weight"][3], before["tables.0.weight"][3])
    assert torch.equal(here["tables.2.weight"][1], there["tables.0.weight"][2])  # Mon
    assert fresh == ["tables.1.weight"] and list(taken) == ["tables.0.weight", "tables.2.weight"]


def test_weights_are_taken_in_the_precision_of_the_run() -> None:
    old, new = conv_net(3), conv_net(3).double()
    taken_from(old, new, nothing(), nothing())
    weight: Tensor = new.state_dict()["0.weight"]
    assert weight.dtype == torch.float64 and torch.equal(
        weight, old.state_dict()["0.weight"].double()
    )
