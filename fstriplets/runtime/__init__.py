"""The map over buckets: in process or on Dask. Importing it loads neither."""

from fstriplets.runtime.base import Engine, Outcome, Task, WorkerDied, default_workers, open_engine

__all__ = ["Engine", "Outcome", "Task", "WorkerDied", "default_workers", "open_engine"]
