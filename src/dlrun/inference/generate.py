"""New text from a language model: one character after the other, each sampled by its probability.

Shapes: M texts side by side, T time, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlrun.data.base import Dataset
from dlrun.data.text.character_encoding import UNKNOWN, CharacterEncoding
from dlrun.errors import ConfigError

_PROMPT, _SAMPLE, _TEMPERATURE = 2, 400, 0.8  # of a page in TensorBoard: length, how sampled
# Read before any prompt: most that begins does so after an empty line, and without it the model would
# know as little of where it is as at the beginning of a stream, which is anywhere.
_BEFORE = "\n\n"
_SPREAD = 0x9E3779B97F4A7C15  # keeps the seeds of neighbouring texts apart


@dataclass(frozen=True)
class Sampling:
    """How characters are sampled.

    Attributes:
        length: characters a text at most, after its prompt.
        temperature: scores are divided by it: 0 always takes the likeliest, 1 is what was learned.
        top_k: only so many of the likeliest may be sampled; None is all.
        until: a text ends once it holds this after its prompt; None or "" is never.
    """

    length: int
    temperature: float
    top_k: int | None
    seed: int
    until: str | None = None


def generate(
    model: nn.Module,
    encoding: CharacterEncoding,
    prompt: str,
    sampling: Sampling,
    *,
    number: int = 1,
) -> list[str]:
    """`number` texts that begin with `prompt`, read as after an empty line, or as texts do there where it is empty.

    They are the same for the same seed, and the first ones whatever the number. The model is put into
    evaluation mode for this.

    Raises:
        ConfigError: the prompt has characters that the model has never seen; or it is empty, and the
            model knows no line breaks.
    """
    start = _encoded(encoding, prompt)
    generators = [
        torch.Generator().manual_seed((sampling.seed * _SPREAD + text) % 2**63)
        for text in range(number)
    ]
    texts = [""] * number
    training = model.training
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        tokens, state = start.expand(number, -1).to(device), None
        for _ in range(sampling.length):
            scores, state = model(tokens, state)
            sampled = sample_tokens(scores[:, -1].float().cpu(), sampling, generators)
            texts = [
                text if _ended(text, sampling) else text + encoding.text(one)
                for text, one in zip(texts, sampled, strict=True)
            ]
            if all(_ended(text, sampling) for text in texts):
                break
            tokens = sampled.to(device)
    model.train(training)
    return [prompt + text for text in texts]


def sample_page(model: nn.Module, data: Dataset) -> str:
    """What the model writes after the first characters of the training part, in Markdown."""
    encoding = data.preprocessing
    assert isinstance(encoding, CharacterEncoding)
    prompt = encoding.text(data.train.inputs[:_PROMPT])
    sampling = Sampling(length=_SAMPLE, temperature=_TEMPERATURE, top_k=None, seed=0)
    (text,) = generate(model, encoding, prompt, sampling)
    # Four spaces a line, since a text may hold a fence itself.
    return "".join(f"    {line}\n" for line in text.split("\n"))


def sample_tokens(
    scores_MV: Tensor, sampling: Sampling, generators: list[torch.Generator]
) -> Tensor:
    """The next token of each text, (M, 1); never the one that stands for unknown characters."""
    scores = scores_MV.to(torch.float64, copy=True)
    scores[:, UNKNOWN] = -torch.inf
    if sampling.temperature == 0:
        return scores.argmax(1, keepdim=True)
    if sampling.top_k is not None and sampling.top_k < scores.shape[1]:
        likeliest = scores.topk(sampling.top_k)
        nothing = torch.full_like(scores, -torch.inf)
        scores = nothing.scatter(1, likeliest.indices, likeliest.values)
    # The largest score as 0 first: a small temperature would make large ones infinite.
    chances = ((scores - scores.amax(1, keepdim=True)) / sampling.temperature).softmax(1)
    rows = zip(chances, generators, strict=True)
    return torch.stack([torch.multinomial(row, 1, generator=generator) for row, generator in rows])


def _encoded(encoding: CharacterEncoding, prompt: str) -> Tensor:
    before = "" if encoding.unknown(_BEFORE) else _BEFORE
    if not before + prompt:
        raise ConfigError(
            "--prompt is empty, but the model knows no line breaks after which to begin; give a character or more, "
            f"of {''.join(encoding.characters)!r}"
        )
    if unknown := encoding.unknown(prompt):
        shown = " ".join(map(repr, unknown))
        raise ConfigError(
            f"--prompt has {shown}, which the model has never seen; it knows {''.join(encoding.characters)!r}"
        )
    return encoding.inputs(before + prompt).unsqueeze(0)


def _ended(text: str, sampling: Sampling) -> bool:
    return bool(sampling.until) and str(sampling.until) in text
