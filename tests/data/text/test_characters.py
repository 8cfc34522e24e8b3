"""A text as numbers: cut where it stands, known from its training part alone."""

import gzip
import math
from collections import Counter

import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.files import SAMPLES
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.data.text.character_encoding import CharacterEncoding
from dlrun.data.text.characters import Characters, char_lm
from dlrun.errors import ConfigError

TEXT = "abacabad" * 10 + "xyz" + "é\nà"


def settings(val=0.1, test=0.1, **changes):
    usual = {"split_seed": 0, "normalize": "none", "augment": None}
    return DataSettings(val_fraction=val, test_fraction=test, **usual | changes)


def made(text=TEXT, window=4, **changes):
    return prepare(Characters(text, window), settings(**changes))


def whole(split, encoding):
    return encoding.text(torch.cat([split.inputs, split.targets[-1:]]))


def test_the_parts_follow_one_another_as_the_text_does():
    text = "".join(chr(ord("a") + i % 26) for i in range(1000))
    data = made(text)
    parts = [whole(part, data.preprocessing) for part in (data.train, data.val, data.test)]
    assert "".join(parts) == text
    assert [len(part) for part in parts] == [810, 90, 100]


def test_targets_are_the_characters_that_come_next():
    data = made()
    assert torch.equal(data.train.inputs[1:], data.train.targets[:-1])
    assert len(data.train.inputs) == len(data.train.targets)


def test_characters_of_the_test_part_alone_are_unknown():
    data = made()
    assert data.preprocessing.characters == list("abcd")
    assert data.spec.vocabulary == data.spec.num_outputs == 5
    assert (data.test.targets[-6:] == 0).all()
    assert (data.train.inputs > 0).all() and data.preprocessing.unknown("baé!é") == ["é", "!"]


def test_how_many_characters_are_unseen_is_said_of_each_part(capsys):
    made()
    assert capsys.readouterr().err == (
        "dlrun: the text: 6 of 9 characters of the test part are unseen in training, and read as unknown\n"
    )
    made("ab" * 100 + "cd" * 10 + "ae" * 12)
    told = capsys.readouterr().err
    assert "20 of 22 characters of the validation part and 12 of 24 characters of the test" in told
    made("ab" * 100)
    assert capsys.readouterr() == ("", "")


def test_a_text_comes_back_from_its_numbers():
    encoding = CharacterEncoding(sorted("héllo wörld\n🎵"))
    assert encoding.text(encoding.inputs("wörld 🎵\n")) == "wörld 🎵\n"
    assert encoding.text(encoding.inputs("hEh")) == "h\N{REPLACEMENT CHARACTER}h"
    restored = preprocessing_from(encoding.to_dict())
    assert restored == encoding and restored.inputs("🎵").tolist() == [len(encoding.characters)]


def test_the_spec_says_how_much_is_read_at_once():
    spec = made(window=7).spec
    assert (spec.task, spec.kind, spec.input_shape) == ("language", "tokens", (7,))


def test_a_baseline_is_what_counting_characters_reaches_on_the_test_part():
    text = "aab" * 30 + "aba" * 4
    data, train = made(text), text[1:83]
    counts = Counter(train)
    chance = {name: (counts[name] + 1) / (len(train) + 3) for name in "ab"}
    tested = whole(data.test, data.preprocessing)[1:]
    expected = -sum(math.log(chance[c]) for c in tested) / len(tested)
    assert data.baselines["character frequencies"]["loss"] == pytest.approx(expected)
    assert data.baselines["pairs of characters"]["loss"] < expected


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        ("abcdefghij", {"window": 8}, "^the text holds 10 characters, which leaves 8 to train"),
        ("a" * 200, {}, "^the text has no character but 'a' in its training part"),
        ("a" * 180 + "b" * 20, {}, "nothing to predict"),
        ("abcdefghij" * 2, {"val": 0.05}, "2 in each other part"),
        (TEXT, {"test": None}, "dataset.test_fraction is null"),
        (TEXT, {"normalize": "standard"}, "dataset.normalize is standard"),
    ],
)
def test_a_text_that_cannot_be_cut_as_asked_is_refused(text, changes, words):
    with pytest.raises(ConfigError, match=words):
        made(text, **changes)


def test_a_file_is_read_packed_or_not(tmp_path):
    plain, packed = tmp_path / "plain.txt", tmp_path / "packed.gz"
    plain.write_bytes("às\r\nb".encode("latin-1"))
    packed.write_bytes(gzip.compress("às\nb".encode()))
    assert char_lm(path=str(plain), encoding="latin-1", window=3, memory_limit=1.0) == Characters(
        "às\nb", 3, str(plain)
    )
    assert char_lm(path=str(packed), encoding="utf-8", window=3, memory_limit=1.0).text == "às\nb"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"ab\nc\xff", r"line 2, byte 2: 0xff is not utf-8"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(content, words, tmp_path):
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        char_lm(path=str(file), encoding="utf-8", window=4, memory_limit=1.0)


@pytest.mark.parametrize(
    ("name", "size", "distinct"),
    [("shakespeare.txt.gz", 1115394, 65), ("irish_tunes.abc.gz", 197618, 83)],
)
def test_the_texts_that_ship_are_whole_and_their_origin_is_told(name, size, distinct):
    text = char_lm(path=f"packaged:{name}", encoding="utf-8", window=64, memory_limit=1.0).text
    assert (len(text), len(set(text))) == (size, distinct)
    assert f"## {name}" in (SAMPLES / "README.md").read_text()
