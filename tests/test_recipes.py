"""Every shipped recipe is valid, and the commented one shows every key with its default."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from fstriplets.config import EditConfig, PipelineConfig, load_config
from fstriplets.errors import ConfigError
from fstriplets.resources import recipe, recipes
from fstriplets.training.recipe import TRAINERS, read_recipe
from fstriplets.triplets.kinds import KINDS


def _trains(name: str) -> bool:
    return "trainer" in yaml.safe_load(recipe(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in recipes() if not _trains(name)])
def test_recipe_is_valid_by_name_and_by_path(name: str) -> None:
    assert load_config(name) == load_config(recipe(name))


@pytest.mark.parametrize("name", [name for name in recipes() if _trains(name)])
def test_recipe_of_a_trainer_is_valid(name: str) -> None:
    values = read_recipe(name, [])
    command, module = TRAINERS[values.pop("trainer")]
    assert import_module(module).Recipe.model_validate(values).steps
    text = recipe(name).read_text(encoding="utf-8")
    assert f"fstriplets train {command} {name}" in text, "say in the file how it is started"


def test_the_recipes_people_are_told_of_are_shipped() -> None:
    assert {"quickstart", "photos", "cluster", "fstriplets-paper"} <= set(recipes())


def _keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            names |= _keys(nested, f"{prefix}{name}.")
        else:
            names.add(prefix + name)
    return names


def _written(data: dict[str, object], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for name, value in data.items():
        if isinstance(value, dict) and prefix + name not in ("kinds", "edits", "splits"):
            names |= _written(value, f"{prefix}{name}.")
        else:
            names.add(prefix + name)
    return names


def test_photos_shows_every_key_and_its_default() -> None:
    data = yaml.safe_load(recipe("photos").read_text(encoding="utf-8"))
    assert _written(data) == _keys(PipelineConfig)
    assert set(data["edits"]["aging"]) <= set(EditConfig.model_fields)
    assert load_config("photos") == load_config()


def test_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"quickstrat.*photos.*quickstart"):
        load_config("quickstrat")


def test_a_file_beside_you_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").write_text("image_size: 128\n", encoding="utf-8")
    assert load_config("photos").image_size == 128


@pytest.mark.parametrize("change", ["edits=[aging]", "edits={aging: {strength: 0.5}}"])
def test_edits_changed_on_the_command_line_take_their_kinds_along(change: str) -> None:
    config = load_config("photos", [change])
    assert set(config.active_kinds()) == {"pair_identity", "identity_target", "identity_source"}


def test_one_edit_switched_off_leaves_the_kinds_of_the_others() -> None:
    assert set(load_config("photos", ["edits.grin.ratio=0"]).active_kinds()) == set(KINDS)


def test_kinds_asked_for_without_their_edits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attribute_target"):
        load_config("photos", ["edits=[aging]", "kinds.attribute_target=2"])
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("edits: [aging]\nkinds: {attribute_target: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="attribute_target"):
        load_config(recipe)
