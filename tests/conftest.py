"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real photos and models, or a skip that says what is missing."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data (real photos and models), absent here")
    return folder


@pytest.fixture
def fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights but the bundled ones."""
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from a second torch thread, and lose much where the cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


#: Files that take a minute and more, begun first where files run side by side.
_LONG = ("test_faults.py", "test_train_swap.py", "test_runtime.py", "test_synth.py", "test_swap.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that none is left over for one process at the end."""
    order = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(_LONG)))
