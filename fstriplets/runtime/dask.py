"""The Dask engine: local processes or a running cluster. The only file that imports dask.

How a death is counted. Dask blames every task that was assigned to a dead worker, also those that only
waited in its queue, retries them by a rule of its own and then raises KilledWorker; `retries=` does not cover
that. Here the driver decides: each task marks its start at the scheduler before it runs, so a death counts
against the one task that had started, and all others go back into the queue unblamed. A local scheduler is
told to hand every loss to the driver at once (`allowed-failures: 0`); on a foreign one, whose setting is not
ours, a second start of the same task tells the same.

Answers come back the same way as the marks, as an event through the scheduler, and not as Dask's results:
those stay in the worker's memory until the driver fetches them, so a worker's next task could take finished
work down with it. A Dask future here ends without value; it only brings Dask's own errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import process as mp_process
from pathlib import Path
from types import TracebackType
from typing import Any

import dask
import distributed
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, get_worker
from distributed.system import MEMORY_LIMIT
from distributed.utils import sync

import fstriplets
from fstriplets.config import RuntimeConfig
from fstriplets.errors import ClusterError, MissingDependency
from fstriplets.runtime.base import Outcome, Task, WorkerDied, default_workers
from fstriplets.runtime.gpus import visible_gpus
from fstriplets.runtime.worker import Answer, answer, configure, forget, pickled

__all__ = ["DaskEngine"]

_WINDOW = 3  # tasks handed out per worker: one runs, one is at hand, one covers the round trip
_TICK = 0.5  # seconds between looks at hung tasks
_KILL_GRACE = 30.0  # seconds a killed worker has to be reported dead before the driver gives up on it
_LOST_LIMIT = 50  # requeues of a task that never got to start, after which something else is wrong


class _Setup(WorkerPlugin):  # type: ignore[misc]
    """Configures every worker process, also those that join or restart later."""

    def __init__(self, run: str, warm: Callable[[], None] | None, threads: int) -> None:
        self.name = f"fstriplets-{run}"
        self.run, self.warm, self.threads = run, warm, threads

    def setup(self, worker: Any) -> None:
        configure(self.run, self.warm, self.threads)

    def teardown(self, worker: Any) -> None:
        forget(self.run)


def _run(run: str, topic: str, key: str, function: Callable[[Any], Any], payload: Any) -> None:
    """The task at the worker: mark the start, work, send the answer."""
    worker = get_worker()

    def tell(**message: Any) -> None:
        # Waits for the scheduler (1 ms): once it returns, nothing that happens to this process matters.
        sync(worker.loop, worker.scheduler.log_event, topic=topic, msg={"key": key, **message})

    tell(worker=worker.address, pid=os.getpid())
    tell(answer=pickled(answer(run, function, payload)))


def _introduce(dask_worker: Any) -> dict[str, Any]:
    """What the driver has to know of a worker before it trusts it with buckets."""
    return {
        "fstriplets": fstriplets.__version__,
        "python": ".".join(map(str, sys.version_info[:2])),
        "distributed": distributed.__version__,
        "gpu": dask_worker.state.total_resources.get("GPU", 0),
        "nthreads": dask_worker.state.nthreads,
    }


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@dataclass
class _Flight:
    """A task on its way."""

    task: Task
    timeout: float
    attempts: int
    key: str = ""
    future: Any = None
    place: tuple[str, int] | None = None  #: worker address and pid, once it started
    since: float = 0.0  #: monotonic seconds of the start
    killed: float | None = None  #: when the driver had its worker killed
    deaths: int = 0
    lost: int = 0
    hung: bool = False


class DaskEngine:
    """See `runtime.base.Engine`; a context manager.

    Args:
        config: workers, scheduler, gpu, max_attempts, bucket_timeout, connect_timeout.
        warm: called once per worker process before its first task.
        report: where the performance report goes.
    """

    def __init__(
        self, config: RuntimeConfig, warm: Callable[[], None] | None = None, report: Path | None = None
    ) -> None:
        self._config, self._warm, self._report = config, warm, report
        self._run = uuid.uuid4().hex
        self._stack = contextlib.ExitStack()
        self._cluster: SpecCluster | None = None
        self._maps: list[_Map] = []
        self.workers = 0

    def __enter__(self) -> DaskEngine:
        try:
            self._open()
        except BaseException:
            self._close(abrupt=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(abrupt=error is not None or bool(self._maps))

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes in the order they finish; maps may be nested (a probe while a build's map is open)."""
        current = _Map(self, function, tasks)
        self._maps.append(current)
        try:
            yield from current.outcomes()
        finally:
            self._maps.remove(current)
            current.close()

    # opening and closing

    def _open(self) -> None:
        config = self._config
        if config.scheduler is None:
            self._cluster = self._start_local()
            address: Any = self._cluster
        else:
            address = config.scheduler
        self.client = self._connect(address)
        self._stack.callback(self.client.close, timeout=5)
        self._await_workers()
        self.workers = self._check_workers()
        threads = max(1, default_workers() // self.workers) if self._cluster is not None else 1
        self.client.register_plugin(_Setup(self._run, self._warm, threads))
        if self._cluster is None:
            self._stack.callback(self._unregister)
        if self._report is not None:
            self._stack.enter_context(_performance_report(self._report))

    def _start_local(self) -> SpecCluster:
        if getattr(mp_process.current_process(), "_inheriting", False):
            raise ClusterError(
                "worker processes import the script that started them: put its calls under"
                " `if __name__ == '__main__':`, or use workers=0"
            )
        config = self._config
        devices = visible_gpus() if config.gpu else []
        if config.gpu and not devices:
            raise ClusterError(
                "runtime.gpu is on, but this machine shows no CUDA device (nvidia-smi -L,"
                " CUDA_VISIBLE_DEVICES); set runtime.gpu=false, or --scheduler to a cluster with GPU workers"
            )
        count = config.workers or len(devices) or default_workers()
        if devices:
            count = min(count, len(devices))
        folder = tempfile.mkdtemp(prefix="fstriplets-workers-")
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.enter_context(dask.config.set(_local_settings(config)))
        threads = max(1, default_workers() // count)
        specs = {i: _worker_spec(folder, threads, devices[i] if devices else None) for i in range(count)}
        try:
            cluster = SpecCluster(
                workers=specs,
                scheduler={
                    "cls": Scheduler,
                    "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": None},
                },
                silence_logs=logging.CRITICAL,
            )
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ClusterError(
                f"worker processes do not start: {error}; a script that calls fstriplets needs"
                " `if __name__ == '__main__':`; workers=0 runs in this process"
            ) from error
        self._stack.callback(cluster.close, timeout=10)
        return cluster

    def _connect(self, address: Any) -> Client:
        try:
            return Client(address, timeout=self._config.connect_timeout, set_as_default=False)
        except (OSError, TimeoutError, asyncio.TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {self._config.scheduler} within"
                f" {self._config.connect_timeout:g} s ({type(error).__name__}); start one with"
                " `dask scheduler`, check the address, or leave --scheduler out to work on this machine"
            ) from error

    def _await_workers(self) -> None:
        expected = len(self._cluster.workers) if self._cluster is not None else 1
        try:
            self.client.wait_for_workers(expected, timeout=max(30.0, self._config.connect_timeout))
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise ClusterError(
                f"the scheduler at {self.client.scheduler.address} has no workers; start some with"
                f" `dask worker {self.client.scheduler.address} --nthreads 1`"
            ) from error

    def _check_workers(self) -> int:
        """Slots for tasks. Raises ClusterError for workers that cannot do the work."""
        try:
            known = self.client.run(_introduce)
        except Exception as error:
            raise ClusterError(
                f"workers of {self.client.scheduler.address} cannot import fstriplets {fstriplets.__version__}"
                f" ({type(error).__name__}: {error}); install the same version on every worker"
            ) from error
        mine = {
            "fstriplets": fstriplets.__version__,
            "python": ".".join(map(str, sys.version_info[:2])),
            "distributed": distributed.__version__,
        }
        for address, its in known.items():
            for name, version in mine.items():
                if its[name] != version:
                    raise ClusterError(
                        f"worker {address} has {name} {its[name]}, this machine {version};"
                        " make them the same, for a dataset's bytes depend on them"
                    )
        if self._config.gpu:
            slots = int(sum(its["gpu"] for its in known.values()))
            if not slots:
                raise ClusterError(
                    "runtime.gpu is on, but no worker offers the resource GPU; start GPU workers with"
                    " `dask worker ADDRESS --nthreads 1 --resources GPU=1`, or set runtime.gpu=false"
                )
            return slots
        return int(sum(its["nthreads"] for its in known.values()))

    def _unregister(self) -> None:
        with contextlib.suppress(Exception):
            self.client.unregister_worker_plugin(f"fstriplets-{self._run}")

    def _close(self, abrupt: bool) -> None:
        """Close everything. Abruptly: running tasks are killed where the workers are ours."""
        for current in list(self._maps):
            current.close()
        if abrupt and self._cluster is not None:
            for nanny in list(self._cluster.workers.values()):
                nanny.auto_restart = False
                with contextlib.suppress(Exception):
                    nanny.close_gracefully()  # no restart of what is killed next
                    _kill(nanny.pid)
        with _quiet():
            self._stack.close()

    # what maps need

    @property
    def resources(self) -> dict[str, float] | None:
        """What a task asks of its worker."""
        return {"GPU": 1} if self._config.gpu else None

    def flight(self, task: Task) -> _Flight:
        """A task with the config's limits where it brings none."""
        config = self._config
        return _Flight(task, task.timeout or config.bucket_timeout, task.attempts or config.max_attempts)

    def stop_hung(self) -> None:
        """Kill the workers of tasks over their time, in every open map."""
        now = time.monotonic()
        for flight in [flight for current in self._maps for flight in list(current.flights.values())]:
            if flight.place and flight.killed is None and now - flight.since > flight.timeout:
                flight.hung, flight.killed = True, now
                self.kill_worker(*flight.place)

    def kill_worker(self, address: str, pid: int) -> None:
        """Kill a worker process; its nanny starts another."""
        if self._cluster is not None:
            with contextlib.suppress(ProcessLookupError):
                _kill(pid)
            return

        def ask() -> None:
            try:
                self.client.run(_kill, pid, workers=[address], nanny=True)
            except Exception:  # no nanny: the worker takes itself down, if it still listens
                with contextlib.suppress(Exception):
                    self.client.run(_kill, pid, workers=[address])

        threading.Thread(target=ask, daemon=True).start()

    def check_alive(self) -> bool:
        """Whether any worker is there. Raises ClusterError when the scheduler is gone."""
        if self.client.status != "running":
            raise ClusterError(
                f"lost the scheduler at {self.client.scheduler.address}; start it again and run the same"
                " command, finished shards stay"
            )
        return bool(self.client.nthreads())


class _Map:
    """One map's state: the window of tasks on their way."""

    def __init__(self, engine: DaskEngine, function: Callable[[Any], Any], tasks: Iterable[Task]) -> None:
        self._engine, self._function = engine, function
        self._waiting = iter(tasks)
        self._id = uuid.uuid4().hex
        self._count = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Answer | BaseException]] = queue.SimpleQueue()
        self._closed = False
        self.flights: dict[str, _Flight] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """The loop: fill the window, wait for something to happen, hand it on."""
        client = self._engine.client
        client.subscribe_topic(f"fstriplets-{self._id}", self._told)
        quiet_since = time.monotonic()
        while self._fill():
            try:
                message = self._inbox.get(timeout=_TICK)
            except queue.Empty:
                outcome = None
                if self._engine.check_alive():
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > max(30.0, self._engine._config.connect_timeout):
                    raise ClusterError(
                        "all workers are gone and none came back; start workers and run the same command:"
                        " finished shards stay"
                    ) from None
            else:
                outcome = self._settle(*message)
            self._engine.stop_hung()
            if outcome is not None:
                yield outcome
            yield from self._give_up()

    def close(self) -> None:
        """Cancel what is on its way."""
        if self._closed:
            return
        self._closed = True
        futures = [flight.future for flight in self.flights.values()]
        self.flights.clear()
        with contextlib.suppress(Exception):
            self._engine.client.unsubscribe_topic(f"fstriplets-{self._id}")
            if futures:
                self._engine.client.cancel(futures, force=True)

    def _fill(self) -> bool:
        """Keep the window full. False: nothing is on its way any more."""
        room = _WINDOW * self._engine.workers - len(self.flights)
        for task in itertools.islice(self._waiting, max(0, room)):
            self._submit(self._engine.flight(task))
        return bool(self.flights)

    def _submit(self, flight: _Flight) -> None:
        # A new key for each attempt: Dask remembers what it blamed. One prefix a map, or the scheduler
        # would keep a record for each task for ever.
        flight.key = f"{flight.task.key}/{next(self._count)}"
        flight.place, flight.killed = None, None
        self.flights[flight.key] = flight
        client = self._engine.client
        flight.future = client.submit(
            _run,
            self._engine._run,
            f"fstriplets-{self._id}",
            flight.key,
            self._function,
            flight.task.payload,
            key=(f"fstriplets-{self._id}", flight.key),
            resources=self._engine.resources,
            pure=False,
        )
        client.loop.add_callback(self._follow, flight.key, flight.future)

    async def _follow(self, key: str, future: Future) -> None:
        """In the client's event loop: wait for Dask's own errors."""
        try:
            await future
        except BaseException as error:  # CancelledError too; the driver's thread judges
            self._inbox.put((key, error))

    def _told(self, event: tuple[float, dict[str, Any]]) -> None:
        """In the client's event loop: a task has started or answered."""
        message = event[1]
        flight = self.flights.get(message["key"])
        if flight is None:
            return
        if "answer" in message:
            flight.place = None
            self._inbox.put((flight.key, _unpickled(message["answer"])))
            return
        if flight.place is not None:  # started before and never answered: that start died
            flight.deaths += 1
        flight.place, flight.since = (message["worker"], message["pid"]), time.monotonic()
        flight.killed = None

    def _settle(self, key: str, answer: Answer | BaseException) -> Outcome | None:
        """Judge a task that ended; None when it goes back into the queue."""
        flight = self.flights.pop(key, None)
        if flight is None:
            return None  # given up, or answered and then lost with its worker: no matter
        flight.future.release()
        if isinstance(answer, Answer):
            return Outcome(flight.task, answer.value, answer.raised(), flight.deaths)
        if isinstance(answer, KilledWorker):
            return self._bury(flight)
        if isinstance(answer, asyncio.CancelledError):
            self._engine.check_alive()
            return self._bury(flight)
        return Outcome(flight.task, None, answer, flight.deaths)

    def _bury(self, flight: _Flight) -> Outcome | None:
        """Count a death against the task that had started; others were only in the way."""
        if flight.place is not None:
            flight.deaths += 1
        else:
            flight.lost += 1
        if flight.deaths >= flight.attempts or flight.lost >= _LOST_LIMIT:
            return _died(flight)
        self._submit(flight)
        return None

    def _give_up(self) -> Iterator[Outcome]:
        """Tasks that a foreign scheduler restarted once too often, or whose kill has no effect."""
        now = time.monotonic()
        for key, flight in list(self.flights.items()):
            stuck = flight.killed is not None and now - flight.killed > _KILL_GRACE
            if flight.deaths < flight.attempts and not stuck:
                continue
            del self.flights[key]
            self._engine.client.cancel([flight.future], force=True)
            if stuck:
                outcome = self._bury(flight)
            else:
                if flight.place is not None:
                    self._engine.kill_worker(*flight.place)
                outcome = _died(flight)
            if outcome is not None:
                yield outcome


def _unpickled(data: bytes) -> Answer:
    try:
        answer: Answer = pickle.loads(data)
    except Exception as error:
        return Answer(None, error)
    return answer


def _died(flight: _Flight) -> Outcome:
    how = f"hung (over {flight.timeout:g} s)" if flight.hung else "died (killed, out of memory or crashed)"
    error = WorkerDied(f"{flight.task.key}: its worker {how}, {flight.deaths} times")
    return Outcome(flight.task, None, error, flight.deaths)


def _local_settings(config: RuntimeConfig) -> dict[str, Any]:
    """Dask settings of a local cluster; read by scheduler and workers when they start."""
    return {
        "distributed.scheduler.allowed-failures": 0,  # the driver counts, see above
        # A worker in native code that holds the GIL sends no heartbeat; hanging is bucket_timeout's to judge.
        "distributed.scheduler.worker-ttl": f"{int(max(3600, 2 * config.bucket_timeout))} s",
        # Buckets hold their pixels outside Dask's sight: spilling or pausing could free nothing and would
        # only stop the run. `terminate` stays: at 95 % of the machine's memory in one process, a kill is
        # better than the kernel's choice.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.worker.daemon": True,
        "distributed.comm.timeouts.connect": "60 s",  # a machine under load, not a far one
        "logging": {"distributed": "critical", "tornado": "critical", "asyncio": "critical"},
    }


def _worker_spec(folder: str, threads: int, device: str | None) -> dict[str, Any]:
    env = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    options = {
        "host": "127.0.0.1",
        "nthreads": 1,
        "local_directory": folder,
        # The whole machine's: a share of it (Dask's default) kills workers on small machines for loading
        # models that would have fitted.
        "memory_limit": MEMORY_LIMIT,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        "death_timeout": 60,
        "resources": {"GPU": 1} if device else None,
        "env": {**env, "OPENCV_FOR_THREADS_NUM": 1, **({"CUDA_VISIBLE_DEVICES": device} if device else {})},
    }
    return {"cls": Nanny, "options": options}


def _performance_report(path: Path) -> Any:
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise MissingDependency("bokeh", "report", "runtime.performance_report") from None
    return distributed.performance_report(filename=str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Closing a cluster with killed workers is noisy by nature; nothing in the noise is news."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
