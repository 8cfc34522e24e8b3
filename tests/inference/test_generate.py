"""Text from a model: drawn by its chances, the same for the same seed."""

import pytest
import torch
from torch import nn

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.text.character_encoding import CharacterEncoding
from dlrun.data.text.characters import Characters
from dlrun.errors import ConfigError
from dlrun.inference.generate import Sampling, generate, sample_page, sample_tokens

ENCODING = CharacterEncoding(list("abcd"))
SCORES = torch.tensor([9.0, 1.0, 3.0, 2.0, 0.0])  # of unknown, a, b, c, d


class Fixed(nn.Module):
    """The same scores after any character; remembers what it was given."""

    def __init__(self, scores=SCORES):
        super().__init__()
        self.scores, self.read = nn.Parameter(scores), []

    def forward(self, x, state=None):
        self.read.append((x.tolist(), state))
        return self.scores.expand(*x.shape, -1), (torch.full((1, len(x)), float(len(self.read))),)


class Next(nn.Module):
    """After each letter the one that follows it in the alphabet, after d an a, without a doubt."""

    def forward(self, x, state=None):
        self.was_training = self.training
        return nn.functional.one_hot(x % 4 + 1, 5) * 100.0, ()

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def sampling(**changes):
    usual = {"length": 50, "temperature": 1.0, "top_k": None, "seed": 0}
    return Sampling(**usual | changes)


def test_a_text_goes_on_from_its_prompt_one_character_at_a_time():
    assert generate(Next(), ENCODING, "ca", sampling(length=6)) == ["cabcdabc"]
    model = Fixed()
    generate(model, ENCODING, "abc", sampling(length=3, temperature=0.0), number=2)
    assert [tokens for tokens, _ in model.read] == [[[1, 2, 3]] * 2, [[2]] * 2, [[2]] * 2]
    assert model.read[0][1] is None
    assert [float(state[0][0, 0]) for _, state in model.read[1:]] == [1.0, 2.0]


def test_a_prompt_is_read_as_after_an_empty_line_where_the_model_knows_line_breaks():
    model = Fixed(torch.arange(4.0))
    (text,) = generate(model, CharacterEncoding(list("\nab")), "ab", sampling(length=1), number=1)
    assert model.read[0][0] == [[1, 1, 2, 3]]
    assert text.startswith("ab")


def test_the_same_seed_gives_the_same_texts_and_another_gives_others():
    once = generate(Fixed(), ENCODING, "a", sampling(seed=3), number=3)
    torch.manual_seed(123)
    assert generate(Fixed(), ENCODING, "a", sampling(seed=3), number=3) == once
    assert generate(Fixed(), ENCODING, "a", sampling(seed=3), number=2) == once[:2]
    assert len({*once, *generate(Fixed(), ENCODING, "a", sampling(seed=4), number=3)}) == 6


def test_nothing_is_drawn_from_the_global_random_state():
    before = torch.get_rng_state()
    generate(Fixed(), ENCODING, "a", sampling())
    assert torch.equal(torch.get_rng_state(), before)


def test_at_temperature_zero_and_next_to_it_the_likeliest_character_comes():
    for temperature in (0.0, 1e-6, 1e-300):
        assert generate(Fixed(), ENCODING, "a", sampling(temperature=temperature)) == [
            "a" + "b" * 50
        ]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_characters_come_as_often_as_the_temperature_says_and_unknown_ones_never(temperature):
    count = 4000
    generators = [torch.Generator().manual_seed(0)] * count
    drawn = sample_tokens(SCORES.expand(count, -1), sampling(temperature=temperature), generators)
    expected = torch.softmax(SCORES[1:] / temperature, 0)
    found = drawn.flatten().bincount(minlength=5) / count
    assert found[0] == 0
    torch.testing.assert_close(found[1:], expected, rtol=0, atol=0.03)


def test_only_the_k_likeliest_are_drawn():
    (text,) = generate(Fixed(), ENCODING, "a", sampling(length=300, top_k=2, temperature=2.0))
    assert set(text[1:]) == set("bc")
    even = Fixed(
        torch.zeros(5)
    )  # of characters alike in their chances, no more than so many either
    assert len(set(generate(even, ENCODING, "a", sampling(length=300, top_k=2))[0][1:])) == 2
    (text,) = generate(Fixed(), ENCODING, "a", sampling(length=300, top_k=99, temperature=2.0))
    assert set(text[1:]) == set("abcd")


def test_a_text_ends_once_it_holds_what_it_was_to_go_on_until():
    assert generate(Next(), ENCODING, "ab", sampling(until="ab")) == ["abcdab"]
    texts = generate(Fixed(), ENCODING, "a", sampling(until="b"), number=5)
    assert all(text.index("b") == len(text) - 1 for text in texts)
    assert len(set(map(len, texts))) > 1


def test_without_a_prompt_a_text_begins_as_after_an_empty_line():
    model = Fixed(torch.arange(4.0))
    (text,) = generate(model, CharacterEncoding(list("\nab")), "", sampling(length=3))
    assert model.read[0][0] == [[1, 1]]
    assert len(text) == 3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("", "--prompt is empty, but the model knows no line breaks"), ("a+b!", "'\\+' '!'")],
)
def test_a_prompt_that_the_model_cannot_read_is_refused(prompt, words):
    with pytest.raises(ConfigError, match=words):
        generate(Fixed(), ENCODING, prompt, sampling())


@pytest.mark.parametrize("training", [True, False])
def test_the_model_writes_in_evaluation_mode_and_is_left_as_it_was(training):
    model = Next().train(training)
    generate(model, ENCODING, "a", sampling())
    assert model.training == training and not model.was_training


def test_a_page_begins_as_the_training_part_does():
    settings = DataSettings(0.1, 0.1, 0, "none", None)
    data = prepare(Characters("bacd" * 50, 4), settings)
    assert sample_page(Next(), data).startswith("    babcdabcd")
