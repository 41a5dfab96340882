"""How a local cluster is set up: Dask settings and worker options, as plain dicts."""

from __future__ import annotations

import logging
from typing import Any

from fstriplets.config import RuntimeConfig
from fstriplets.errors import ClusterError
from fstriplets.runtime.base import default_workers
from fstriplets.runtime.gpus import visible_gpus

__all__ = ["local_devices", "local_settings", "worker_options"]


def local_devices(config: RuntimeConfig) -> list[str | None]:
    """One entry a worker process: its CUDA device, or None.

    Raises:
        ClusterError: GPUs asked for, none here.
    """
    if not config.gpu:
        return [None] * (config.workers or default_workers())
    devices = visible_gpus()
    if not devices:
        raise ClusterError(
            "runtime.gpu is on, but this machine shows no CUDA device (nvidia-smi -L, CUDA_VISIBLE_DEVICES);"
            " set runtime.gpu=false, or --scheduler to a cluster with GPU workers"
        )
    return [*devices[: config.workers or None]]


def local_settings(config: RuntimeConfig) -> dict[str, Any]:
    """Dask settings of a local cluster; read by the scheduler and the workers when they start."""
    return {
        "distributed.scheduler.allowed-failures": 0,  # every loss goes to the driver, which counts itself
        # A worker in native code that holds the GIL sends no heartbeat: hanging is bucket_timeout's to judge.
        "distributed.scheduler.worker-ttl": f"{int(max(3600, 2 * config.bucket_timeout))} s",
        # Buckets hold their pixels outside Dask's sight, so spilling frees nothing and pausing stops the
        # run for good. `terminate` stays: at 95 % of its limit, better killed here than by the kernel.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        # Dask has glibc give freed memory back at once. Editors free and take the same megabytes for every
        # face: the kernel's zeroing of them was a third of the workers' time.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * 1024 * 1024,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 1024 * 1024,
        "distributed.deploy.lost-worker-timeout": "1 day",  # the engine replaces workers itself
        "distributed.comm.timeouts.connect": "60 s",  # a busy machine, not a far one
        "logging": {"distributed": "critical", "tornado": "critical", "asyncio": "critical"},
    }


def worker_options(folder: str, threads: int, memory: float, device: str | None) -> dict[str, Any]:
    """Options of one worker process.

    Args:
        folder: for Dask's scratch files.
        threads: of the numeric libraries in this process.
        memory: bytes at which it is killed: the whole machine's. A share of it, as Dask has it, kills workers
            on small machines for loading models that would have fitted.
        device: the CUDA device it alone sees.
    """
    env: dict[str, Any] = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads
    )
    env["OPENCV_FOR_THREADS_NUM"] = 1
    if device is not None:
        env["CUDA_VISIBLE_DEVICES"] = device
    return {
        "host": "127.0.0.1",
        "nthreads": 1,
        "local_directory": folder,
        "memory_limit": memory,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        "death_timeout": 60,
        "resources": {"GPU": 1} if device is not None else None,
        "env": env,
    }
