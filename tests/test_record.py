"""What a run writes about itself: its config, as PyYAML's own dumper writes it."""

import pytest
import yaml

from dlrun.record import write_config
from dlrun.run_directory import RunDirectory

CONFIGS = [
    {"name": "a", "seed": 1, "deep": {"list": [1, 2.5, None, True], "empty": {}, "none": []}},
    {"name": "a", "seed": True, "deep": {"list": [1.0, 2, "null", "1e-3"]}},
    {"name": "a", "seed": 1.0, "text": "two\nlines", "quoted": 'it\'s: "so" # no comment'},
    {"später": "日本語 " * 40, "long": "word " * 60, "escaped": "\x07\x85", "inf": float("inf")},
    {"emoji": "🙂", "key " * 50: 1},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_config_is_written_as_plain_yaml_key_by_key(config, tmp_path):
    run = RunDirectory(tmp_path)
    words = ["optimizer.lr=1e-3", "name='x: y'", "emoji=🙂"]
    for _ in range(2):
        write_config(run, config, words)
        text = run.config_file.read_text(encoding="utf-8")
        assert text == yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        assert run.overrides_file.read_text(encoding="utf-8") == yaml.safe_dump(
            words, allow_unicode=True
        )
