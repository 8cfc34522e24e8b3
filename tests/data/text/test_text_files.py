"""Labelled texts from files: every form, and every way in which a file can be wrong."""

import gzip

import pytest
import yaml

from dlrun.config.search_path import packaged_configs
from dlrun.data.text.files import text_csv, text_lines
from dlrun.data.text.published import film_reviews, trec
from dlrun.data.text.tokens import TokenSettings
from dlrun.errors import ConfigError

TOKENS = TokenSettings("word", True, 1, None, None, True)
LINES = "good\tA fine film .\nbad\tDull\tand long .\n\ngood\tMore , please !\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder):
    """(name, content) -> its path; content is text, or bytes as they are."""

    def make(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return make


def lines(path, **settings):
    defaults = {
        "test_path": None, "separator": "tab", "header": "auto", "encoding": "utf-8",
        "memory_limit": 1.0, "tokens": TOKENS,
    }  # fmt: skip
    return text_lines(path=path, **{**defaults, **settings})


def table(path, **settings):
    defaults = {
        "test_path": None, "text": "text", "label": "label", "header": "auto", "skip_lines": "auto",
        "comment": None, "delimiter": "auto",
        "encoding": "utf-8", "missing": ["", "nan", "None"], "merge_labels": True,
        "drop_missing_target": False, "memory_limit": 1.0, "tokens": TOKENS,
    }  # fmt: skip
    return text_csv(path=path, **{**defaults, **settings})


def test_a_line_is_a_label_a_separator_and_all_that_follows(write):
    for path in (write("a.tsv", LINES), write("a.tsv.gz", gzip.compress(LINES.encode()))):
        raw = lines(path)
        assert raw.texts == ["A fine film .", "Dull\tand long .", "More , please !"]
        assert raw.class_names == ("bad", "good") and raw.labels.tolist() == [1, 0, 1]
        assert raw.test_texts is None and raw.tokens is TOKENS


@pytest.mark.parametrize(
    "header", ["label\ttext", "Sentiment\tReview", '"class"\t"x"', "stance\ttweet", "# y\tsentence"]
)
def test_a_first_line_that_names_label_and_text_is_none(header, write, capsys):
    path = write("a.tsv", f"{header}\n{LINES}")
    assert lines(path).class_names == ("bad", "good") and len(lines(path).texts) == 3
    assert "a.tsv, line 1: " in capsys.readouterr().err
    assert len(lines(path, header=False).class_names) == 3
    assert not capsys.readouterr().err


def test_any_word_above_whole_numbers_is_a_header_and_header_true_needs_no_look(write):
    numbers = "0\tdull\n1\tfine\n0\tgrim\n"
    assert lines(write("a.tsv", f"polar\tmemo\n{numbers}")).class_names == ("0", "1")
    assert lines(write("a.tsv", f"none\tof these words\n{numbers}")).class_names == (
        "0",
        "1",
        "none",
    )
    assert len(lines(write("b.tsv", f"0\tgrey\n{numbers}"), header=True).texts) == 3


@pytest.mark.parametrize(
    "first", ["good\ttext", "odd\ta text of its own", "title\tnew\ntitle\told"]
)
def test_a_text_is_no_header(first, write, capsys):
    assert len(lines(write("a.tsv", f"{first}\n{LINES}")).texts) > 3
    assert not capsys.readouterr().err


def test_marks_of_files_put_together_are_no_part_of_a_label(write):
    text = "\ufeffgood\tfine\r\n\ufeffbad\tdull\r\ngood\tnice\r\n"
    raw = lines(write("a.tsv", text))
    assert raw.class_names == ("bad", "good") and raw.texts == ["fine", "dull", "nice"]


def test_signs_that_end_no_line_stay_in_the_text(write):
    raw = lines(write("a.tsv", "good\tone\x0ctwo\x85three\u2028four\nbad\tx\nbad\tשלום 😀\n"))
    assert raw.texts == ["one\x0ctwo\x85three\u2028four", "x", "שלום 😀"]


def test_labels_that_differ_in_capitals_are_said(write, capsys):
    lines(write("a.tsv", LINES + "Good\tx\n"))
    assert (
        "capitals alone, and are classes of their own: Good (1) and good (2)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(("separator", "sign"), [("space", " "), ("colon", ":"), ("||", "||")])
def test_other_separators(separator, sign, write):
    path = write("a.txt", LINES.replace("good\t", f"good{sign}").replace("bad\t", f"bad{sign}"))
    assert lines(path, separator=separator).texts[0] == "A fine film ."


def test_a_folder_or_a_list_is_one_file_a_class(write, folder, capsys):
    files = [write("films/good.txt", "fine\n\nnice\n"), write("films/bad.txt", "dull\n")]
    write("films/.hidden", "no class")
    for raw in (lines(str(folder / "films")), lines(files)):
        assert raw.class_names == ("bad", "good")
        assert sorted(zip(raw.texts, raw.labels.tolist(), strict=True)) == [
            ("dull", 0), ("fine", 1), ("nice", 1),
        ]  # fmt: skip
    assert ".hidden" in capsys.readouterr().err
    alike = [write("films/x.neg", "dull\n"), write("films/x.pos", "fine\nnice\n")]
    assert lines(alike).class_names == ("x.neg", "x.pos")


def test_what_lies_beside_the_classes_is_none_and_counted(write, folder, capsys):
    for name in (
        "good.txt",
        "bad.txt",
        "README",
        "LICENSE.txt",
        "notes.md",
        ".DS_Store",
        "old/x.txt",
    ):
        write(f"films/{name}", "a\nb\n")
    assert lines(str(folder / "films")).class_names == ("bad", "good")
    said = capsys.readouterr().err
    assert (
        "films: 5 left out, for not being texts: .DS_Store, LICENSE.txt, README and 2 more" in said
    )
    assert "dataset.path=[FILE,FILE]" in said
    for name in ("x.md", "y.md"):
        write(f"notes/{name}", "a\nb\n")
    assert lines(str(folder / "notes")).class_names == ("x", "y")


def test_a_folder_of_class_folders_points_to_the_option_for_it(write, folder):
    for name in ("pos", "neg"):
        write(f"films/{name}/1.txt", "x\n")
    assert "use dataset=text_folder" in refusal(lines, str(folder / "films"))


def test_a_test_part_has_the_numbers_of_the_training_labels(write):
    raw = lines(write("a.tsv", LINES), test_path=write("b.tsv", "good\tYes\n"))
    assert raw.test_texts == ["Yes"] and raw.test_labels.tolist() == [1]


def test_labels_that_are_whole_numbers_are_classes_in_their_order(write):
    assert lines(write("a", "10\ta\n9\tb\n-1\tc\n9\td\n")).class_names == ("-1", "9", "10")


def test_a_file_in_another_encoding_is_read_by_its_own(write):
    path = write("a.tsv", "good\tcafé\nbad\tthé\ngood\tx\n".encode("latin-1"))
    raw = lines(path, encoding="latin-1")
    assert raw.texts[0] == "café" and raw.file_encoding == "latin-1"


@pytest.mark.parametrize("text", ["text", 2, -1])
def test_columns_of_a_table_go_by_name_or_number(text, write):
    path = write("a.csv", 'label,text\ngood,"fine, really"\nbad,dull\ngood,nice\n')
    raw = table(path, text=text, label=1)
    assert raw.texts == ["fine, really", "dull", "nice"] and raw.labels.tolist() == [1, 0, 1]
    assert raw.column == text


def test_columns_are_joined_line_after_line_without_empty_cells(write):
    path = write("a.csv", "title,body,stars\nFine,A film,1\n,Dull,0\nNice,,1\n")
    raw = table(path, text=["title", 2], label="stars")
    assert raw.texts == ["Fine\nA film", "Dull", "Nice"]
    assert raw.layout.texts == ["title", "body"] and raw.layout.label == "stars"
    path = write("b.csv", "title,body,stars\nFine,A film,1\n,,0\nNice,,1\n")
    assert refusal(table, path, text=["title", "body"], label="stars").endswith(
        "b.csv, row 3, column title and body: there is no text; fill it in or take the row out"
    )
    assert "dataset.text[1] is bdy" in refusal(table, path, text=["title", "bdy"], label="stars")
    assert "dataset.text is []" in refusal(table, path, text=[], label="stars")


def refusal(call, *words, **settings):
    with pytest.raises(ConfigError) as refused:
        call(*words, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (" \n\n", "is empty"),
        ("good\tfine\nbad dull\n", "a.tsv, line 2: there is no tab between a label and a text"),
        ("good\tfine\n\nbad\t \n", "a.tsv, line 3: there is no text; fill it in or take the row out"),
        ("good\tfine\n\tdull\n", "a.tsv, line 2: there is no label"),
        ("good\tfine\ngood\tnice\n", "has a single class, good, but a classifier needs two"),
        ("good\tfine\nbad\tdull\n", "has a label of its own for each of its 2 texts, as in bad"),
        (b"good\tfine\nbad\tth\xe9\n", "a.tsv, line 2, byte 7: 0xe9 is not utf-8"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_place(content, words, write):
    assert words in refusal(lines, write("a.tsv", content))


def test_a_label_that_training_does_not_have_is_refused_with_the_nearest(write):
    test_path = write("b.tsv", "bad\tdull\ngod\tx\n")
    assert refusal(lines, write("a.tsv", LINES), test_path=test_path) == (
        f"{test_path}, line 2: the label god is not in the training part; did you mean good?"
    )


def test_missing_files_and_folders_with_one_class_are_refused(write, folder):
    write("films/good.txt", "x\n")
    assert "did you mean films?" in refusal(lines, str(folder / "flims"))
    assert "which holds 1 files, but there must be one for each of two classes" in refusal(
        lines, str(folder / "films")
    )
    missing = [str(folder / "films/good.txt"), str(folder / "films/god.txt")]
    assert refusal(lines, missing).startswith(f"dataset.path[1] is {missing[1]}, which does not")
    assert "separator is empty" in refusal(lines, write("a.tsv", LINES), separator="")


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ("label,text\ngood,fine\nbad\n", {}, "a.csv, row 3: its columns are 1"),
        ("label,text\ngood,fine\nbad,\n", {}, "a.csv, row 3, column text: there is no text"),
        ("label,text\ngood,fine\n,dull\n", {}, "a.csv: 1 of 2 rows have no label: row 3; set dataset.drop_"),
        ("label,text\ngood,fine\nbad,dull\n", {"text": "txet"}, "dataset.text is txet, which is no column"),
        ("label,text\ngood,fine\nbad,dull\n", {"text": "txet"}, "did you mean text?"),
        ("label,text\ngood,fine\nbad,dull\n", {"label": 3}, "dataset.label is 3, which is no column"),
        ("label,text\n", {}, "a header and no rows"),
        ("label,text\na,b\n", {"delimiter": "tab"}, "single column; set dataset.delimiter to what is"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_with_its_place(content, settings, words, write):
    assert words in refusal(table, write("a.csv", content), **settings)


@pytest.fixture
def published(write, folder):
    """The two published sets in their own form, with a few made-up rows."""
    write("text/rt-polarity/rt-polarity.pos", "a fine film . \nnice \n")
    write("text/rt-polarity/rt-polarity.neg", "dull . \n")
    questions = b"HUM:ind Who was Andr\xe9 ?\nLOC:city Where is Rome ?\nHUM:gr Who won ?\n"
    write("text/trec/TREC.train", questions + b"HUM:ind Who else ?\n")
    write("text/trec/TREC.test", b"LOC:city Where to ?\n")
    return str(folder)


def test_film_reviews_are_two_files(published):
    raw = film_reviews(root=published, tokens=TOKENS)
    assert raw.class_names == ("negative", "positive") and raw.labels.tolist() == [0, 1, 1]
    assert raw.texts == ["dull .", "a fine film .", "nice"]


def test_trec_has_coarse_or_fine_classes_and_a_test_part(published):
    coarse = trec(root=published, labels="coarse", tokens=TOKENS)
    assert coarse.class_names == ("human", "location")
    assert coarse.texts[0] == "Who was André ?" and coarse.labels.tolist() == [0, 1, 0, 0]
    assert coarse.test_texts == ["Where to ?"] and coarse.test_labels.tolist() == [1]
    fine = trec(root=published, labels="fine", tokens=TOKENS)
    assert fine.class_names == ("human: gr", "human: ind", "location: city")


def test_the_speeches_that_ship_are_read_alike_from_lines_and_from_a_table():
    speeches = lines("packaged:speakers.tsv.gz")
    columns = table("packaged:speakers.tsv.gz", text=2, label=1)
    assert len(speeches.texts) == 719 and len(speeches.class_names) == 5
    assert speeches.texts == columns.texts
    assert speeches.labels.tolist() == columns.labels.tolist()


def test_the_option_reads_a_table_of_ones_own_without_a_word_on_its_delimiter(write):
    options = yaml.safe_load((packaged_configs() / "dataset" / "text_csv.yaml").read_text())
    path = write("t.csv", 'review,stars\n"Fine, really",5\nDull,1\nNice,5\n')
    raw = table(path, text="review", label="stars", delimiter=options["delimiter"])
    assert raw.texts == ["Fine, really", "Dull", "Nice"]


def test_a_table_of_texts_is_read_below_comments_and_between_them(write):
    rows = "".join(f"// {n}\n#fine {n},{'pq'[n % 2]}\n" for n in range(6))
    raw = table(write("t.csv", f"// by x\ntext,label\n{rows}"), comment="slashes")
    assert raw.texts[:2] == ["#fine 0", "#fine 1"] and len(raw.texts) == 6
    raw = table(write("t.csv", "x\n" + rows), comment="slashes", skip_lines=1, text=1, label=2)
    assert len(raw.texts) == 6


def test_lines_of_another_kind_of_file_are_called_what_they_are(write):
    with pytest.raises(ConfigError, match="is JSON, not a table"):
        lines(write("t.tsv", '{"text": "a\tb"}\n'))
    with pytest.raises(ConfigError, match="is a zip archive"):
        lines(write("t.tsv", b"PK\x03\x04\x00\x00"))


def test_labels_of_a_table_are_equal_by_value_and_missing_ones_are_left_out(write, capsys):
    rows = [f"text {row},{['0', '0.0', '1', '1.0', 'NaN'][row % 5]}\n" for row in range(20)]
    path = write("t.csv", "text,label\n" + "".join(rows))
    assert "4 of 20 rows have no label: rows 6, 11, 16 and 1 more, NaN in 4; set" in refusal(
        table, path
    )
    test = write("test.csv", "text,label\nyes,1.00\nno,nan\n")
    raw = table(path, test_path=test, drop_missing_target=True)
    assert raw.class_names == ("0", "1") and raw.labels.tolist() == [0, 0, 1, 1] * 4
    assert raw.test_labels.tolist() == [1]
    err = capsys.readouterr().err
    assert "4 of 20 rows have no label and are left out: NaN in 4" in err
    assert "0 and 0.0, 1 and 1.0 are one class each; dataset.merge_labels=false" in err
    assert table(path, merge_labels=False, drop_missing_target=True).class_names == (
        "0",
        "0.0",
        "1",
        "1.0",
    )


def test_a_text_that_is_a_word_for_none_stays_with_a_line(write, capsys):
    raw = table(write("t.csv", "text,label\nnan,a\nNone,b\nfine,a\nbad,b\n"))
    assert raw.texts[:2] == ["nan", "None"]
    assert "2 texts are nan, None, a word for a missing value" in capsys.readouterr().err


def test_a_first_line_of_a_class_of_its_own_is_asked_about(write, capsys):
    body = "".join(f"{label}\tein Satz\n" for label in ("gut", "schlecht") * 3)
    raw = lines(write("a.tsv", "meinung\tinhalt\n" + body))
    assert len(raw.class_names) == 3
    assert "dataset.header=true" in capsys.readouterr().err


def test_a_text_must_not_hold_its_label(write):
    path = write("a.csv", "title,label\na,x\nb,y\nc,x\n")
    with pytest.raises(ConfigError, match=r"a column that dataset\.text names too"):
        table(path, text=["title", "label"], label="label")
