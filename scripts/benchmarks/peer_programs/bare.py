"""The limit: tensors in memory, a loop written by hand, fused Adam, and nothing else."""

from __future__ import annotations

import torch

from peer_programs import by_hand, job, mnist


def main() -> None:
    """Train and test."""
    work, watch = job.read()
    torch.manual_seed(work.seed)
    parts = {
        name: [
            torch.from_numpy(read(work.data, name)).to(work.accelerator)
            for read in (mnist.images, mnist.labels)
        ]
        for name in ("train", "t10k")
    }
    (inputs, targets), (test_inputs, test_targets) = parts["train"], parts["t10k"]
    inputs, test_inputs = inputs[:, None], test_inputs[:, None]
    held_out = len(targets) - job.VALIDATION
    model = by_hand.MODELS[work.case]().to(work.accelerator)
    optimizer = torch.optim.Adam(model.parameters(), lr=job.LEARNING_RATE, fused=True)
    watch.begin()
    by_hand.train(
        model,
        optimizer,
        (inputs[:held_out], targets[:held_out]),
        (inputs[held_out:], targets[held_out:]),
        epochs=work.epochs,
        batch_size=job.BATCH_SIZE,
        stepped=watch.stepped,
    )
    watch.end()
    watch.report(by_hand.accuracy(model, (test_inputs, test_targets)))


if __name__ == "__main__":
    main()
