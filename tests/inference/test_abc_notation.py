"""What is a tune in ABC notation, and what only looks like one."""

import random
import re

import pytest

from dlrun.data.files import SAMPLES
from dlrun.data.text_files import read_text
from dlrun.inference.abc_notation import NotATune, parse_tune

HEADER = "X:1\nT:A tune\nM:6/8\nL:1/8\nK:G Major\n"
TUNE = HEADER + "GAB ~c2d|(3efg a2 b|[M:9/8] ^f=c_B, z2 A/2B//|1 [Ac]3-A3:|2 G>A B<c (de)|]\n"


def tunes():
    text = read_text(SAMPLES / "irish_tunes.abc.gz", "utf-8")
    return re.split(r"\n(?=X:)", text)


def test_a_tune_is_read():
    tune = parse_tune(TUNE)
    assert (tune.title, tune.key, tune.bars) == ("A tune", "G Major", 5)
    assert tune.notes == 23


def test_nearly_all_real_tunes_are_read():
    read = 0
    for text in tunes():
        try:
            parse_tune(text.strip("\n"))
            read += 1
        except NotATune:
            continue
    assert len(tunes()) == 804
    assert read >= 0.99 * 804


@pytest.mark.parametrize(
    ("music", "notes"),
    [
        ("A,,2 c''/ B3/2 | d4 |", 4), ("{g}A {/fg}B | c |", 3), ('"Am"ABc "^slowly"d|', 4),
        ("!trill!A2 vB uc Td .e|", 5), ("|: A :: B :|", 2), ("[1 A :|[2 B ||", 2), ("|:A B:|]", 2),
        ("A B|!\nc d|!", 4), ("A B|\\\nc d|", 4), ("A2 % a comment|\nB|", 2), ("K:D\nABc|\nM:C|\nd|", 4),
        ("[K:D Minor]ABc|", 3), ("((AB)c)|", 3), ("(3:2:2 A2 B|", 2), ("A- A|z4|x2|", 2),
    ],
)  # fmt: skip
def test_what_the_notation_offers_is_music(music, notes):
    assert parse_tune(HEADER + music).notes == notes


@pytest.mark.parametrize(
    ("music", "words"),
    [
        ("Once upon a time|", "line 6, column 2: 'nce upon'"),
        ("ABC&|", "no music"),
        ("ABC", "3 notes and 0 bar lines"),
        ("||: z2 :||", "0 notes"),
        ("", "0 notes"),
        ("A [BC|", "no music"),
        ("A {B c|", "no music"),
        ('A "Am B|', "no music"),
        ("A ) B|", "never opened"),
        ("(A B|", "never closed"),
        ("| - A|", "follows no note"),
        ("|> A|", "follows no note"),
        ("A>|", "where a note should be"),
        ("ABC|(3", "middle of a group"),
        ("A|\nQuick: B|", "no music"),
        ("A|\nX:2\nB|", "X:, which cannot stand there"),
        ("A|[M:whatever]B|", "M:whatever, which means nothing"),
    ],
)
def test_what_is_no_music_is_told_with_its_place(music, words):
    with pytest.raises(NotATune, match=re.escape(words)):
        parse_tune(HEADER + music)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("T:x\nX:1\nK:G\n", "begins with X:"),
        ("X:1\nK:G\n", "no T:"),
        ("X:1\nT:x\n", "stands before K:"),
        ("X:one\nT:x\nK:G\n", "X:one"),
        ("X:1\nT:x\nM:three\nK:G\n", "M:three"),
        ("X:1\nT:x\nK:H\n", "K:H"),
        ("X:1\nT:x\nK:g Major\n", "K:g"),
        ("X:1\nT:x\nL:eighth\nK:G\n", "L:eighth"),
        ("X:1\nX:2\nT:x\nK:G\n", "one only"),
        ("X:1\nT:x\nw:la la\nK:G\n", "w:, which cannot"),
    ],
)
def test_a_header_that_is_none_is_refused(header, words):
    with pytest.raises(NotATune, match=re.escape(words)):
        parse_tune(header + "ABc|")


def test_a_text_of_the_same_characters_in_another_order_is_no_tune():
    rng = random.Random(0)
    for text in tunes()[:50]:
        header, body = text.strip("\n").split("K:")[0], list(text)
        rng.shuffle(body)
        with pytest.raises(NotATune):
            parse_tune(header + "K:G\n" + "".join(body))
