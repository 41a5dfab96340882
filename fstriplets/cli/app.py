"""The `fstriplets` command: its table of commands, and how errors end it.

Exit codes: 0 done, 2 bad input or a bad call, 1 a failure of ours, 130 stopped by the user. Library
code raises (errors.py); only this file turns an exception into a message and an exit code.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from fstriplets import __version__
from fstriplets.cli.lazy import LazyGroup
from fstriplets.errors import FstripletsError

__all__ = ["cli", "main", "run"]

#: name -> (where the command is, its line in `--help`).
COMMANDS = {
    "build": ("fstriplets.cli.build:build", "Build triplet shards and manifests from a corpus of photos."),
    "inspect": ("fstriplets.cli.inspect:inspect", "Show what is in a dataset: counts, reasons, pictures."),
    "weights": (
        "fstriplets.cli.weights:weights",
        "Network weights: see what is known, fetch it, take local copies, check them.",
    ),
    "train": ("fstriplets.cli.train:train", "Train networks."),
    "evaluate": (
        "fstriplets.cli.evaluate:evaluate",
        "Measure how good the parts are, against truth and on real photos.",
    ),
    "swap": ("fstriplets.cli.swap:swap", "Swap faces in photos and videos."),
    "export": ("fstriplets.cli.export:export", "Export trained networks: ONNX, Core ML, TFLite, a web page."),
    "synth": ("fstriplets.cli.synth:synth", "Render synthetic faces with ground truth."),
}


@click.group(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try it: `fstriplets build quickstart` builds the demo corpus that travels with the package.",
)
@click.version_option(__version__, "--version", prog_name="fstriplets")
@click.option("--debug", is_flag=True, help="Show the traceback of errors (also: FSTRIPLETS_DEBUG=1).")
def cli(debug: bool) -> None:
    """Face-swap training triplets (source, target, result) from photos grouped by person."""
    if debug:
        os.environ["FSTRIPLETS_DEBUG"] = "1"


def main() -> NoReturn:
    """Entry point of the console script: run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; messages go to stderr."""
    try:
        code = cli.main(args=list(arguments), prog_name="fstriplets", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FstripletsError as error:
        return _fail(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:  # `fstriplets inspect … | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        from fstriplets.cv import explain_cv2

        explained = explain_cv2(error)  # OpenCV without libGL: the one import that fails on bare servers
        return _fail(explained) if explained is not None else _crash(error)
    except Exception as error:
        return _crash(error)
    return code if isinstance(code, int) else 0


def _fail(error: FstripletsError) -> int:
    """An error raised on purpose: its message is all a person needs."""
    if _debugging():
        traceback.print_exc()
    label = "stopped" if error.exit_code == 130 else "error"
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    click.echo(
        "\n".join([f"{click.style(label, fg='red', bold=True)}: {first}", *(f"  {r}" for r in rest)]),
        err=True,
    )
    return error.exit_code


def _crash(error: Exception) -> int:
    """An error nobody foresaw: short on the screen, whole in a file, so that a long build explains itself."""
    if _debugging():
        traceback.print_exc()
        return 1
    where = traceback.extract_tb(error.__traceback__)[-1]
    click.echo(f"{click.style('error', fg='red', bold=True)}: {type(error).__name__}: {error}", err=True)
    click.echo(f"  at {where.filename}:{where.lineno}, in {where.name}", err=True)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="fstriplets-", suffix=".log", delete=False) as log:
            log.write("".join(traceback.format_exception(error)))
        click.echo(f"  whole traceback: {log.name}", err=True)
    except OSError:  # no disk to write to may be the very error
        pass
    click.echo("  This is a fault of fstriplets; FSTRIPLETS_DEBUG=1 prints the traceback here.", err=True)
    return 1


def _debugging() -> bool:
    return os.environ.get("FSTRIPLETS_DEBUG", "") not in ("", "0")


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
