"""Matplotlib's settings as the library has them, for all figures that are drawn with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def library_settings() -> Iterator[None]:
    """Within this, matplotlib has its own settings; those of before come back.

    On import matplotlib reads a file `matplotlibrc` of the working folder first. With data of somebody else such a
    file may come as well, and `text.usetex` in it starts programs.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
