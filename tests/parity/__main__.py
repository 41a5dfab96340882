"""python -m tests.parity GOLDENS_FOLDER [NET ...]: exit code 1 if a net fails, 2 for a wrong call."""

from __future__ import annotations

import sys

from .check import Folder
from .factories import FACTORIES


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        folder = Folder(arguments[0])
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    named = arguments[1:]
    checked, failed = 0, []
    for net in named or folder.nets:
        if not named and net not in FACTORIES:
            print(f"{net:28} skipped: not in FACTORIES (tests/parity/factories.py)", flush=True)
            continue
        report = folder.check(net)
        print(report, flush=True)
        checked += 1
        if not report.passed:
            failed.append(net)
    if failed:
        print(f"failed: {', '.join(failed)}")
    if not checked:
        print("nothing checked: no net of this folder is in FACTORIES")
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
