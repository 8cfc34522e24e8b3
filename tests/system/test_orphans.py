"""Processes that help another one do not outlive it, and a hang-up is a signal like others."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dlrun.system.signals import StopRequest

# Starts a helper, tells its number, and waits to be killed.
HELPED = r"""
import multiprocessing, os, subprocess, sys, time
from dlrun.system.orphans import end_with_parent, helped_by_children, helped_by_joblib

def help(told=None):
    end_with_parent(grace=0.5)
    print(os.getpid(), flush=True)
    time.sleep(60)

def work():
    print("\x1b[2J", os.getpid(), flush=True)

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "help":
        time.sleep(float(sys.argv[2]))
        help()
    elif how in ("at-once", "late"):
        with helped_by_children():
            helper = subprocess.Popen([sys.executable, __file__, "help", "0" if how == "at-once" else "1"])
        if how == "late":
            print(helper.pid, flush=True)
    elif how == "joblib":
        from joblib import Parallel, delayed
        with helped_by_joblib():
            Parallel(n_jobs=2, backend="loky")([delayed(work)()])
    else:
        multiprocessing.get_context(how).Process(target=help).start()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "how",
    [
        "forkserver",
        pytest.param("spawn", marks=pytest.mark.slow),
        "at-once",
        pytest.param("late", marks=pytest.mark.slow),
        "joblib",
    ],
)
def test_a_helper_ends_with_the_process_that_started_it(how, tmp_path):
    (tmp_path / "helped.py").write_text(HELPED)
    words = [sys.executable, str(tmp_path / "helped.py"), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as helped:
        assert helped.stdout is not None
        *written, helper = helped.stdout.readline().split()
        assert written == ([rb"\x1b[2J"] if how == "joblib" else [])
        helped.kill()
        helped.wait()
    deadline = time.monotonic() + 10
    while _lives(int(helper)):
        assert time.monotonic() < deadline, "it stays"
        time.sleep(0.05)


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_hang_up_asks_for_an_end():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal is signal.SIGHUP
        assert stop.exit_code == 129


def test_a_hang_up_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)
