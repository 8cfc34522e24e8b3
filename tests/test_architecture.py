"""The order of the house: a module imports only from what stands before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dlrun

PACKAGE = Path(dlrun.__file__).parent

# Each line may import from the lines above it, and within itself.
ORDER = [
    ["dlrun"],
    [
        "errors",
        "disk",
        "hints",
        "metrics",
        "numbers",
        "orphans",
        "signals",
        "profiling",
        "appending",
        "event_file",
        "links",
        "claims",
        "spreadsheets",
        "plain_yaml",
        "terminal",
        "abc_notation",
        "cores",
        "standard_streams",
    ],
    ["cross_entropy"],
    ["png", "lettering", "pictures", "line_chart"],
    ["boundary_frame"],
    ["schema", "search_path"],
    ["stored_config"],
    ["overrides", "hydra_settings", "option_files"],
    ["config", "build", "composing", "run_directory", "device", "checkpoint"],
    ["runs"],
    ["shortfall"],
    ["data", "data.gaps", "data.file_kinds", "data.times", "data.fingerprint"],
    ["data.files"],
    ["data.time_steps"],
    ["data.cutting"],
    ["data.series"],
    ["data.notation", "data.csv_form", "data.table", "data.missing_words"],
    ["data.header_evidence"],
    ["data.headers"],
    ["data.csv_opening"],
    ["data.csv_records"],
    ["data.csv_rules"],
    ["data.csv_file"],
    ["data.dates", "data.dressing", "data.labels", "data.column_notes"],
    ["data.column_kinds"],
    ["data.column_checks"],
    ["data.image_form", "data.image_opening"],
    ["data.image_depth"],
    ["data.image_reading", "data.image_survey"],
    ["data.columns", "data.texts", "data.text_checks", "data.text_lengths"],
    ["data.target_column"],
    ["data.text_finding"],
    ["data.text_files"],
    ["data.table_files"],
    ["data.tables"],
    [
        "data.source",
        "data.characters",
        "data.scikit_learn",
        "data.points",
        "data.torchvision_sets",
        "data.image_folder",
        "data.text_sets",
        "data.text_folder",
    ],
    ["data.time_column", "data.several_series"],
    ["data.series_order"],
    ["data.series_file", "data.synthetic_series"],
    ["data.series_sets"],
    ["data.origin"],
    ["data.base"],
    ["data.kept"],
    ["data.targets", "data.augment", "data.baselines", "data.splitting"],
    ["data.series_scaling"],
    ["data.forecasting", "forecast_picture"],
    [
        "data.arrays",
        "data.character_encoding",
        "data.classes",
        "data.loader",
        "data.text_encoding",
        "data.examples",
    ],
    ["data.bucketing", "data.streaming", "data.table_encoding"],
    ["data.image_data"],
    ["data.prepare", "data.streams", "models", "tasks", "schedules", "progress", "tracking"],
    ["data.feeding"],
    ["forward", "generation", "optim", "gradient_flow", "views"],
    ["engine", "record", "model_summary"],
    ["stacked", "stacked.rules", "stacked.batches", "stacked.layers"],
    ["stacked.weights"],
    ["stacked.update"],
    ["stacked.stack"],
    ["cuda_graph"],
    ["assemble"],
    ["report", "endings", "saving"],
    ["session"],
    ["stacked.cost", "stacked.fit", "stacked.grouping", "stacked.memory", "stacked.trying"],
    ["lr_range"],
    [
        "experiment",
        "restore",
        "inputs",
        "inputs.arrays",
        "inputs.history",
        "inputs.text_table",
        "inputs.lines",
        "inputs.rows",
    ],
    ["inputs.reading", "inputs.labelled"],
    ["evaluation", "exporting"],
    [
        "sweep",
        "sweep.directory",
        "sweep.grammar",
        "sweep.seeding",
        "sweep.places",
        "sweep.names",
        "sweep.repetitions",
    ],
    ["sweep.parameters", "sweep.finding", "sweep.grid"],
    ["sweep.reading", "sweep.cases"],
    ["sweep.space", "sweep.windows", "sweep.comparable"],
    ["sweep.mending"],
    ["sweep.leaderboard"],
    ["sweep.ranking"],
    ["sweep.coarse_to_fine", "sweep.settings", "sweep.composer", "sweep.study"],
    ["sweep.drawing"],
    ["sweep.opened"],
    ["sweep.recipe"],
    ["sweep.table", "sweep.snapshot"],
    ["sweep.settled"],
    ["sweep.live", "sweep.report", "sweep.report.look"],
    ["sweep.answer", "sweep.report.curves", "sweep.report.rounds", "sweep.report.studies"],
    ["sweep.report.importance", "sweep.report.plotly_style", "sweep.report.pyplot_style"],
    ["sweep.report.sections"],
    ["sweep.report.figures", "sweep.report.pictures", "sweep.report.answer_html"],
    ["sweep.report.page"],
    ["sweep.report.writing"],
    ["sweep.shared_data", "sweep.checks", "sweep.question"],
    ["sweep.trial"],
    ["sweep.launching", "sweep.ending", "sweep.again"],
    ["sweep.judgement"],
    ["sweep.crew"],
    ["sweep.stacking"],
    ["sweep.driver"],
    ["commands", "cli"],  # completion reads the table of commands
    ["__main__"],
]
RANKS = {name: rank for rank, names in enumerate(ORDER) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "dlrun"


def rank_of(name: str) -> int:
    """Of the module, or of the folder that it is in."""
    while name not in RANKS:
        name, _, _ = name.rpartition(".")
        assert name, "a module that ORDER does not name"
    return RANKS[name]


def imports_of(file: Path) -> list[str]:
    """Modules of dlrun that a file imports as it runs, also inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types_only = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    names = []
    for node in ast.walk(tree):
        if node in for_types_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dlrun"):
            module = node.module.removeprefix("dlrun").lstrip(".")
            inner = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
            known = {name_of(path) for path in MODULES}
            names += [name if name in known else module or "dlrun" for name in inner]
        elif isinstance(node, ast.Import):
            names += [a.name[6:] for a in node.names if a.name.startswith("dlrun.")]
    return names


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_imports_only_from_what_stands_before_it(file: Path) -> None:
    own = rank_of(name_of(file))
    wrong = [name for name in imports_of(file) if rank_of(name) > own]
    assert not wrong, f"{name_of(file)} imports {wrong}, which stand after it"


def test_models_know_the_spec_and_no_data_set() -> None:
    files = (PACKAGE / "models").glob("*.py")
    used = {name for file in files for name in imports_of(file) if name.startswith("data")}
    assert used <= {"data.base"}


@pytest.mark.parametrize(
    "module",
    ["cli", "config", "build", "runs", "search_path", "composing", "data.points", "commands.train",
     "commands.resume", "commands.runs", "commands.report", "commands.list", "commands.completion",
     "sweep.directory", "sweep.finding", "sweep.space", "numbers"],
)  # fmt: skip
def test_what_must_answer_at_once_does_not_import_torch(module: str) -> None:
    code = f"import sys, dlrun.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
