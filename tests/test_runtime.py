"""The map over buckets: both engines, deaths, hangs, errors, a bounded window, clear refusals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import runtime_tasks as work

from fstriplets.config import RuntimeConfig
from fstriplets.errors import ClusterError, Interrupted, MissingDependency, OutputError
from fstriplets.runtime import Engine, Task, WorkerDied, find_poison, open_engine
from fstriplets.runtime.flights import Flight, Flights, Lost
from fstriplets.runtime.gpus import _devices, visible_gpus
from fstriplets.runtime.worker import Answer

ROOT = Path(__file__).resolve().parents[1]
#: Many times the window.
_MANY = 1_500


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One local cluster for all tests that leave it usable: deaths included."""
    with open_engine(RuntimeConfig(workers=2, bucket_timeout=60, max_attempts=2), work.warm) as opened:
        yield opened


@pytest.fixture(params=["serial", "dask"])
def either(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "dask":
        yield request.getfixturevalue("engine")
    else:
        with open_engine(RuntimeConfig(workers=0)) as opened:
            yield opened


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


# both engines


def test_every_task_has_one_outcome(either: Engine) -> None:
    outcomes = list(either.map(work.double, (Task(f"t{n}", n) for n in range(25))))
    assert sorted(o.task.payload for o in outcomes) == list(range(25))
    assert all(o.value == 2 * o.task.payload and o.error is None and o.deaths == 0 for o in outcomes)


def test_no_tasks(either: Engine) -> None:
    assert list(either.map(work.double, [])) == []


def test_an_exception_is_an_outcome_at_once(either: Engine) -> None:
    errors = [
        OutputError("the disk is full"),
        MissingDependency("insightface", "insightface", "a detector"),
        OSError(28, "No space left on device"),
        MemoryError("12 GiB"),
        ImportError("no module"),
    ]
    outcomes = {o.task.key: o for o in either.map(work.raise_it, [Task(str(e), e) for e in errors])}
    for error in errors:
        seen = outcomes[str(error)].error
        assert type(seen) is type(error)
        assert str(seen) == str(error)
        assert outcomes[str(error)].deaths == 0
        assert not outcomes[str(error)].died
    assert outcomes[str(errors[2])].error.errno == 28  # type: ignore[union-attr]


def test_tasks_are_drawn_as_there_is_room(either: Engine) -> None:
    drawn = finished = 0

    def tasks() -> Iterator[Task]:
        nonlocal drawn
        for number in range(300):
            drawn += 1
            assert drawn - finished <= 3 * max(1, either.workers)
            yield Task(f"t{number}", number)

    for _ in either.map(work.nothing, tasks()):
        finished += 1
    assert finished == 300


def test_warm_runs_once_in_process() -> None:
    work.WARMED.clear()
    with open_engine(RuntimeConfig(workers=0), work.warm) as serial:
        assert serial.workers == 0
        list(serial.map(work.nothing, [Task("a", 0), Task("b", 0)]))
    assert len(work.WARMED) == 1


# worker processes


def test_warm_runs_once_a_worker(engine: Engine) -> None:
    outcomes = list(engine.map(work.warmed, [Task(f"t{n}", None) for n in range(12)]))
    assert all(pids == [pid] for pid, pids in (o.value for o in outcomes))
    assert os.getpid() not in {o.value[0] for o in outcomes}


def test_threads_are_limited_and_torch_stays_out(engine: Engine) -> None:
    names = ["OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"]
    (outcome,) = engine.map(work.environment, [Task("env", names)])
    assert outcome.value["OPENCV_FOR_THREADS_NUM"] == "1"
    assert int(outcome.value["OMP_NUM_THREADS"]) >= 1
    (outcome,) = engine.map(work.torch_loaded, [Task("torch", None)])
    assert outcome.value is False


def test_an_error_keeps_the_workers_traceback(engine: Engine) -> None:
    (outcome,) = engine.map(work.raise_it, [Task("bad", ValueError("no"))])
    assert outcome.error is not None
    assert "runtime_tasks.py" in str(outcome.error.__cause__)


def test_a_value_that_cannot_travel_is_an_error(engine: Engine) -> None:
    (outcome,) = engine.map(work.return_unpicklable, [Task("odd", None)])
    assert "cannot be pickled" in str(outcome.error)


def test_only_the_task_that_ran_is_blamed(engine: Engine) -> None:
    tasks = [Task(f"t{n}", ("value", n)) for n in range(20)]
    tasks[5] = Task("poison", ("exit", None))
    outcomes = {o.task.key: o for o in engine.map(work.by_name, tasks)}
    assert len(outcomes) == 20
    poison = outcomes.pop("poison")
    assert isinstance(poison.error, WorkerDied)
    assert poison.died
    assert poison.deaths == 2  # max_attempts
    assert all(o.error is None and o.deaths == 0 for o in outcomes.values())


def test_a_hung_task_counts_as_a_death(engine: Engine) -> None:
    tasks = [Task("hang", ("sleep", 600), timeout=0.5, attempts=1), Task("fine", ("value", 1))]
    outcomes = {o.task.key: o for o in engine.map(work.by_name, tasks)}
    assert outcomes["hang"].died
    assert "hung (over 0.5 s)" in str(outcomes["hang"].error)
    assert outcomes["fine"].value == 1


def test_maps_may_be_nested_and_left_early(engine: Engine) -> None:
    outer = engine.map(work.double, (Task(f"outer{n}", n) for n in range(10_000)))
    first = next(outer)
    inner = list(engine.map(work.double, [Task("inner", 21)]))
    assert first.error is None
    assert inner[0].value == 42
    outer.close()  # type: ignore[attr-defined]
    assert [o.value for o in engine.map(work.double, [Task("after", 4)])] == [8]


@pytest.mark.slow
def test_poison_is_found_among_many(engine: Engine) -> None:
    poison = find_poison(
        engine, work.deadly_numbers, lambda numbers: Task("p", list(numbers), timeout=2), range(16)
    )
    assert poison == [3, 9, 13]


@pytest.mark.slow
def test_no_item_is_blamed_for_what_only_all_do(engine: Engine) -> None:
    make = partial(_probe_of, [])
    assert find_poison(engine, work.deadly_together, make, range(8)) == []


def _probe_of(seen: list[int], numbers: list[int]) -> Task:
    return Task("p", list(numbers))


def test_probing_raises_what_the_probe_raises(engine: Engine) -> None:
    with pytest.raises(OutputError, match="full"):
        find_poison(engine, work.raise_it, lambda _: Task("p", OutputError("full")), [1, 2])


@pytest.mark.slow
def test_a_storm_of_kills_loses_nothing(engine: Engine, tmp_path: Path) -> None:
    struck, over = set[Path](), threading.Event()

    def storm() -> None:
        while len(struck) < 5 and not over.wait(0.7):
            # each task once: whose worker dies under it again and again is taken for poison, and rightly
            notes = [note for note in sorted(tmp_path.glob("*/*")) if note.parent not in struck]
            for note in notes[:1]:
                struck.add(note.parent)
                os.kill(int(note.name), signal.SIGKILL)
                note.unlink(missing_ok=True)

    tasks = [Task(f"shard{n}", (str(tmp_path / str(n)), 0.5)) for n in range(10)]
    for task in tasks:
        Path(task.payload[0]).mkdir()
    killer = threading.Thread(target=storm)
    killer.start()
    try:
        outcomes = list(engine.map(work.announced, tasks))
    finally:
        over.set()
        killer.join()
    assert len(struck) >= 3
    assert sorted(o.task.key for o in outcomes if o.error is None) == sorted(t.key for t in tasks)


@pytest.mark.slow
def test_thousands_of_tasks_go_through_the_window(engine: Engine) -> None:
    most = 0

    def tasks() -> Iterator[Task]:
        nonlocal most
        for number in range(_MANY):
            yield Task(f"t{number}", number)
            scheduler = engine._cluster.scheduler  # type: ignore[attr-defined]
            most = max(most, len(scheduler.tasks))

    assert sum(o.error is None for o in engine.map(work.nothing, tasks())) == _MANY
    assert most <= 50 * engine.workers  # the window, and what the scheduler is just forgetting


def test_the_environment_is_left_as_it_was() -> None:
    before = dict(os.environ)
    with open_engine(RuntimeConfig(workers=1), work.warm_fails) as cluster:
        outcomes = list(cluster.map(work.nothing, [Task("a", 0), Task("b", 0)]))
        # models that cannot be loaded are the tasks' error, each with its name
        assert [str(o.error) for o in outcomes] == ["weights.onnx"] * 2
    assert dict(os.environ) == before


# bookkeeping, without processes


class FakeCluster:
    """Answers at once, as told by a script: key -> list of "die", "lose", "answer", one an attempt."""

    workers = 1

    def __init__(self, script: dict[str, list[str]]) -> None:
        self.script = script

    def flight(self, task: Task) -> Flight:
        return Flight(task, 60.0, task.attempts or 3)

    def submit(self, flight: Flight, function: object, flights: Flights) -> str:
        steps = self.script.get(flight.task.key, [])
        step = steps.pop(0) if steps else "answer"
        if step != "lose":
            flights.started(flight.key, "tcp://worker", 1)
        flights.ended(flight.key, Answer(1) if step == "answer" else Lost())
        return flight.key

    def cancel(self, handles: list[object]) -> None: ...
    def kill_worker(self, address: str, pid: int) -> None: ...
    def stop_hung(self) -> None: ...
    def any_workers(self) -> bool:
        return True


def outcomes_of(script: dict[str, list[str]]) -> dict[str, tuple[bool, int]]:
    tasks = [Task(key, None) for key in script]
    flights = Flights(FakeCluster(script), work.nothing, tasks, patience=1)
    return {o.task.key: (o.died, o.deaths) for o in flights.outcomes()}


def test_waiting_behind_a_death_costs_nothing() -> None:
    assert outcomes_of({"a": ["lose"] * 20, "b": []}) == {"a": (False, 0), "b": (False, 0)}


def test_a_task_that_dies_alone_is_given_up() -> None:
    assert outcomes_of({"a": ["die"] * 99, "b": []}) == {"a": (True, 3), "b": (False, 0)}


def test_where_others_die_and_live_a_task_gets_more_attempts() -> None:
    assert outcomes_of({"a": ["die"] * 7, "b": ["die"]}) == {"a": (False, 7), "b": (False, 1)}
    assert outcomes_of({"a": ["die"] * 99, "b": ["die"]}) == {"a": (True, 15), "b": (False, 1)}


# clusters that cannot be had


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=address) as caught,
            open_engine(RuntimeConfig(scheduler=address, connect_timeout=0.5)),
        ):
            pass
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "foo://1.2.3.4:5", "tcp://127.0.0.1:99999"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with (
        pytest.raises(ClusterError, match=address),
        open_engine(RuntimeConfig(scheduler=address, connect_timeout=0.5)),
    ):
        pass


def test_gpus_asked_for_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ClusterError, match="CUDA device"), open_engine(RuntimeConfig(gpu=True)):
        pass


def test_a_cluster_without_gpu_workers_is_refused_at_once(engine: Engine) -> None:
    address = engine._cluster.scheduler_address  # type: ignore[attr-defined]
    config = RuntimeConfig(scheduler=address, gpu=True)
    with pytest.raises(ClusterError, match="resource GPU"), open_engine(config):
        pass


def test_a_running_cluster_is_joined_and_left_running(engine: Engine) -> None:
    address = engine._cluster.scheduler_address  # type: ignore[attr-defined]
    with open_engine(RuntimeConfig(scheduler=address)) as joined:
        assert joined.workers == engine.workers
        outcomes = {
            o.task.key: o for o in joined.map(work.by_name, [Task("a", ("value", 1)), Task("b", ("kill", 0))])
        }
    assert outcomes["a"].value == 1
    assert outcomes["b"].died
    assert [o.value for o in engine.map(work.double, [Task("still", 1)])] == [2]


def test_another_version_on_the_workers_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fstriplets.__version__", "99.0")
    address = engine._cluster.scheduler_address  # type: ignore[attr-defined]
    with (
        pytest.raises(ClusterError, match=r"fstriplets .*99\.0"),
        open_engine(RuntimeConfig(scheduler=address)),
    ):
        pass


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fstriplets.config import RuntimeConfig\nfrom fstriplets.runtime import open_engine\n"
        "with open_engine(RuntimeConfig(workers=1)):\n    pass\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "if __name__ == '__main__'" in done.stderr


def test_devices_are_counted_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-abc,-1,3")
    assert visible_gpus() == ["2", "GPU-abc"]
    listing = """\
        GPU 0: NVIDIA A100 (UUID: GPU-aaa)
          MIG 1g.5gb Device 0: (UUID: MIG-b1)
          MIG 1g.5gb Device 1: (UUID: MIG-b2)
        GPU 1: NVIDIA A100 (UUID: GPU-ccc)
    """
    assert _devices(textwrap.dedent(listing)) == ["MIG-b1", "MIG-b2", "GPU-ccc"]


# the driver's end

DRIVER = """
import sys
from fstriplets.config import RuntimeConfig
from fstriplets.errors import Interrupted
from fstriplets.runtime import Task, open_engine
import runtime_tasks as work

if __name__ == "__main__":
    try:
        with open_engine(RuntimeConfig(workers=2)) as engine:
            list(engine.map(work.announced, (Task(f"t{n}", (sys.argv[1], 600)) for n in range(100))))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_workers_end_with_the_driver(number: int, code: int, tmp_path: Path) -> None:
    script, notes = tmp_path / "driver.py", tmp_path / "notes"
    script.write_text(DRIVER)
    notes.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
    driver = subprocess.Popen(
        [sys.executable, str(script), str(notes)],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    assert wait_until(lambda: len(list(notes.iterdir())) == 2, 60)
    pids = [int(note.name) for note in notes.iterdir()]
    assert all(alive(pid) for pid in pids)
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # Ctrl-C reaches the whole group of processes
    else:
        driver.send_signal(number)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == code
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 15)
    assert b"Traceback" not in errors


def test_ctrl_c_in_process_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught, open_engine(RuntimeConfig(workers=0)) as serial:
        list(serial.map(work.terminate, [Task("a", 0)]))
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) == before
