"""The one-way import rule of docs/architecture.md, and what must stay unloaded until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fstriplets"

#: Layers from the bottom up; a module imports from its own layer and those before it.
LAYERS = [
    {"errors", "lazy", "registry", "resources", "records", "config", "cv"},
    {"models"},
    {"corpus"},
    {"faces"},
    {"edits"},
    {"triplets"},
    {"shards"},
    {"runtime"},
    {"audit"},
    {"build"},
    {"synth", "training"},
    {"evaluation", "swapping"},
    {"export"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
#: Tables without imports of their own, which the config reads.
TABLES = {"fstriplets.edits.base", "fstriplets.triplets.kinds"}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _runtime_nodes(tree: ast.Module) -> Iterator[ast.stmt]:
    """Import statements anywhere but under `if TYPE_CHECKING`."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        pending.extend(ast.iter_child_nodes(node))


def _imports(path: Path) -> set[str]:
    """Full names of the modules a file imports; `from a import b` gives a.b where b is a module."""
    names: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        else:
            assert isinstance(node, ast.ImportFrom)
            assert node.level == 0, f"{path}: relative import; write it out"
            assert node.module
            names.add(node.module)
            if node.module == "fstriplets":
                names.update(f"fstriplets.{alias.name}" for alias in node.names)
    return names


def _layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "fstriplets" and len(parts) > 1 and parts[1] in RANK else None


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own in ("__init__", "__main__"):
        return
    assert own in RANK, f"{own} is in no layer: add it to LAYERS and docs/architecture.md"
    upward = {
        name
        for name in _imports(path) - TABLES
        if (layer := _layer(name)) is not None and RANK[layer] > RANK[own]
    }
    assert not upward, f"{path.relative_to(PACKAGE)} imports from a layer above its own"


@pytest.mark.parametrize("table", sorted(TABLES))
def test_the_tables_the_config_reads_import_nothing_of_ours(table: str) -> None:
    path = PACKAGE.parent.joinpath(*table.split(".")).with_suffix(".py")
    assert not {name for name in _imports(path) if name.startswith("fstriplets")}


def test_dask_is_imported_in_one_file() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in _modules()
        for name in _imports(path)
        if name.split(".")[0] in ("dask", "distributed")
    }
    assert users == {"runtime/dask.py"}


def _loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import fstriplets",
        "from fstriplets.cli.app import run; run(['--help'])",
        "from fstriplets.cli.app import run; run(['build', '--help'])",
        "from fstriplets.cli.app import run; run(['inspect', '--help'])",
    ],
)
def test_cheap_calls_load_nothing_heavy(code: str) -> None:
    loaded = _loaded(code)
    assert "fstriplets" in loaded
    assert not loaded & {
        "torch",
        "cv2",
        "dask",
        "distributed",
        "pandas",
        "pyarrow",
        "numpy",
        "pydantic",
        "onnxruntime",
    }


def test_the_config_loads_no_model_library() -> None:
    loaded = _loaded("import fstriplets; fstriplets.load_config('photos')")
    assert "pydantic" in loaded
    assert not loaded & {"torch", "cv2", "dask", "distributed", "pandas", "onnxruntime"}
