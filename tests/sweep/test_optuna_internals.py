"""Private parts of Optuna: named in one module, and there in the version that is installed."""

import ast
import re
from importlib.metadata import requires, version
from pathlib import Path
from threading import Thread

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from packaging.requirements import Requirement

import dlrun
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep import optuna_internals as internals

HOUSE = Path(dlrun.__file__).parent
BEHIND = HOUSE / "sweep/optuna_internals.py"
CHANGED = f"optuna {version('optuna')} has changed a private part that dlrun uses: mend dlrun/sweep/optuna_internals.py"
PRIVATE = re.compile(r"(study|storage|distribution|trial|sampler|optuna)(\.\w+)*\._[a-z]\w*$")
# Of Optuna's storage in a journal: each is overridden, or read by what overrides it.
ATTRIBUTES = ("_backend", "_thread_lock", "_replay_result", "_worker_id_prefix")
METHODS = {"_sync_with_backend": ["self"], "_write_log": ["self", "op_code", "extra_fields"]}


def private_names(file: Path) -> list[str]:
    """Private parts of Optuna that a module names, by the usual names of its objects."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
    return [name for name in found if PRIVATE.search(name) or re.match(r"optuna.*\._", name)]


def test_private_parts_of_optuna_are_named_in_one_module():
    assert private_names(BEHIND)
    elsewhere = {str(f): private_names(f) for f in (HOUSE / "sweep").rglob("*.py") if f != BEHIND}
    assert not {file: names for file, names in elsewhere.items() if names}


def test_the_installed_version_is_the_one_that_the_range_is_tested_with():
    asked = {r.name: r.specifier for r in map(Requirement, requires("dlrun") or ()) if not r.marker}
    assert any(s.operator == "<" for s in asked["optuna"]), "the range of optuna has no upper bound"
    assert asked["optuna"].contains(version("optuna"))


def test_the_storage_has_what_dlrun_overrides():
    storage = JournalStorage(internals.MemoryJournal(()))
    for name in ATTRIBUTES:
        assert hasattr(storage, name), f"{CHANGED} ({name} is gone)"
    for name, arguments in METHODS.items():
        method = getattr(JournalStorage, name, None)
        assert method, f"{CHANGED} ({name} is gone)"
        code = method.__code__
        assert list(code.co_varnames[: code.co_argcount]) == arguments, f"{CHANGED} ({name})"
    for name in ("worker_id", "log_number_read", "apply_logs"):
        assert hasattr(storage._replay_result, name), f"{CHANGED} (replay: {name} is gone)"


def test_entries_and_states_have_the_numbers_that_stored_journals_have():
    operations = {one.name: one.value for one in internals.JournalOperation}
    expected = {
        "CREATE_STUDY": 0, "CREATE_TRIAL": 4, "SET_TRIAL_PARAM": 5, "SET_TRIAL_STATE_VALUES": 6,
        "SET_TRIAL_INTERMEDIATE_VALUE": 7, "SET_TRIAL_USER_ATTR": 8, "SET_TRIAL_SYSTEM_ATTR": 9,
    }  # fmt: skip
    assert expected.items() <= operations.items(), CHANGED
    states = ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
    assert [state.name for state in optuna.trial.TrialState] == states, CHANGED


def test_a_journal_is_written_as_a_whole_and_read_by_optuna_alone(tmp_path):
    place = SweepDirectory(tmp_path)
    optuna.create_study(storage=JournalStorage(internals.JournalFile(place)), study_name="one")
    storage = internals.TransactionalStorage(internals.JournalFile(place))
    study = internals.EndlessStudy(study_name="one", storage=storage)
    with pytest.raises(ZeroDivisionError), storage.together():
        study.ask()
        assert len(internals.trials_of(study)) == 1, CHANGED
        _ = 1 / 0
    assert internals.trials_of(study) == [], CHANGED
    with storage.together():
        trial = study.ask({"x": FloatDistribution(0, 1)})
        study.tell(trial, 0.5)
    backend = optuna.storages.journal.JournalFileBackend(str(place.journal))
    read = optuna.load_study(storage=JournalStorage(backend), study_name="one")
    assert [t.value for t in read.trials] == [0.5], CHANGED


def test_a_sampler_looks_at_trials_as_they_are_now():
    study = optuna.create_study()
    study._thread_local.cached_all_trials = ["old"]
    internals.forget_cached_trials(study)
    assert study._get_trials(deepcopy=False, use_cache=True) == [], CHANGED


def test_a_distribution_says_what_is_within_it():
    assert internals.is_within(FloatDistribution(0, 1), 0.5), CHANGED
    assert not internals.is_within(FloatDistribution(0, 1), 2.0), CHANGED


def test_the_lock_of_a_journal_is_held_by_one_thread_which_may_take_it_again(tmp_path):
    locks = [internals.KernelLock(tmp_path / ".journal.lock") for _ in range(2)]
    inside, most = [0], [0]

    def work(lock):
        for _ in range(20):
            lock.acquire()
            lock.acquire()
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            lock.release()
            inside[0] -= 1
            lock.release()

    threads = [Thread(target=work, args=(locks[index % 2],)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == ([0], [1])
