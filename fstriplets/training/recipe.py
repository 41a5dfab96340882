"""Training recipes: YAML in, one validated Recipe out; and the table of trainers.

A trainer is a module with a class `Recipe` and a function `make_job(recipe, data) -> Job`. Its recipes name
it with the key `trainer`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fstriplets.errors import ConfigError
from fstriplets.resources import recipe as recipe_path
from fstriplets.training.loop import Job

__all__ = ["TRAINERS", "TrainingRecipe", "load_training", "make_training", "read_recipe"]

#: Trainer -> (command of `fstriplets train`, module).
TRAINERS: dict[str, tuple[str, str]] = {
    "detector": ("faces", "fstriplets.training.detector"),
    "analyser": ("faces", "fstriplets.training.analyser"),
    "identity": ("faces", "fstriplets.training.identity"),
    "flow-gan": ("editor", "fstriplets.training.editor"),
    "swap": ("swap", "fstriplets.training.swap"),
}


class TrainingRecipe(BaseModel):
    """What all recipes have; trainers add their own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(ge=1, description="optimiser steps")
    seed: int = Field(
        0, ge=0, lt=2**31, description="of the first weights, the batches and their augmentation"
    )
    batch_size: int = Field(ge=1, description="pictures, or pairs, a step")
    learning_rate: float = Field(gt=0, description="at its highest")
    validate_every: int = Field(1000, ge=0, description="steps between validations; 0: at the end only")

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Plain values with the defaults of keys that there were not when they were written.

        Groups of keys are completed too; a mapping that is one value is not.
        """
        given = {
            name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if not field.is_required()
        }
        plain: dict[str, Any] = cls.model_construct(**given).model_dump(mode="json", include=set(given))
        groups = {
            name: {**plain[name], **values[name]}
            for name, default in given.items()
            if isinstance(default, BaseModel) and isinstance(values.get(name), dict)
        }
        return {**plain, **values, **groups}


def load_training(
    path: str | Path, data: Path | str, command: str, overrides: list[str] | None = None
) -> tuple[Job, TrainingRecipe, dict[str, Any]]:
    """The job a recipe asks for.

    Args:
        path: YAML file, or the name of a shipped recipe ("train-detector").
        data: folder of `synth pairs`; for `swap` a dataset of triplets.
        command: of `fstriplets train`; a recipe of another command is refused.
        overrides: `key=value`, as given to `--set`.

    Returns:
        The job, its recipe, and the recipe as plain values, `trainer` and the data's settings included.

    Raises:
        ConfigError: no such recipe, an unknown trainer or key, a value out of range.
        DatasetError: the data folder holds no training pairs.
    """
    return make_training(read_recipe(path, overrides or []), data, command, path)


def make_training(
    values: dict[str, Any], data: Path | str, command: str, path: str | Path
) -> tuple[Job, TrainingRecipe, dict[str, Any]]:
    """As `load_training`, from a recipe's keys and values; `path` is what messages call it."""
    values = dict(values)
    name = values.pop("trainer", None)
    mine = [trainer for trainer, (of, _) in TRAINERS.items() if of == command]
    if name not in mine:
        raise ConfigError(f"{path}: trainer {name!r}; `train {command}` has: {', '.join(mine)}")
    module = import_module(TRAINERS[name][1])
    try:
        recipe: TrainingRecipe = module.Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_said(dict(e))}" for e in error.errors())) from error
    place = data if "://" in str(data) else Path(data)
    return module.make_job(recipe, place), recipe, {"trainer": name, **recipe.model_dump(mode="json")}


def _said(error: dict[str, Any]) -> str:
    """A pydantic error in a line that begins with the key; errors of several keys name theirs themselves."""
    key = ".".join(map(str, error["loc"]))
    text = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return f"{key}: {text}" if key else text


def read_recipe(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """A recipe's keys and values, overrides applied.

    Raises:
        ConfigError: unreadable, no YAML mapping, or an override that is no `key=value`.
    """
    try:
        values = yaml.safe_load(recipe_path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a YAML mapping of keys to values")
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {item!r}: give key=value")
        where = values
        *groups, last = key.split(".")
        for group in groups:
            where = where.setdefault(group, {})
            if not isinstance(where, dict):
                raise ConfigError(f"--set {key}: {group!r} is no group of keys")
        try:
            where[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: {text!r} is no YAML value") from error
    return values
