"""Every error fstriplets raises on purpose.

    FstripletsError              exit code 1: a failure of ours
     └─ UserError                exit code 2: bad input or a bad call; the message names the way out
         ├─ ConfigError          a YAML key, flag or value
         ├─ CorpusError          the photos: missing, empty, malformed table
         ├─ WeightsError         weights missing, or not the file they claim to be
         ├─ OutputError          the dataset folder: unwritable, full, built by another config
         ├─ DatasetError         a dataset to read: missing, damaged, not one of ours
         ├─ ClusterError         scheduler unreachable, no worker offers what was asked for
         └─ MissingDependency    an optional package; the message is the install command
    PhotoRejected                not a failure: one photo, face or edit that becomes a manifest row
    Interrupted                  exit code 130: stopped by the user; the build resumes

System faults (ImportError, MemoryError, a full disk) are never turned into rows.
"""

from __future__ import annotations

__all__ = [
    "ClusterError",
    "ConfigError",
    "CorpusError",
    "DatasetError",
    "FstripletsError",
    "Interrupted",
    "MissingDependency",
    "OutputError",
    "PhotoRejected",
    "UserError",
    "WeightsError",
]


class FstripletsError(Exception):
    """A failure of ours. `exit_code` is what the command line ends with."""

    exit_code = 1


class UserError(FstripletsError):
    """Bad input or a bad call. The message names the file, key or flag and the way out."""

    exit_code = 2


class ConfigError(UserError):
    """A pipeline key, flag or value is unknown or out of range."""


class CorpusError(UserError):
    """The corpus is missing, empty or malformed."""


class WeightsError(UserError):
    """Weights are missing, or their hash is not the registered one."""


class OutputError(UserError):
    """The dataset folder cannot be written, is full, or belongs to another config."""


class DatasetError(UserError):
    """A dataset cannot be read: missing, damaged, or not one of ours. Names the shard and member."""


class ClusterError(UserError):
    """The scheduler cannot be reached, or no worker offers the resource asked for."""


class MissingDependency(UserError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._given = (package, extra, purpose)
        super().__init__(f"{purpose} needs {package}: pip install 'fstriplets[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return (MissingDependency, self._given)


class Interrupted(FstripletsError):
    """Stopped by the user (Ctrl-C, SIGTERM). Finished shards stay; the same command resumes."""

    exit_code = 130


class PhotoRejected(Exception):
    """One photo, face or edit cannot be used; it becomes a manifest row, the run goes on.

    Args:
        reason: short snake_case code, e.g. `truncated`, `no_face`.
        message: what a person needs to know, one sentence.
        status: `rejected` (a gate said no) or `failed` (an error).
    """

    def __init__(self, reason: str, message: str, status: str = "rejected") -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return (PhotoRejected, (self.reason, self.message, self.status))
