"""What tests of series in files share."""

import inspect

import pytest
import yaml

from dlrun.config.search_path import packaged_configs
from dlrun.data.series.file import series

SMALL = {"missing": ["", "NA"], "target": "y", "window": 2}


@pytest.fixture(scope="session")
def read_series():
    """(path, settings) -> the series in a file, read as configs/dataset/series.yaml says but for SMALL and these."""
    option = yaml.safe_load((packaged_configs() / "dataset" / "series.yaml").read_text())
    usual = {name: option[name] for name in inspect.signature(series).parameters} | SMALL
    return lambda path, **settings: series(**usual | {"path": str(path)} | settings)
