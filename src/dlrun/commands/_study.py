"""Is the experiment on the command line a study, which chooses a sweep of its own?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrun.search_path import config_folders, option_file
from dlrun.sweep.directory import config_words

_GROUP = "sweep"


def is_study(argv: Sequence[str]) -> bool:
    """Whether an experiment named there has an option of the group sweep among its defaults.

    What cannot be read is none: Hydra will say what is wrong with it.
    """
    return any(_chooses_sweep(file) for file in _experiments(argv))


def _experiments(argv: Sequence[str]) -> Iterator[Path]:
    folders = [Path(word.partition("=")[2]) for word in config_words(argv)]
    for word in argv:
        key, _, name = word.partition("=")
        if key == "experiment":
            file = option_file("experiment", name, config_folders(folders[-1] if folders else None))
            yield from [file] if file else []


def _chooses_sweep(file: Path) -> bool:
    import yaml

    from dlrun import plain_yaml

    try:
        content = plain_yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    defaults = content.get("defaults") if isinstance(content, dict) else None
    entries = [entry for entry in defaults or () if isinstance(entry, dict)]
    return any(str(key).split()[-1].lstrip("/") == _GROUP for entry in entries for key in entry)
