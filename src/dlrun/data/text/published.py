"""Published collections of labelled texts, fetched once. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from dlrun.data.files import fetch
from dlrun.data.text.files import labelled_lines, lines_of, texts_of_class
from dlrun.data.text.texts import LabelledTexts, Texts, as_texts, joined_texts
from dlrun.data.text.tokens import TokenSettings

_REVIEWS = "https://raw.githubusercontent.com/dennybritz/cnn-text-classification-tf/master/data/rt-polaritydata"
_REVIEWS_MD5 = {
    "negative": ("neg", "efd38e162b1a4ede8fbf024de182eb4a"),
    "positive": ("pos", "819e2ab972d5f1314804c62921cf21a8"),
}
_TREC = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data"
_TREC_MD5 = {
    "train": "073462e3fcefaae31e00edb1f18d2d02",
    "test": "323a3554401d86e650717e2d2f942589",
}
# The coarse classes in words; the fine ones are named within theirs.
_COARSE = {
    "ABBR": "abbreviation", "DESC": "description", "ENTY": "entity", "HUM": "human",
    "LOC": "location", "NUM": "number",
}  # fmt: skip


def film_reviews(*, root: str, tokens: TokenSettings) -> Texts:
    """10,662 sentences from film reviews, half of them in favour and half against (Pang and Lee, 2005)."""
    rows = joined_texts(partial(_reviews, root))
    return as_texts("film_reviews", rows, tokens=tokens)


def trec(*, root: str, labels: Literal["coarse", "fine"], tokens: TokenSettings) -> Texts:
    """5,952 questions by what they ask for, of 6 classes or of 50; test part of 500 (Li and Roth, 2002)."""
    train, test = (joined_texts(partial(_questions, root, part, labels)) for part in _TREC_MD5)
    return as_texts("trec", train, test, tokens=tokens)


def _reviews(root: str) -> Iterator[LabelledTexts]:
    for name, (ending, md5) in _REVIEWS_MD5.items():
        yield from texts_of_class(name, _fetch_reviews(root, ending, md5), "utf-8")


def _fetch_reviews(root: str, ending: str, md5: str) -> Path:
    file = f"rt-polarity.{ending}"
    return fetch(root, f"text/rt-polarity/{file}", url=f"{_REVIEWS}/{file}", md5=md5)


def _questions(root: str, part: str, labels: str) -> Iterator[LabelledTexts]:
    """Lines such as `HUM:ind Who was Galileo ?`."""
    path = fetch(
        root, f"text/trec/TREC.{part}", url=f"{_TREC}/TREC.{part}.all", md5=_TREC_MD5[part]
    )
    for numbers, lines in lines_of(path, "latin-1"):
        parted = [line.partition(" ") for line in lines]
        names = (_class_name(label, labels) for label, _, _ in parted)
        yield labelled_lines(path, numbers, names, [question for _, _, question in parted])


def _class_name(label: str, labels: str) -> str:
    coarse, _, fine = label.partition(":")
    name = _COARSE.get(coarse, coarse)
    return name if labels == "coarse" else f"{name}: {fine}"
