"""What is read for a GPU: copied there and made ready on a stream of its own, while the training uses what came before.

As in "Use pinned memory buffers" of torch's notes on CUDA semantics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dlrun.data.loaders import sent


def copied_ahead(
    arrays: Iterator[np.ndarray], device: torch.device, change: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """What `change` makes of each array on `device`; the next one is under way when it is given."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    if stream is not None:  # what `change` knows may be on its way there
        stream.wait_stream(torch.cuda.current_stream(device))

    def begun() -> tuple[Tensor, torch.cuda.Event | None] | None:
        if (array := next(arrays, None)) is None:
            return None
        with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
            made = change(sent(torch.from_numpy(np.ascontiguousarray(array)), device))
        return made, None if stream is None else stream.record_event()

    coming = begun()
    while coming is not None:
        (made, done), coming = coming, begun()
        if done is not None:
            user = torch.cuda.current_stream(device)
            user.wait_event(done)
            made.record_stream(
                user
            )  # or its memory would be used again as soon as it is let go here
        yield made
