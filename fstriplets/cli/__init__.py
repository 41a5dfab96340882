"""The command line: parse → config → one call. One file per command group, loaded when it is asked for."""

from fstriplets.cli.app import main

__all__ = ["main"]
