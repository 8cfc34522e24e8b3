"""`dlrun doctor`: what is installed, what hardware there is, what is used of it, what is wrong."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

from dlrun import __version__
from dlrun.commands import _text
from dlrun.commands._arguments import CommandParser
from dlrun.commands._text import Column
from dlrun.config.search_path import data_folder, packaged_configs, user_configs
from dlrun.errors import first_line
from dlrun.storage.index import OUTPUTS
from dlrun.system.hardware import (
    CUBLAS_WORKSPACE,
    NO_TF32,
    PRECISIONS,
    REPEATABLE_WORKSPACES,
    cpu_features,
    cpu_model,
    cpu_precisions,
    cuda_devices,
    cuda_libraries,
    cuda_precisions,
    mps_precisions,
    relevant_features,
    tf32_is_switched_off,
    usable_cores,
    why_no_cuda,
)

# The distribution's name, and the module to import.
_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "tensorboard": "tensorboard",
    "scikit-learn": "sklearn",
    "numpy": "numpy",
}
_EPILOG = """\
Exit code 0 if all is well, 1 if something is missing or broken.

native  the hardware computes in this precision
slow    it works, but fp32 is faster
no      it does not work
"""
# The data sets that are downloaded, and where in the data folder they lie.
_DATA_SETS = {
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
}

Rows = Iterator[tuple[str, str]]


def main(argv: list[str]) -> int:
    """Print the findings; 1 if there are problems."""
    _parser().parse_args(argv)
    problems: list[str] = []
    modules = {name: _import(module) for name, module in _PACKAGES.items()}
    torch = modules["torch"]
    _section("software", _software(modules, problems))
    _section("machine", _machine(torch))
    print(_devices(torch) + "\n")
    _section("folders", _folders(problems))
    print("\n  ".join(["problems", *problems]) if problems else "All well.")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    return CommandParser(
        "doctor",
        "Check the installation and the hardware, and say which device a run will use.",
        _EPILOG,
    )


def _section(title: str, rows: Rows) -> None:
    print(f"{title}\n{_text.pairs(rows)}\n", flush=True)


def _import(module: str) -> ModuleType | Exception:
    """The module, or what went wrong: importing is the only proof that a package works."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except Exception as error:
        return error


def _software(modules: dict[str, ModuleType | Exception], problems: list[str]) -> Rows:
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "dlrun", f"{__version__} ({Path(__file__).parents[1]})"
    for name, module in modules.items():
        version = _version(name)
        if isinstance(module, ModuleType):
            yield name, version or str(getattr(module, "__version__", "version not known"))
            continue
        state = f"{version}, but broken" if version else "missing"
        reason = first_line(module)
        yield name, f"{state}: {reason}"
        problems.append(f"{name} is {state.removeprefix(f'{version}, but ')}: {_remedy(name)}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _remedy(name: str) -> str:
    if name in ("torch", "torchvision"):
        return "the two come as a pair: pip install --force-reinstall torch torchvision"
    return f"pip install --force-reinstall {name}"


def _machine(torch: ModuleType | Exception) -> Rows:
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "cpu", cpu_model()
    usable, cores = usable_cores(), os.cpu_count() or 1
    yield "cores", f"{cores}" if usable >= cores else f"{usable:g} usable of {cores}"
    features = relevant_features(cpu_features())
    yield "instructions", ", ".join(features) or "not known"
    if isinstance(torch, ModuleType):
        capability = torch.backends.cpu.get_cpu_capability()
        threads = _text.plural(torch.get_num_threads(), "thread")
        yield "torch uses", f"{threads}, {capability} (trainer.num_threads changes the threads)"
        if torch.cuda.is_available():
            yield "cuda", cuda_libraries(torch)
            yield from _variables()


def _variables() -> Rows:
    """Of the environment, what decides how exactly and how repeatably a GPU computes."""
    workspace = os.environ.get(CUBLAS_WORKSPACE)
    said = f"set to {REPEATABLE_WORKSPACES[0]} by trainer.deterministic=true"
    if workspace is not None:
        fits = workspace in REPEATABLE_WORKSPACES
        said = workspace if fits else f"{workspace}, which trainer.deterministic=true refuses"
    yield CUBLAS_WORKSPACE, said
    if NO_TF32 in os.environ:
        off = " (no TF32, trainer.precision=tf32 is refused)" if tf32_is_switched_off() else ""
        yield NO_TF32, os.environ[NO_TF32] + off


def _devices(torch: ModuleType | Exception) -> str:
    """What each device is, what it computes natively, and which one `auto` takes."""
    rows = [("cpu", "", cpu_precisions(cpu_features()))]
    missing = []
    if isinstance(torch, Exception):
        missing.append(("cuda, mps", "not known without torch"))
    else:
        for index, (text, capability) in enumerate(cuda_devices(torch)):
            rows.append((f"cuda:{index}", text, cuda_precisions(capability)))
        if not torch.cuda.is_available():
            missing.append(("cuda", f"none: {why_no_cuda(torch)}"))
        if torch.backends.mps.is_available():
            rows.append(("mps", "Apple GPU", mps_precisions()))
        else:
            missing.append(("mps", "none: it needs a Mac with Apple's chip"))
    # As wide as the head of the table above, so that all begin at the same place.
    absent = _text.pairs((name.ljust(len("devices") - 2), text) for name, text in missing)
    lines = [_precision_table(rows), absent, f"\n  {_auto(torch)}"]
    return "\n".join(line for line in lines if line)


def _precision_table(rows: list[tuple[str, str, dict[str, str]]]) -> str:
    columns = [Column(("devices",), [f"  {name}" for name, _, _ in rows])]
    for precision in PRECISIONS:
        columns.append(Column((precision,), [values[precision] for _, _, values in rows]))
    if any(text for _, text, _ in rows):
        columns.append(Column(("",), [text for _, text, _ in rows]))
    return _text.table(columns)


def _auto(torch: ModuleType | Exception) -> str:
    if isinstance(torch, Exception):
        return "trainer.accelerator=auto cannot choose without torch"
    from dlrun.training.device import choose

    name = choose("auto", "fp32").torch_device.type
    reason = {
        "cuda": "a CUDA device comes first",
        "mps": "there is no CUDA device, and MPS comes before the CPU",
        "cpu": "there is neither CUDA nor MPS",
    }
    return f"trainer.accelerator=auto takes {name}: {reason[name]}"


def _folders(problems: list[str]) -> Rows:
    own = user_configs()
    yield "configs", "\n".join([*([f"{own} (your own)"] if own else []), str(packaged_configs())])
    if not (packaged_configs() / "train.yaml").is_file():
        problems.append(f"{packaged_configs()} has no train.yaml: reinstall dlrun")
    yield "data", _data_folder()
    yield "outputs", _outputs_folder(problems)


def _data_folder() -> str:
    given = os.environ.get("DLRUN_DATA")
    folder = data_folder()
    origin = "from DLRUN_DATA" if given else "DLRUN_DATA is not set"
    present = [name for name, place in _DATA_SETS.items() if any((folder / place).glob("*"))]
    missing = [name for name in _DATA_SETS if name not in present]
    lines = [f"{folder} ({origin})"]
    lines += [f"there: {', '.join(present)}"] if present else []
    lines += [f"downloaded when first used: {', '.join(missing)}"] if missing else []
    return "\n".join(lines)


def _outputs_folder(problems: list[str]) -> str:
    folder = OUTPUTS.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        problems.append(f"{existing} cannot be written to ({error.strerror}): runs have no place")
        return f"{folder}: not writable"
    free = shutil.disk_usage(existing).free / 1e9
    return f"{folder}: writable, {free:.3g} GB free"
