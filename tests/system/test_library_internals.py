"""Private parts of torch and Hydra: named in one module each, and there in the versions that are installed."""

import ast
import gc
import inspect
import os
import sys
import weakref
from contextlib import redirect_stdout
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn

import dlrun
from dlrun.cli import main
from dlrun.config import hydra_internals
from dlrun.system import torch_internals

HOUSE = Path(dlrun.__file__).parent
BEHIND = {HOUSE / "config/hydra_internals.py", HOUSE / "system/torch_internals.py"}


def changed(library: str, module: str) -> str:
    return f"{library} {version(library)} has changed a private part that dlrun uses: mend {module}"


def private_names(file: Path) -> list[str]:
    """Dotted names of torch and Hydra in a module of which a part is private."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
    return [
        name
        for name in found
        if name.replace(".", "").isidentifier()
        and name.partition(".")[0] in ("torch", "nn", "hydra", "torchvision", "tensorboard")
        and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]


def test_private_parts_of_torch_and_hydra_are_named_in_one_module_each():
    assert all(private_names(file) for file in BEHIND)
    elsewhere = {str(f): private_names(f) for f in HOUSE.rglob("*.py") if f not in BEHIND}
    assert not {file: names for file, names in elsewhere.items() if names}


@pytest.fixture
def torch_changed():
    return changed("torch", "dlrun/system/torch_internals.py")


def test_torch_moves_many_tensors_in_one_call(torch_changed):
    gradients = [torch.ones(2), torch.zeros(3)]
    weights = [torch.tensor([2.0, -2.0]), torch.zeros(3)]
    torch_internals.add_signs(gradients, weights, factor=0.5)
    assert gradients[0].tolist() == [1.5, 0.5], torch_changed
    torch_internals.copy_all([weights[1]], [torch.zeros(3)])
    assert [float(n) for n in torch_internals.norms(weights)] == [pytest.approx(8**0.5), 0.0]


def test_torch_has_the_fused_step_of_adam(torch_changed):
    moved, one = torch.zeros(3), torch.ones(3)
    torch_internals.fused_adam(
        [moved], [one], [torch.zeros(3)], [torch.zeros(3)], [], [torch.tensor(1.0)], lr=1.0,
        beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
    )  # fmt: skip
    assert torch.allclose(moved, -one), torch_changed


def test_torch_says_whether_vmap_is_at_work(torch_changed):
    seen = []

    def look(x):
        seen.append((torch_internals.in_torch_func(), torch_internals.is_wrapped(x)))
        return x

    look(torch.ones(2))
    torch.vmap(look)(torch.ones(2))
    assert seen == [(False, False), (True, True)], torch_changed


def test_torch_keeps_the_scale_of_losses_where_it_changes_it(torch_changed):
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    assert torch_internals.loss_scale(torch.amp.GradScaler("cpu", enabled=False)) == []
    assert torch_internals.loss_scale(scaler) == []
    scaler.scale(weight.sum()).backward()
    scale, steps = torch_internals.loss_scale(scaler)
    assert (scale.item(), steps.item()) == (4.0, 0), torch_changed
    scaler.step(optimizer)
    scaler.update()
    assert scale.item() == 8.0, torch_changed


def test_torch_shows_its_operations_and_which_of_them_are_views(torch_changed):
    class Seeing(torch_internals.DispatchMode):
        views: list[bool] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.views.append(torch_internals.is_view(func))
            return func(*args, **(kwargs or {}))

    with Seeing():
        torch.ones(4).view(2, 2).add_(1)
    assert Seeing.views == [False, True, False], torch_changed


def test_torch_takes_trees_of_tensors_apart(torch_changed):
    leaves, structure = torch_internals.tree_flatten((1, [2, (3,)]))
    assert torch_internals.tree_leaves((1, [2, (3,)])) == leaves == [1, 2, 3], torch_changed
    assert torch_internals.tree_unflatten([4, 5, 6], structure) == (4, [5, (6,)]), torch_changed


def test_torch_warns_of_no_step_outside_a_graph_by_the_name_that_is_set(torch_changed):
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(1))])
    assert optimizer._warned_capturable_if_run_uncaptured is True, torch_changed
    optimizer._warned_capturable_if_run_uncaptured = False
    torch_internals.without_capturable_warning(optimizer)
    assert optimizer._warned_capturable_if_run_uncaptured is True


def test_torch_asks_whether_a_gpu_records_a_graph_by_a_name_that_is_replaced(
    torch_changed, monkeypatch
):
    def asked(*_):
        raise AssertionError(torch_changed)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", asked)
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch_internals.without_cards(torch.optim.Adam([weight])).step()


def test_an_optimizer_does_not_keep_itself_once_nobody_needs_it():
    weight = nn.Parameter(torch.ones(1))
    gone = weakref.ref(weight)
    optimizer = torch_internals.without_dynamo(partial(torch.optim.Adam, [weight]))
    weight.grad = torch.ones(1)
    gc.disable()
    try:
        optimizer.step()
        del weight, optimizer
        assert gone() is None
    finally:
        gc.enable()


def test_torch_makes_the_graph_that_tensorboard_shows(torch_changed):
    graph, _ = torch_internals.graph_for_tensorboard(nn.Linear(2, 1), torch.ones(1, 2))
    assert b"aten::linear" in graph, torch_changed


def tell_what_is_loaded_after(words: list[str], folder: Path) -> None:
    """The body of a process: a command, and the parts of torch's compiler that it has imported."""
    os.chdir(folder)
    compiler = {"sympy", "torch._dynamo", "torch._inductor", "torch.distributed.tensor"}
    with Path("said").open("w") as said, redirect_stdout(said):
        print(main(words), sorted(compiler & sys.modules.keys()))


@pytest.mark.skipif(
    "torch._dynamo" in inspect.getsource(torch.vmap), reason="this version's vmap imports it itself"
)
def test_a_stacked_sweep_with_all_its_files_imports_no_compiler(tmp_path, processes):
    """torch imports one, for as long as itself, wherever it sees a use of it: mend dlrun/system/torch_internals.py."""
    words = "train dataset=iris model=mlp trainer.max_epochs=1 sweep=grid optimizer.lr=0.1,0.2"
    given = {"target": tell_what_is_loaded_after, "args": (words.split(), tmp_path)}
    process = processes.Process(**given, daemon=True)
    process.start()
    process.join(60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0, said
    assert "2 runs as one" in said
    assert said.splitlines()[-1] == "0 []", said


def test_hydra_has_a_parser_of_its_command_line():
    given = hydra_internals.command_line_parser().parse_args(["--cfg", "job", "a=1"])
    reason = changed("hydra-core", "dlrun/config/hydra_internals.py")
    assert (given.cfg, given.overrides) == ("job", ["a=1"]), reason


def test_hydra_completes_words():
    class Plugin:
        def _query(self, config_name, line):
            return [config_name, line]

    from hydra.plugins.completion_plugin import CompletionPlugin

    reason = changed("hydra-core", "dlrun/config/hydra_internals.py")
    assert hasattr(CompletionPlugin, "_query"), reason
    assert hydra_internals.completions(Plugin(), ["a=1", "b"]) == ["train", "a=1 b"]


def test_kernels_of_a_gpu_are_made_of_code() -> None:
    kernel = torch_internals.elementwise_kernel("template <typename T> T same(T x) { return x; }")
    assert callable(kernel)
