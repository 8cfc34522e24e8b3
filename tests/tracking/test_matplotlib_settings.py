"""A matplotlibrc of the working folder does not reach the figures that dlrun draws."""

import numpy as np
import pytest

from dlrun.training.lr_range_test import RangeTest, draw_curve


@pytest.fixture
def settings_of_the_folder(tmp_path, monkeypatch):
    """What matplotlib takes from a matplotlibrc of the working folder as it is imported."""
    import matplotlib

    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context(fname=matplotlib.matplotlib_fname()):
        assert matplotlib.rcParams["text.usetex"]
        yield matplotlib.rcParams


def test_the_report_does_not_take_settings_of_the_working_folder(settings_of_the_folder):
    from dlrun.sweep.report.matplotlib_renderer import drawing

    with drawing():
        assert not settings_of_the_folder["text.usetex"]
    assert settings_of_the_folder["text.usetex"]


def test_nor_does_lr_find(tmp_path, settings_of_the_folder, monkeypatch):
    from matplotlib import texmanager

    def refuse(*_, **__):
        pytest.fail("TeX was to be started")

    monkeypatch.setattr(texmanager.TexManager, "_run_checked_subprocess", refuse)
    rates = np.geomspace(1e-4, 1, 50)
    losses = (np.log10(rates) + 2) ** 2
    test = RangeTest(rates, losses, losses, diverged=True)
    draw_curve(test, tmp_path / "curve.png", title="digits")
    assert (tmp_path / "curve.png").stat().st_size > 1000
