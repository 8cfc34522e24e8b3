"""Texts of a file each in folders of classes."""

import pytest

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.text.folder import text_folder
from dlrun.data.text.tokens import TokenSettings
from dlrun.errors import ConfigError

TOKENS = TokenSettings("word", True, 1, None, None, True)


@pytest.fixture
def folder(tmp_path):
    """The layout of published review sets: two parts, texts without a class, and files that are no texts."""
    for part, count in (("train", 6), ("test", 2)):
        for name in ("neg", "pos"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                file = tmp_path / part / name / f"{number}_9.txt"
                file.write_text(f"{part} {name} {number}\n\nof two lines\n")
    return tmp_path


def read(path, **settings):
    return text_folder(
        **{
            "path": str(path),
            "test_path": None,
            "encoding": "utf-8",
            "memory_limit": 1.0,
            "tokens": TOKENS,
            **settings,
        }
    )


def test_a_file_is_a_text_and_its_folder_its_class(folder):
    raw = read(folder / "train")
    assert raw.class_names == ("neg", "pos") and raw.labels.tolist() == [0] * 6 + [1] * 6
    assert raw.texts[0] == "train neg 0\n\nof two lines" and raw.test_texts is None


def test_a_test_part_is_a_folder_beside_or_a_path_of_its_own(folder):
    for raw in (read(folder), read(folder / "train", test_path=str(folder / "test"))):
        assert len(raw.texts) == 12 and len(raw.test_texts) == 4
        assert raw.test_labels.tolist() == [0, 0, 1, 1]
        data = prepare(raw, DataSettings(0.25, 0.2, 0, "none", None))
        assert len(data.test) == 4  # whatever the fraction
    with pytest.raises(ConfigError, match=r"has a test/ of its own; set dataset\.path="):
        read(folder, test_path=str(folder / "test"))


def test_a_validation_part_of_its_own_is_taken_as_it_is(folder):
    (folder / "test").rename(folder / "Dev")
    raw = read(folder)
    data = prepare(raw, DataSettings(0.25, 0.25, 0, "none", None))
    assert raw.own == ("val",) and raw.val_labels.tolist() == [0, 0, 1, 1]
    assert [len(part) for part in (data.train, data.val, data.test)] == [8, 4, 4]
    assert raw.fingerprint("val", None)[0] == 4
    (folder / "Dev" / "new").mkdir()
    (folder / "Dev" / "new" / "1.txt").write_text("x")
    assert "the label new is not in the training part" in refusal(folder)


def test_what_is_no_text_of_a_class_is_left_out_and_counted(folder, capsys):
    for name in ("unsup/1.txt", "neg/README.md", "urls_pos.txt", "pos/empty.txt", "pos/old/1.txt"):
        file = folder / "train" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("" if "empty" in name else "x\n")
    assert len(read(folder).texts) == 12
    said = capsys.readouterr().err
    assert "unsup left out, 1 files without a class" in said
    assert "3 left out, for not being texts: urls_pos.txt, neg/README.md, pos/old" in said
    assert "1 left out, for being empty: pos/empty.txt" in said
    assert said.count("\n") == 3


def refusal(*words, **settings):
    with pytest.raises(ConfigError) as refused:
        read(*words, **settings)
    return str(refused.value)


def test_a_folder_of_another_form_is_refused(folder):
    assert "has 0 class folders" in refusal(folder / "train" / "neg")
    assert "a file; give a folder with one folder" in refusal(folder / "train" / "neg" / "0_9.txt")
    (folder / "train" / "new").mkdir()
    assert "new has no texts in it" in refusal(folder)


def test_a_file_in_another_encoding_is_named(folder):
    (folder / "train" / "pos" / "1_9.txt").write_bytes(b"caf\xe9\n")
    assert "1_9.txt, line 1, byte 4: 0xe9 is not utf-8" in refusal(folder)
    assert read(folder, encoding="latin-1").texts[7] == "café"
