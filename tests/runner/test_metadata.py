"""What a run writes about itself: its config, as PyYAML's own dumper writes it."""

import os
import subprocess

import pytest
import yaml

from dlrun.runner import metadata
from dlrun.runner.metadata import write_config
from dlrun.storage.run_directory import RunDirectory

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


def test_a_repository_of_somebody_else_is_asked_without_calling_its_programs(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", *words], check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    call = f"touch {tmp_path / 'called'}; cat"
    git("init", "-q")
    (tmp_path / ".gitattributes").write_text("*.x filter=theirs diff=theirs\n")
    (tmp_path / "a.x").write_text("1")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")
    for name in ("core.fsmonitor", "filter.theirs.clean", "diff.external", "diff.theirs.textconv"):
        git("config", name, call)
    hook = tmp_path / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{call}\n")
    hook.chmod(0o755)
    os.utime("a.x", (1, 1))  # looks changed: git has to read it
    clean = metadata._git.__wrapped__()
    (tmp_path / "a.x").write_text("2")
    changed = metadata._git.__wrapped__()
    assert not (tmp_path / "called").exists()
    assert (clean["git_dirty"], changed["git_dirty"]) == (False, True)
    assert len(clean["git_commit"]) == 40
