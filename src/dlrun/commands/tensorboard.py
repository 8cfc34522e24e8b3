"""`dlrun tensorboard`: TensorBoard on all runs, on a sweep, or on one run."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from dlrun.commands._arguments import CommandParser, filled, whole
from dlrun.errors import ConfigError
from dlrun.storage.index import OUTPUTS, find_folder
from dlrun.storage.run_directory import RunDirectory, is_run
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep

_MAIN = "dlrun.commands._tensorboard_server"
FIRST_PORT, PORTS_TRIED = 6006, 100
_EPILOG = """\
What follows `--` goes to TensorBoard itself.

examples
  dlrun tensorboard                         every run in outputs/
  dlrun tensorboard last                    the newest run or sweep
  dlrun tensorboard SWEEP                   the trials of a sweep, side by side
  dlrun tensorboard --port 7000 -- --samples_per_plugin images=100
"""


def main(argv: list[str]) -> int:
    """Become TensorBoard; returns only where that is not possible."""
    if "--" in argv:
        split = argv.index("--")
        argv, passed_on = argv[:split], argv[split + 1 :]
    else:
        passed_on = []
    arguments = _parser().parse_args(argv)
    folder = _log_folder(arguments.target)
    _require_tensorboard()
    port = _port(arguments.port, arguments.host)
    # A bare host name of a URL cannot be all interfaces: from this machine, localhost reaches them.
    shown = "localhost" if arguments.host in ("0.0.0.0", "::") else arguments.host
    print(f"TensorBoard for {folder} at http://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
    options = ["--logdir", os.fspath(folder), "--host", arguments.host, "--port", str(port)]
    first = ",".join(_first_columns(folder))
    command = [sys.executable, "-m", _MAIN, first, *options, *passed_on]
    return _become(command)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "tensorboard",
        "Open TensorBoard on the runs. It follows those that are still being trained.",
        _EPILOG,
    )
    add = parser.add_argument
    help_target = "a folder of runs, a run, or a sweep (default: outputs)"
    add("target", metavar="DIR|RUN|SWEEP", nargs="?", type=filled, help=help_target)
    help_port = f"serve on this port (default: the first free one from {FIRST_PORT})"
    add("--port", metavar="N", type=whole(1, 65_535), help=help_port)
    help_host = "serve on this address (default: localhost, for this machine only)"
    add("--host", metavar="HOST", type=filled, default="localhost", help=help_host)
    return parser


def _log_folder(target: str | None) -> Path:
    """The folder whose event files to show.

    Raises:
        ConfigError: there is none.
    """
    if target is None:
        if not OUTPUTS.is_dir():
            raise ConfigError(f"there is no {OUTPUTS}/ here: start a run with `dlrun train` first")
        return OUTPUTS
    folder = find_folder(target)
    if not is_run(folder):
        return folder
    events = RunDirectory(folder).tensorboard
    if not events.is_dir():
        raise ConfigError(f"{folder} has no tensorboard/: it ran with tracking.tensorboard=false")
    return events


def _first_columns(folder: Path) -> list[str]:
    """What the HParams tab is to begin with: what the sweep in `folder` varies, and its objective."""
    if not is_sweep(folder):
        return []
    description = SweepDirectory(folder).read()
    keys = [str(key).lstrip("+") for key in description.get("space") or ()]
    return [*keys, str(description.get("objective", ""))]


def _require_tensorboard() -> None:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise ConfigError("TensorBoard is not installed: pip install tensorboard")


def _port(asked: int | None, host: str) -> int:
    """The port asked for, or the first free one; said where it is not the usual one.

    Raises:
        ConfigError: it is taken, or none is free.
    """
    if asked is not None:
        if _is_free(asked, host):
            return asked
        raise ConfigError(f"--port is {asked}, which is in use; choose another, or leave it out")
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if _is_free(port, host):
            if port != FIRST_PORT:
                print(f"Port {FIRST_PORT} is in use, perhaps by another TensorBoard.")
            return port
    last = FIRST_PORT + PORTS_TRIED - 1
    raise ConfigError(f"no port from {FIRST_PORT} to {last} is free; choose another with --port")


def _is_free(port: int, host: str) -> bool:
    """Whether no one listens on any of the addresses that `host` stands for.

    Raises:
        ConfigError: `host` is no address of this machine.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ConfigError(f"--host is {host}, which has no address ({error.strerror})") from error
    return all(_can_bind(family, address) for family, _, _, _, address in addresses)


def _can_bind(family: int, address: tuple[object, ...]) -> bool:
    import errno

    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As TensorBoard does: a port that was given up a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EACCES:  # a port below 1024
            raise
        return error.errno != errno.EADDRINUSE  # an address that is not there is not in the way
    return True


def _become(command: list[str]) -> int:
    if os.name == "posix":
        os.execv(command[0], command)  # so that Ctrl-C and signals reach TensorBoard itself
    from subprocess import call

    return call(command)
