"""`dlrun predict --output`: records are written as they come, and the file is there when all of them are."""

import json
from pathlib import Path

import pytest

from dlrun.commands.predict import _deliver

RECORDS = [{"input": "é\n", "row": row, "prediction": [row / 3]} for row in range(3)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_as_of_one_list(tmp_path, count):
    _deliver(iter(RECORDS[:count]), tmp_path / "o.json", raw=False)
    expected = json.dumps(RECORDS[:count], indent=1) + "\n"
    assert (tmp_path / "o.json").read_text() == expected


@pytest.mark.parametrize("name", ["o.csv", "o.json"])
def test_a_failure_half_way_leaves_the_file_of_before_and_nothing_beside_it(tmp_path, name):
    def failing():
        yield RECORDS[0]
        raise KeyError("half way")

    output: Path = tmp_path / name
    output.write_text("before")
    with pytest.raises(KeyError):
        _deliver(failing(), output, raw=False)
    assert output.read_text() == "before" and list(tmp_path.iterdir()) == [output]
