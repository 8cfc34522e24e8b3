"""From texts to token ids: what a token is, which are known, and that only the training part decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.data.text.texts import Texts
from dlrun.data.text.tokens import TokenSettings, tokenize
from dlrun.errors import ConfigError

WORDS = {
    "level": "word", "lower": True, "min_count": 1, "max_vocabulary": None, "max_length": None,
    "bucketing": True,
}  # fmt: skip
SPLIT = DataSettings(0.25, 0.25, 0, "none", None)


def texts(count=24, classes=2, **settings):
    """Text i has the word `own<i>`, which no other has, and i % 5 times the word `common`."""
    return Texts(
        texts=[f"own{i}" + " common" * (i % 5) for i in range(count)],
        labels=np.arange(count) % classes,
        class_names=tuple("abc"[:classes]),
        tokens=TokenSettings(**{**WORDS, **settings}),
    )


@pytest.mark.parametrize(
    ("text", "settings", "tokens"),
    [
        ("Don't  stop: 3.5%!", {}, ["don't", "stop", ":", "3", ".", "5", "%", "!"]),
        ("’Tis O’Neill's", {}, ["’", "tis", "o’neill's"]),
        ("Été naïve 東京", {"lower": False}, ["Été", "naïve", "東京"]),
        ("A b!", {"level": "character"}, ["a", " ", "b", "!"]),
    ],
)
def test_tokens_are_words_with_their_apostrophes_and_single_signs_or_characters(
    text, settings, tokens
):
    assert tokenize(text, **{"level": "word", "lower": True, **settings}) == tokens


def test_the_vocabulary_and_the_length_are_those_of_the_training_part_alone():
    raw = texts()
    data = prepare(raw, SPLIT)
    vocabulary = data.preprocessing.vocabulary
    known = {f"own{i}" for i in range(24)} & set(vocabulary)
    assert len(known) == len(data.train) == 14
    assert data.spec.vocabulary == len(vocabulary) == 2 + 14 + 1
    assert vocabulary[2] == "common"  # the commonest first
    for part, first in ((data.train, range(3, 17)), (data.val, [1]), (data.test, [1])):
        assert set(part.inputs[:, 0].tolist()) == set(first)
    longest = max(len(text.split()) for text in raw.texts if text.split()[0] in known)
    assert data.spec.input_shape == (longest,) == (data.preprocessing.max_length,)


def test_texts_are_padded_at_the_end_and_cut_to_the_longest_of_training_or_less():
    data = prepare(texts(max_length=3), SPLIT)
    assert data.train.inputs.shape == (14, 3) and data.train.sample(2).dtype == torch.int64
    ids = data.preprocessing.inputs(["common", "new common own common common"])
    assert ids[0].tolist() == [2, 0, 0] and ids[1].tolist() == [1, 2, 1]
    assert torch.equal((data.train.inputs != 0).sum(1), data.train.lengths)


def test_one_text_out_of_all_proportion_decides_neither_length_nor_vocabulary():
    raw = texts(count=60)
    long = [*raw.texts[:-1], " ".join(f"w{i}" for i in range(40_000))]
    raw = replace(raw, texts=long, test_texts=["own0"], test_labels=np.array([0]))
    data = prepare(raw, DataSettings(0.1, None, 1, "none", None))
    assert data.train.inputs.shape[1] == data.preprocessing.max_length == 512
    assert len(data.preprocessing.vocabulary) < 600


def test_copies_in_other_parts_are_counted(capsys):
    raw = texts(count=24)
    prepare(raw, SPLIT)
    assert not capsys.readouterr().err
    raw = replace(
        raw,
        test_texts=["OWN0", "own1 common", "new", *raw.texts[5:7]],
        test_labels=np.array([0, 1, 0, 1, 0]),
    )
    data = prepare(raw, DataSettings(0.1, None, 1, "none", None))
    said = capsys.readouterr().err
    copies = sum((data.train.inputs == row).all(1).any().item() for row in data.test.inputs)
    assert (
        copies > 1
        and f"{copies} of 5 texts of the test part are in the training part too, word for word"
        in said
    )


def test_a_part_has_lengths_only_for_bucketing():
    assert prepare(texts(bucketing=False), SPLIT).train.lengths is None


@pytest.mark.parametrize("settings", [{"min_count": 2}, {"max_vocabulary": 1}])
def test_rare_words_are_unknown_where_that_is_asked_for(settings):
    assert prepare(texts(**settings), SPLIT).preprocessing.vocabulary[2:] == ["common"]


def test_a_count_that_no_word_reaches_is_refused():
    with pytest.raises(ConfigError) as refused:
        prepare(texts(min_count=500), SPLIT)
    assert str(refused.value).startswith(
        "dataset.tokens.min_count is 500, but the training part has no token so often: the commonest comes "
    )


def test_normalising_words_is_refused():
    with pytest.raises(
        ConfigError, match="normalize is standard, but words have no mean; set it to none"
    ):
        prepare(texts(), DataSettings(0.25, 0.25, 0, "standard", None))


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (3, 3)])
def test_the_spec_tells_of_tokens_and_classes(classes, outputs):
    data = prepare(texts(classes=classes), SPLIT)
    spec = data.spec
    assert (spec.kind, spec.num_outputs, spec.num_classes) == ("tokens", outputs, classes)
    assert data.train.targets.dtype == (torch.float32 if classes == 2 else torch.int64)
    part = [number for number in data.train.targets.long().tolist()]
    assert max(map(part.count, range(classes))) - min(map(part.count, range(classes))) <= 1


def test_what_a_new_text_goes_through_is_kept_as_plain_values():
    encoding = prepare(texts(), SPLIT).preprocessing
    again = preprocessing_from(encoding.to_dict())
    assert again == encoding
    assert torch.equal(again.inputs(["common own0 new"]), encoding.inputs(["common own0 new"]))
