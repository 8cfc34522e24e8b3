"""A matplotlibrc of the working folder does not reach the figures that dlrun draws."""

import subprocess
import sys

import numpy as np
import pytest

from dlrun.training.lr_range_test import RangeTest, draw_curve

WITHIN = """
import matplotlib
from dlrun.sweep.report.matplotlib_renderer import drawing

assert matplotlib.rcParams["text.usetex"]
with drawing():
    assert not matplotlib.rcParams["text.usetex"]
assert matplotlib.rcParams["text.usetex"]
"""


def test_the_report_does_not_take_settings_of_the_working_folder(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    subprocess.run([sys.executable, "-c", WITHIN], cwd=tmp_path, check=True)


def test_nor_does_lr_find(tmp_path, monkeypatch):
    import matplotlib
    from matplotlib import texmanager

    def refuse(*_, **__):
        pytest.fail("TeX was to be started")

    monkeypatch.setattr(texmanager.TexManager, "_run_checked_subprocess", refuse)
    rates = np.geomspace(1e-4, 1, 50)
    losses = (np.log10(rates) + 2) ** 2
    test = RangeTest(rates, losses, losses, diverged=True)
    with matplotlib.rc_context({"text.usetex": True}):
        draw_curve(test, tmp_path / "curve.png", title="digits")
    assert (tmp_path / "curve.png").stat().st_size > 1000
