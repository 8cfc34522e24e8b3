"""The `dlrun` command: finds the subcommand, runs it, and shows its errors.

Imports next to nothing: help must appear at once, and a subcommand loads only what it needs.
"""

import sys

from dlrun.commands._names import COMMANDS, HELP, HIDDEN_COMMANDS, LONG

USAGE_ERROR = 2  # the user's mistake, found before any work
FAILURE = 1  # work was begun and failed
SIGNALLED = 128  # and above: + the number of a signal, as shells have it
INTERRUPTED = 130  # by SIGINT
PIPE_CLOSED = 141  # by SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    import os

    from dlrun.system.terminal import ControlCharactersShown

    # Python would put the working folder first in each process that dlrun starts, before all libraries.
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    arguments = [_at_home(word) for word in (sys.argv[1:] if argv is None else argv)]
    if argv is None:
        _prepare_streams(arguments)  # which may be others from then on
    try:
        with ControlCharactersShown():  # around the streams that are written to from now on
            code = _run(arguments)
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
    if code > SIGNALLED:
        from dlrun.system.signals import hand_on

        hand_on(code)
    return code


def _run(arguments: list[str]) -> int:
    if "--debug" in arguments:
        arguments = [word for word in arguments if word != "--debug"]
        _request_tracebacks()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # here, so that a closed pipe is met inside this try
        return code
    except KeyboardInterrupt as error:
        return _report("interrupted", INTERRUPTED, error)
    except BrokenPipeError:
        return _leave_closed_pipe()
    except Exception as error:
        return _report_exception(error)


def _prepare_streams(arguments: list[str]) -> None:
    """No stream is missing, none fails for a letter, and work of hours does not end with its reader."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from dlrun.system.standard_streams import open_closed

        open_closed()
    if LONG & set(arguments[:2]):
        from dlrun.system.standard_streams import outlive_readers

        outlive_readers()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _at_home(word: str) -> str:
    """An option's path in the home folder, as in --output=~/x.csv, which a shell leaves as it is there."""
    option, _, path = word.partition("=")
    if not option.startswith("-") or not path.startswith("~"):
        return word
    import os

    return f"{option}={os.path.expanduser(path)}"


def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name == "help" and rest:
        name, rest = rest[0], [*rest[1:], "--help"]
    if name in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if name == "--version":
        from dlrun import __version__

        print(f"dlrun {__version__}")
        return 0
    module = COMMANDS.get(name) or HIDDEN_COMMANDS.get(name)
    if module is None:
        return _refuse(name)
    from importlib import import_module

    code = import_module(f"dlrun.commands.{module}").main(rest)
    return int(code)


def _refuse(name: str) -> int:
    from dlrun.errors import ConfigError, did_you_mean

    if "=" in name:
        raise ConfigError(f"{name} comes before any command; did you mean `dlrun train {name}`?")
    kind = "option" if name.startswith("-") else "command"
    hint = did_you_mean(name, COMMANDS) if kind == "command" else "; see `dlrun --help`"
    raise ConfigError(f"there is no {kind} {name}{hint}")


def _request_tracebacks() -> None:
    """Hydra reads this variable itself, so that its own errors come with tracebacks too."""
    import os

    os.environ["HYDRA_FULL_ERROR"] = "1"


def _report_exception(error: Exception) -> int:
    from dlrun.errors import ConfigError, RunFailed

    if isinstance(error, ConfigError):
        return _report(f"error: {error}", USAGE_ERROR, error)
    if isinstance(error, RunFailed):
        return _report(f"error: {error}", FAILURE, error)
    if isinstance(error, OSError):
        from dlrun.storage.disk import disk_full

        if full := disk_full(error):
            return _report(f"error: {full}", FAILURE, error)
        return _report(f"error: {_file_trouble(error)}", USAGE_ERROR, error)
    # A bug, or code of the user's own: only the traceback says where.
    _print_traceback(error)
    print(f"dlrun: error: {type(error).__name__}, see the traceback above", file=sys.stderr)
    return FAILURE


def _report(message: str, code: int, error: BaseException) -> int:
    import os

    from dlrun.errors import shortened, visible

    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        _print_traceback(error)
    print("dlrun:", visible(shortened(" ".join(message.splitlines()))), file=sys.stderr)
    return code


def _print_traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error)


def _file_trouble(error: OSError) -> str:
    """The file and what is wrong with it; it may be the user's code that wanted it, hence the hint."""
    from errno import ENAMETOOLONG

    if error.errno == ENAMETOOLONG:
        return f"{error.filename} cannot be the name of a file: it is too long; give a shorter one"
    what = str(error) if error.filename is None else f"{error.filename}: {error.strerror or error}"
    return f"{what} (--debug shows where)"


def _leave_closed_pipe() -> int:
    """Nobody reads on: give the interpreter's last flush somewhere to go, or it complains."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


if __name__ == "__main__":
    sys.exit(main())
