"""Editors by name: the built-in ones, those registered at run time, those other packages plug in.

A package adds its own with an entry point (docs/editors.md):

    [project.entry-points."fstriplets.editors"]
    my-editor = "my_package.editing:MyEditor"

The target is called without arguments, once a process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from fstriplets.edits.base import EDIT_GROUPS, Editor
from fstriplets.errors import ConfigError
from fstriplets.registry import Registry

__all__ = ["EDITORS", "load_editor"]

EDITORS: Registry[Callable[[], Editor]] = Registry(
    "editor",
    {
        "flow-gan": "fstriplets.edits.flow_gan:FlowGanEditor",
        "null": "fstriplets.edits.null:NullEditor",
        "spade": "fstriplets.edits.spade:SpadeEditor",
        "stargan": "fstriplets.edits.stargan:StarGANEditor",
        "warp": "fstriplets.edits.warp.editor:WarpEditor",
    },
    group="fstriplets.editors",
)

_PROMISED = ("name", "edits", "fingerprint", "weights", "edit")


@cache
def load_editor(name: str) -> Editor:
    """The editor registered as `name`, made once a process.

    Raises:
        ConfigError: no such editor (the message lists the choices), or what the entry point gives
            does not follow the protocol of edits/base.py.
    """
    editor = EDITORS.get(name)()
    missing = [attribute for attribute in _PROMISED if not hasattr(editor, attribute)]
    if missing:
        raise ConfigError(
            f"editor {name!r} ({type(editor).__module__}.{type(editor).__qualname__}) lacks"
            f" {', '.join(missing)}: see fstriplets.edits.base.Editor"
        )
    unknown = sorted(set(editor.edits) - set(EDIT_GROUPS))
    if unknown:
        raise ConfigError(
            f"editor {name!r} offers unknown edits {', '.join(unknown)};"
            f" edits are: {', '.join(sorted(EDIT_GROUPS))}"
        )
    return editor
