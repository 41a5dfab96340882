"""A registry: a dict plus a decorator, open to other packages through entry points.

Unknown names raise ConfigError and list the choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from fstriplets.errors import ConfigError

T = TypeVar("T")

__all__ = ["Registry"]


class Registry(Generic[T]):
    """Names to factories.

    Args:
        kind: what is registered, as a person would say it ("editor").
        builtin: name -> "module:attribute", imported only when asked for.
        group: entry-point group through which other packages add theirs.

    Example:
        >>> EDITORS = Registry("editor", {"null": "fstriplets.edits.null:NullEditor"})
        >>> EDITORS.get("null")  # doctest: +SKIP
    """

    def __init__(self, kind: str, builtin: dict[str, str], group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._targets = dict(builtin)
        self._loaded: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a factory under `name`; a name may be taken once."""

        def decorate(factory: T) -> T:
            if name in self._loaded or name in self._targets:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._loaded[name] = factory
            return factory

        return decorate

    def names(self) -> list[str]:
        """All names, built in, registered and from entry points, sorted."""
        plugged = (e.name for e in self._entry_points())
        return sorted({*self._targets, *self._loaded, *plugged})

    def get(self, name: str) -> T:
        """The factory registered as `name`. Raises ConfigError that lists the choices."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> T:
        if name in self._targets:
            module, attribute = self._targets[name].split(":")
            loaded: T = getattr(import_module(module), attribute)
            return loaded
        for point in self._entry_points():
            if point.name == name:
                plugged: T = point.load()
                return plugged
        raise ConfigError(f"unknown {self.kind} {name!r}; choose one of: {', '.join(self.names())}")

    def _entry_points(self) -> Iterator:  # type: ignore[type-arg]
        return iter(entry_points(group=self.group)) if self.group else iter(())
