"""The Dask engine: local processes or a running cluster. The only file that imports dask.

How a death is counted. Dask blames every task that was assigned to a dead worker, also those that only
waited in its queue, retries them by a rule of its own and then raises KilledWorker; `retries=` does not
cover that. Here the driver decides (flights.py): each task marks its start at the scheduler before it runs,
so a death counts against the one task that had started, and all others go back into the queue unblamed. A
local scheduler is told to hand every loss to the driver at once (`allowed-failures: 0`); on a foreign one,
whose setting is not ours, a second mark of the same attempt tells the same.

Answers come back the same way as the marks, as an event through the scheduler, and not as Dask's results:
those stay in the worker's memory until the driver fetches them, so a worker's next task could take finished
work down with it. A Dask future here ends without value; it only brings Dask's own errors.

A worker killed while it starts leaves its nanny waiting for ever, so the driver replaces local workers that
stay away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import process as mp_process
from pathlib import Path
from types import TracebackType
from typing import Any

import dask
import distributed
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, get_worker
from distributed.core import Status
from distributed.system import MEMORY_LIMIT
from distributed.utils import sync

import fstriplets
from fstriplets.config import RuntimeConfig
from fstriplets.errors import ClusterError, MissingDependency
from fstriplets.runtime.base import Outcome, Task, default_workers
from fstriplets.runtime.flights import Flight, Flights, Lost
from fstriplets.runtime.local import local_devices, local_settings, worker_options
from fstriplets.runtime.worker import answer, configure, forget, pickled, unloaded, unpickled

__all__ = ["DaskEngine", "Seat", "run_seats"]

_START_TIMEOUT = 60.0  # seconds for worker processes to come up, or to come back
_STOP_EVERY = 5.0  # seconds between a seat's questions whether to stop
_DEAD_TIMEOUT = 3.0  # seconds a nanny has to start another process when it has none


class _Setup(WorkerPlugin):  # type: ignore[misc]
    """Configures every worker process, also those that join or restart later."""

    def __init__(self, run: str, warm: Callable[[], None] | None, threads: int) -> None:
        self.name = f"fstriplets-{run}"
        self.run, self.warm, self.threads = run, warm, threads

    def setup(self, worker: Any) -> None:
        configure(self.run, self.warm, self.threads)

    def teardown(self, worker: Any) -> None:
        forget(self.run)


def _work(run: str, topic: str, key: str, function: Callable[[Any], Any], payload: Any) -> None:
    """The task at the worker: mark the start, work, send the answer."""
    worker = get_worker()

    def tell(**message: Any) -> None:
        # Waits for the scheduler (1 ms): once it returns, nothing that happens to this process matters.
        sync(worker.loop, worker.scheduler.log_event, topic=topic, msg={"key": key, **message})

    tell(worker=worker.address, pid=os.getpid(), loading=unloaded(run))
    tell(answer=pickled(answer(run, function, payload, lambda: tell(ready=True))))


def _versions() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:2]))
    return {"fstriplets": fstriplets.__version__, "python": python, "distributed": distributed.__version__}


def _introduce(dask_worker: Any) -> tuple[dict[str, str], float, int]:
    """A worker's versions, GPUs on offer and threads."""
    state = dask_worker.state
    return _versions(), state.total_resources.get("GPU", 0), state.nthreads


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


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
        self._maps: list[Flights] = []
        self._missing: dict[int, float] = {}  # local workers that are away, since when
        self._client: Client
        self.workers = 0
        self.timeout = config.bucket_timeout

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes in the order they finish. Maps may be nested: a probe while a build's map is open."""
        flights = Flights(self, function, tasks, max(_START_TIMEOUT, self._config.connect_timeout))
        topic = _topic(flights)
        self._maps.append(flights)
        try:
            self._client.subscribe_topic(topic, lambda event: _tell(flights, event[1]))
            yield from flights.outcomes()
        finally:
            self._maps.remove(flights)
            with contextlib.suppress(Exception):  # the scheduler may be gone, which is reported elsewhere
                self._client.unsubscribe_topic(topic)
            flights.close()

    # opening

    def __enter__(self) -> DaskEngine:
        try:
            self._open()
        except BaseException:
            self._close(abrupt=True)
            raise
        return self

    def _open(self) -> None:
        self._stack.enter_context(_quiet())
        if self._config.scheduler is None:
            self._cluster = self._start_local(local_devices(self._config))
        self._client = self._connect()
        self._stack.callback(self._client.close, timeout=5)
        self._await_workers()
        self.workers = self._check_workers()
        threads = max(1, default_workers() // self.workers) if self._cluster is not None else 1
        try:
            self._client.register_plugin(_Setup(self._run, self._warm, threads))
        except ImportError as error:
            raise ClusterError(f"workers cannot import what this build needs: {error}") from error
        if self._cluster is None:
            self._stack.callback(self._unregister)
        if self._report is not None:
            self._stack.enter_context(self._client.as_current())  # the report asks for a current client
            self._stack.enter_context(_performance_report(self._report))

    def _start_local(self, devices: list[str | None]) -> SpecCluster:
        if getattr(mp_process.current_process(), "_inheriting", False):
            raise ClusterError(
                "worker processes import the script that started them: put its calls under"
                " `if __name__ == '__main__':`, or use workers=0"
            )
        folder = tempfile.mkdtemp(prefix="fstriplets-workers-")
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.callback(_restore_environment, dict(os.environ))
        self._stack.enter_context(dask.config.set(local_settings(self._config)))
        threads = max(1, default_workers() // len(devices))
        workers = {
            index: {"cls": Nanny, "options": worker_options(folder, threads, MEMORY_LIMIT, device)}
            for index, device in enumerate(devices)
        }
        # Any free port, and no dashboard: many builds may run on a machine.
        options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        try:
            cluster = SpecCluster(
                workers, {"cls": Scheduler, "options": options}, silence_logs=logging.CRITICAL
            )
        except (RuntimeError, OSError, asyncio.TimeoutError) as error:
            raise ClusterError(
                f"worker processes do not start ({type(error).__name__}: {error}); a script that calls"
                " fstriplets needs `if __name__ == '__main__':`, and workers=0 runs in process"
            ) from error
        self._stack.callback(_close_cluster, cluster)
        return cluster

    def _connect(self) -> Client:
        address, seconds = self._config.scheduler, self._config.connect_timeout
        try:
            return Client(self._cluster or address, timeout=seconds, set_as_default=False)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {address} within {seconds:g} s ({type(error).__name__}); check"
                " the address, start one with `dask scheduler`, or leave --scheduler out to work here"
            ) from error

    def _await_workers(self) -> None:
        expected = len(self._cluster.workers) if self._cluster is not None else 1
        try:
            self._client.wait_for_workers(expected, timeout=max(_START_TIMEOUT, self._config.connect_timeout))
        except asyncio.TimeoutError as error:
            where = self._client.scheduler.address
            raise ClusterError(
                f"the scheduler at {where} has too few workers: {expected} expected; start some with"
                f" `dask worker {where} --nthreads 1`"
            ) from error

    def _check_workers(self) -> int:
        """Tasks the workers take at once. Raises ClusterError for workers that cannot do the work."""
        mine = _versions()
        try:
            known = self._client.run(_introduce)
        except Exception as error:
            raise ClusterError(
                f"the workers at {self._client.scheduler.address} cannot run fstriplets {mine['fstriplets']}"
                f" ({type(error).__name__}: {error}); install the same version on every worker"
            ) from error
        for address, (its, _, _) in known.items():
            for name, version in mine.items():
                if its[name] != version:
                    raise ClusterError(
                        f"worker {address} has {name} {its[name]}, this machine has {version}; make them the"
                        " same, for the bytes of a dataset depend on them"
                    )
        if not self._config.gpu:
            return int(sum(threads for _, _, threads in known.values()))
        gpus = int(sum(gpu for _, gpu, _ in known.values()))
        if not gpus:
            raise ClusterError(
                "runtime.gpu is on, but no worker offers the resource GPU; start GPU workers with"
                " `dask worker ADDRESS --nthreads 1 --resources GPU=1`, or set runtime.gpu=false"
            )
        return gpus

    # closing

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(abrupt=error is not None or bool(self._maps))

    def _close(self, abrupt: bool) -> None:
        """Close everything. Abruptly: tasks still running are killed where the workers are ours."""
        for flights in list(self._maps):
            flights.close()
        if abrupt and self._cluster is not None:
            for nanny in list(self._cluster.workers.values()):
                nanny.close_gracefully()  # do not restart what is killed next
                _end(nanny)
        self._stack.close()

    def _unregister(self) -> None:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            self._client.unregister_worker_plugin(f"fstriplets-{self._run}")

    # what flights ask for: see flights.Cluster

    def flight(self, task: Task) -> Flight:
        """A task with the config's limits where it brings none."""
        config = self._config
        return Flight(task, task.timeout or config.bucket_timeout, task.attempts or config.max_attempts)

    def submit(self, flight: Flight, function: Callable[[Any], Any], flights: Flights) -> Future:
        """Hand an attempt to Dask."""
        topic = _topic(flights)
        future = self._client.submit(
            _work,
            self._run,
            topic,
            flight.key,
            function,
            flight.task.payload,
            # A tuple: its first part groups the tasks, or the scheduler would keep a record of each for ever.
            key=(topic, flight.key),
            resources={"GPU": 1} if self._config.gpu else None,
            pure=False,
        )
        self._client.loop.add_callback(_follow, flight.key, future, flights)
        return future

    def cancel(self, handles: list[Future]) -> None:
        """Forget attempts. One that runs on a foreign worker runs to its end there, unheard."""
        with contextlib.suppress(Exception):
            for future in handles:
                future.release()

    def kill_worker(self, address: str, pid: int) -> None:
        """Kill a worker process; its nanny starts another."""
        if self._cluster is not None:
            with contextlib.suppress(ProcessLookupError):
                _kill(pid)
        else:  # a thread, for a machine that hangs may not answer
            threading.Thread(target=self._kill_far, args=(address, pid), daemon=True).start()

    def _kill_far(self, address: str, pid: int) -> None:
        for nanny in (True, False):  # without a nanny, the worker itself, if it still listens
            with contextlib.suppress(Exception):
                self._client.run(_kill, pid, workers=[address], nanny=nanny)
                return

    def stop_hung(self) -> None:
        """Kill the workers of tasks over their time, in every open map."""
        now = time.monotonic()
        for flight in [flight for flights in self._maps for flight in list(flights.flying.values())]:
            place = flight.place
            if place is not None and flight.killed is None and now - flight.since > flight.timeout:
                flight.hung, flight.killed = True, now
                self.kill_worker(*place)

    def any_workers(self) -> bool:
        """Whether any worker is there. Raises ClusterError when the scheduler is gone."""
        if self._client.status != "running":
            raise ClusterError(
                f"lost the Dask scheduler at {self._config.scheduler}; start it again and run the same"
                " command: finished shards stay"
            )
        self._replace_missing()
        return bool(self._client.nthreads())

    def _replace_missing(self) -> None:
        """Start anew what local workers are away for too long."""
        if self._cluster is None:
            return
        here = {worker.name for worker in list(self._cluster.scheduler.workers.values())}
        now = time.monotonic()
        for name in self._cluster.worker_spec:
            if name in here:
                self._missing.pop(name, None)
                continue
            nanny = self._cluster.workers.get(name)
            alive = nanny is not None and nanny.is_alive()
            limit = _START_TIMEOUT if alive else _DEAD_TIMEOUT
            if now - self._missing.setdefault(name, now) > limit:
                del self._missing[name]
                self._cluster.loop.add_callback(_replace, self._cluster, name)


@dataclass(frozen=True)
class Seat:
    """A worker's place among those that `run_seats` runs a function on at once."""

    rank: int
    size: int
    local_rank: int  #: among the seats of its machine
    meeting: str  #: `tcp://host:port` on the first seat's machine, free for a process group
    run: str

    def tell(self, message: Any) -> None:
        """Sends something small to the driver."""
        worker = get_worker()
        sync(worker.loop, worker.scheduler.log_event, topic=self.run, msg=message)

    def stopped(self) -> bool:
        """Whether the driver was interrupted; asked of the scheduler every few seconds only."""
        return _asked_to_stop(self.run, int(time.monotonic() / _STOP_EVERY))


def run_seats(
    scheduler: str,
    function: Callable[[Seat, Any], Any],
    payload: Any,
    hear: Callable[[Any], None],
    connect_timeout: float = 30.0,
) -> list[Any]:
    """Runs `function(seat, payload)` once on each worker, all at the same time: for process groups.

    Args:
        scheduler: its address. hear: called with what seats tell.

    Returns:
        What each returned, by rank. After Ctrl-C seats see `stopped` and end by themselves.

    Raises:
        ClusterError: no scheduler, no workers, or a worker died. Else what the first seat to fail raised.
    """
    run = f"fstriplets-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        try:
            client = stack.enter_context(Client(scheduler, timeout=connect_timeout, set_as_default=False))
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise ClusterError(f"no Dask scheduler answers at {scheduler}: check the address") from error
        known = client.run(_introduce)
        gpus = sorted(address for address, (_, gpu, _) in known.items() if gpu)
        addresses = gpus or sorted(known)
        if not addresses:
            raise ClusterError(f"the scheduler at {scheduler} has no workers: start some with `dask worker`")
        client.subscribe_topic(run, lambda event: hear(event[1]))
        meeting = client.run(_meeting, workers=addresses[:1])[addresses[0]]
        hosts = [address.rpartition(":")[0] for address in addresses]
        seats = [
            Seat(rank, len(addresses), hosts[:rank].count(host), meeting, run)
            for rank, host in enumerate(hosts)
        ]
        futures = [
            client.submit(
                function,
                seat,
                payload,
                workers=[address],
                allow_other_workers=False,
                resources={"GPU": 1} if gpus else None,
                pure=False,
                key=(run, str(seat.rank)),
            )
            for seat, address in zip(seats, addresses, strict=True)
        ]
        return _gathered(client, run, futures)


def _gathered(client: Client, run: str, futures: list[Future]) -> list[Any]:
    """All answers, or the first error; seats that still run are told to stop."""
    stop = distributed.Event(run, client=client)
    try:
        for future in distributed.as_completed(futures, loop=client.loop):
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise ClusterError(f"a worker died ({error}); the same command goes on from the checkpoint")
            if error is not None:
                raise error
    except KeyboardInterrupt:
        stop.set()
    except BaseException:
        stop.set()
        raise
    return list(client.gather(futures))


@lru_cache(maxsize=4)
def _asked_to_stop(run: str, when: int) -> bool:
    """`when` counts the questions; within the same one the first answer stands."""
    return bool(distributed.Event(run).is_set())


def _meeting(dask_worker: Any) -> str:
    """An address on a worker's machine that is free now."""
    host = dask_worker.address.rpartition("//")[2].rpartition(":")[0]
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


def _topic(flights: Flights) -> str:
    return f"fstriplets-{flights.id}"


def _tell(flights: Flights, message: dict[str, Any]) -> None:
    """In the client's event loop: pass on what a worker told."""
    key = message["key"]
    if "ready" in message:
        flights.ready(key)
    elif "pid" in message:
        flights.started(key, message["worker"], message["pid"], message["loading"])
    else:
        flights.ended(key, unpickled(message["answer"]))


async def _follow(key: str, future: Future, flights: Flights) -> None:
    """In the client's event loop: pass on Dask's own errors. Awaits the end only; there is no result."""
    try:
        error = await future.exception()
    except (KilledWorker, asyncio.CancelledError) as lost:
        error = lost
    if isinstance(error, KilledWorker | asyncio.CancelledError):
        flights.ended(key, Lost())
    elif error is not None:  # e.g. the function cannot be imported there
        flights.ended(key, error)


async def _replace(cluster: SpecCluster, name: int) -> None:
    """In the cluster's event loop: drop a worker's nanny and let the cluster fill the gap."""
    nanny = cluster.workers.pop(name, None)
    if nanny is not None:
        nanny.close_gracefully()
        _end(nanny)
        try:
            await asyncio.wait_for(nanny.close(timeout=1), 3)
        except Exception:
            nanny.status = Status.failed  # it waits for a start that never comes
    if cluster.status == Status.running:
        cluster.scale(len(cluster.worker_spec))


def _close_cluster(cluster: SpecCluster) -> None:
    """Close without complaint: whatever state killed workers left it in, their processes end here."""
    with contextlib.suppress(Exception):
        cluster.close(timeout=10)
    for nanny in list(cluster.workers.values()):
        _end(nanny)


def _end(nanny: Nanny) -> None:
    if nanny.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            _kill(nanny.pid)


def _restore_environment(before: dict[str, str]) -> None:
    """Nannies set thread counts and a hash seed in the driver's own environment."""
    for name in [name for name in os.environ if name not in before]:
        del os.environ[name]
    os.environ.update(before)


def _performance_report(path: Path) -> Any:
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise MissingDependency("bokeh", "report", "runtime.performance_report") from None
    return distributed.performance_report(filename=str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs every broken connection; what they mean for a build is told as an error or an outcome."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
