"""The map over buckets: in process or on Dask. Importing it loads neither."""

from fstriplets.runtime.base import Engine, Outcome, Task, WorkerDied, default_workers, open_engine
from fstriplets.runtime.isolate import find_poison

__all__ = ["Engine", "Outcome", "Task", "WorkerDied", "default_workers", "find_poison", "open_engine"]
