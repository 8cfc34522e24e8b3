"""What a user should know of labelled texts before they are trained on: said in a line each. No torch here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from dlrun.data.text.tokens import TokenizedTexts
from dlrun.errors import listed, note

# What lies beside texts and is none, by its name without an ending, or by its ending.
_DOCUMENTS = {
    "readme", "license", "licence", "copying", "notice", "authors", "changelog", "contributing", "citation",
    "sources", "desktop", "thumbs", "makefile",
}  # fmt: skip
_OTHER_KINDS = {
    ".md", ".rst", ".html", ".json", ".yaml", ".yml", ".toml", ".cff", ".ini", ".cfg", ".py", ".sh", ".ipynb",
    ".log", ".db", ".feat", ".pdf", ".doc", ".docx", ".png", ".jpg", ".jpeg", ".gif", ".zip", ".tar", ".tgz",
    ".7z", ".npy", ".npz", ".pt", ".pkl", ".bak", ".tmp", ".lock",
}  # fmt: skip
_BLANK = b" \t\r\n\f\v\xef\xbb\xbf"
_SMALL = 1024  # bytes, of a file that may be blank


def texts_in(folder: Path) -> list[Path]:
    """The files in a folder that hold texts, by name: without hidden ones, what describes them and other kinds."""
    files = sorted(one for one in folder.iterdir() if one.is_file() and one.name[0] != ".")
    files = [one for one in files if one.stem.lower() not in _DOCUMENTS]
    return [one for one in files if one.suffix.lower() not in _OTHER_KINDS] or files


def is_blank(file: Path) -> bool:
    """Whether a file of one text holds none."""
    size = file.stat().st_size
    return size == 0 or (size <= _SMALL and not file.read_bytes().strip(_BLANK))


def note_no_texts(folder: Path, left_out: Sequence[str], remedy: str) -> None:
    """Note what lies in a folder of texts and is not read, where there is any."""
    if left_out:
        note(
            f"{folder}: {len(left_out):,} left out, for not being texts: {listed(left_out)}; {remedy}"
        )


# Of a first line "label <separator> text", in any case: what columns of labels and of texts are commonly called.
_LABELS = {
    "label", "labels", "class", "classes", "category", "categories", "target", "targets", "sentiment",
    "polarity", "topic", "tag", "intent", "emotion", "rating", "stars", "score", "y", "v1", "class_label",
    "label_text", "language", "lang", "genre", "author", "stance",
}  # fmt: skip
_TEXTS = {
    "text", "texts", "sentence", "sentences", "review", "reviews", "tweet", "message", "comment", "content",
    "body", "document", "title", "question", "headline", "phrase", "utterance", "sms", "description",
    "speech", "quote", "summary", "string", "data", "x", "v2", "review_text", "sentence_text", "input",
}  # fmt: skip


def is_header(label: str, text: str, others: Collection[str]) -> bool:
    """Whether a first line names two columns: no other has its label, and one of the two is a usual name.

    Above labels that are whole numbers any word is a name, with one word beside it.

    Args:
        others: the labels of all other lines.
    """
    if label in others or not others:
        return False
    if _plain(label) in _LABELS or _plain(text) in _TEXTS:
        return True
    return len(text.split()) == 1 and not _is_whole(label) and all(map(_is_whole, others))


def could_be_header(label: str, text: str, others: Counter[str]) -> bool:
    """Whether a first line may name two columns in words of another language: one word each, of no other class."""
    one_word = len(text.split()) == 1 and len(label.split()) == 1
    return one_word and label not in others and min(others.values(), default=0) > 1


def note_labels_apart_by_case(source: str, counts: Counter[str]) -> None:
    """Note labels that differ only in capitals; `counts` is how often each comes."""
    alike = defaultdict(list)
    for label in counts:
        alike[label.casefold()].append(label)
    apart = [
        " and ".join(f"{label} ({counts[label]:,})" for label in sorted(group))
        for group in alike.values()
        if len(group) > 1
    ]
    if apart:
        note(
            f"{source} has labels that differ in capitals alone, and are classes of their own: {listed(apart)}; "
            "write them alike if they mean the same"
        )


def note_copies(texts: TokenizedTexts, train: np.ndarray, parts: Mapping[str, np.ndarray]) -> None:
    """Note texts of other parts that are, token by token, in the training part too.

    Args:
        train, parts: rows of the training part, and of others by their name.
    """
    hashes = texts.hashes()
    # Alike by their hash first: few texts have to be looked at token by token.
    of_train = np.sort(hashes[train])
    alike = {name: rows[_among(hashes[rows], of_train)] for name, rows in parts.items()}
    of_alike = np.sort(hashes[np.concatenate([*alike.values()])])
    wanted = train[_among(hashes[train], of_alike)]
    known = {texts.written(row) for row in wanted.tolist()}
    counts = {
        name: sum(texts.written(row) in known for row in rows.tolist())
        for name, rows in alike.items()
    }
    found = [
        f"{count:,} of {len(parts[name]):,} texts of the {name} part"
        for name, count in counts.items()
        if count
    ]
    if found:
        verb = "is" if sum(counts.values()) == 1 else "are"
        note(
            f"{' and '.join(found)} {verb} in the training part too, word for word, which flatters results: "
            "take copies out of the data"
        )


def _among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """(N,) whether each of the values is among the ordered ones; `np.isin` takes ten times as long."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    places = np.searchsorted(ordered, values)
    return np.asarray(ordered[np.minimum(places, len(ordered) - 1)] == values)


def _plain(name: str) -> str:
    return name.strip(" \"'#*").lower()


def _is_whole(label: str) -> bool:
    return label.removeprefix("-").isdecimal()
