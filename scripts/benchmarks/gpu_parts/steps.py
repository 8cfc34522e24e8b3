"""A step of MNIST's models in dlrun, against loops written by hand: with CUDA graphs, and eager ones."""

from __future__ import annotations

from statistics import median

from dlrun.training.loop import Engine
from gpu_parts.figures import note, tell
from gpu_parts.pace import Size, Steps, built, of_length, take_turns
from peer_programs import by_hand
from peer_programs.dlrun import MODELS
from peer_programs.graphed import GraphedSteps
from peer_programs.job import BATCH_SIZE, LEARNING_RATE

MNIST = f"dataset=mnist trainer.batch_size={BATCH_SIZE}"
_GRAPHS = {"graphed": 1, "many graphed": 50}  # steps in each


def measure(kind: str, case: str) -> None:
    """Tell how many times as long a step of dlrun takes as those by hand, and of eager ones the inverse."""
    size = Size.on(kind)
    words = " ".join([MNIST, *MODELS[case], f"trainer.accelerator={kind}"])
    engine = built(words, *of_length(size)).engine
    turns = take_turns(engine, _by_hand(engine, case), size)
    tell(f"{case} us", [1e6 * seconds for seconds in turns.own], "µs a step")
    for name, theirs in turns.theirs.items():
        tell(f"{case} {name} us", [1e6 * seconds for seconds in theirs], "µs a step")
        pairs = list(zip(turns.own, theirs, strict=True))
        if name == "eager":
            tell(f"{case} / eager", [other / own for own, other in pairs])
        else:
            tell(f"{case} / {name}", [own / other for own, other in pairs])
    note(f"{case}: {median(turns.own) * 1e6:.0f} µs a step, {len(turns.own)} turns of {size.block}")


def _by_hand(engine: Engine, case: str) -> dict[str, Steps]:
    train = engine.data.train
    data, where = (train.inputs, train.targets), train.inputs.device

    def model() -> object:
        return by_hand.MODELS[case]().to(where)

    loops: dict[str, Steps] = {
        "eager": by_hand.Steps(model(), data, batch_size=BATCH_SIZE, lr=LEARNING_RATE)
    }
    if where.type != "cuda":
        note("the loops by hand with CUDA graphs are left out: there are none on the CPU")
        return loops
    for name, length in _GRAPHS.items():
        try:
            loops[name] = GraphedSteps(
                model(), data, batch_size=BATCH_SIZE, lr=LEARNING_RATE, length=length
            )
        except RuntimeError as error:
            note(f"{case}, {name}: LOOK, the peer cannot be captured: {error}")
    return loops
