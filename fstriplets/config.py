"""The pipeline config: YAML in, one frozen and validated PipelineConfig out.

Unknown keys and values out of range raise ConfigError with the key's full name
(`edits.aging.strength`) and what is allowed. The resolved config is saved in run.json; the hash of
everything that can change a shard's bytes guards resume. What cannot change them (workers,
timeouts) lives under `runtime`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fstriplets.edits.base import EDIT_GROUPS
from fstriplets.errors import ConfigError
from fstriplets.resources import recipe, recipes
from fstriplets.triplets.kinds import KINDS

__all__ = [
    "AcceptConfig",
    "DuplicatesConfig",
    "EditConfig",
    "IdentityCheckConfig",
    "PipelineConfig",
    "QualityConfig",
    "RuntimeConfig",
    "load_config",
]

_DEFAULT_EDITS = ("aging", "chubbiness", "glasses", "hair", "grin")

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class QualityConfig(_Section):
    """Gates on a single face. A face that fails one is a row `rejected` with the gate's name."""

    min_face: int = Field(48, ge=1, description="shorter side of the face box, photo pixels")
    min_score: Unit = Field(0.5, description="detector confidence")
    min_sharpness: float = Field(
        0.5, ge=0, description="docs/faces.md: 0.7 is soft, 20 a studio photo; 0 switches it off"
    )
    brightness: tuple[float, float] = Field((25.0, 235.0), description="mean luma of the face, 0..255")
    max_outside: Unit = Field(0.35, description="share of the crop outside the photo (mirrored there)")
    max_yaw: float = Field(60.0, gt=0, le=180, description="degrees to either side")
    max_pitch: float = Field(45.0, gt=0, le=180, description="degrees up or down")


class IdentityCheckConfig(_Section):
    """Is this face the person the corpus says? Needs an embedder."""

    min_similarity: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="cosine to the centroid of the person's other faces; empty: the recogniser's own",
    )
    choose: Literal["largest", "identity"] = Field(
        "identity", description="which of several faces in a photo: the largest, or the most alike"
    )


class DuplicatesConfig(_Section):
    """Duplicates within a person. The first in corpus order stays."""

    exact: bool = Field(True, description="reject files with the same bytes")
    near: bool = Field(True, description="reject faces that are copies: recompressed, resized, cut, grey")
    max_distance: int = Field(
        20, ge=0, le=64, description="bits of 64 up to which two perceptual hashes call for a closer look"
    )
    min_correlation: float = Field(
        0.985, ge=-1, le=1, description="of two faces' detail, one laid over the other: above this, copies"
    )


class EditConfig(_Section):
    """One edit of the recipe."""

    ratio: Weight = Field(1.0, description="share among the edits of its group; 0 switches it off")
    strength: tuple[Unit, Unit] = Field((0.5, 1.0), description="drawn uniformly per face")
    editor: str | None = Field(None, description="another editor than the pipeline's for this edit")

    @field_validator("strength", mode="before")
    @classmethod
    def _scalar(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _ordered(self) -> EditConfig:
        if self.strength[0] > self.strength[1]:
            raise ValueError("strength is [low, high] with low <= high")
        return self


class AcceptConfig(_Section):
    """Gates on an edit (DESIGN section 5); every measured value is in the edits manifest.

    The cosines are empty by default: the recogniser's own, faces/limits.py.
    """

    identity_max: float | None = Field(
        None, ge=-1, le=1, description="identity edits: cosine to the original stays below this"
    )
    identity_floor: float | None = Field(
        None, ge=-1, le=1, description="identity edits: and above this, or it is no plausible face"
    )
    identity_min: float | None = Field(
        None, ge=-1, le=1, description="attribute edits: cosine to the original stays above this"
    )
    min_inside_change: float = Field(
        0.5, ge=0, description="mean absolute change inside the edited region, of 255"
    )
    max_outside_change: float = Field(
        2.0, ge=0, description="mean absolute change outside the edited region, of 255"
    )
    max_changed_area: Unit = Field(0.9, description="share of the crop an edit may touch")
    min_attribute_change: float = Field(
        0.03, ge=-1, le=1, description="rise of the wanted attribute's score; needs an attribute scorer"
    )
    max_attribute_drift: Unit = Field(
        0.5, description="change of any other attribute's score; needs an attribute scorer"
    )
    attribute_gates: list[str] = Field(
        default_factory=lambda: ["beard", "glasses", "grin", "sunglasses"],
        description="scores that may reject an edit; the others are only recorded",
    )


class RuntimeConfig(_Section):
    """How a build runs. None of this changes a byte of the dataset."""

    workers: int | None = Field(None, ge=0, description="processes; 0: in process; empty: one a core")
    scheduler: str | None = Field(None, description="address of a running Dask scheduler")
    gpu: bool = Field(False, description="ask for the worker resource GPU=1 for every bucket")
    max_attempts: int = Field(3, ge=1, description="deaths of a worker before a bucket is taken apart")
    bucket_timeout: Positive = Field(3600.0, description="seconds after which a bucket counts as hung")
    connect_timeout: Positive = Field(20.0, description="seconds to wait for the scheduler")
    performance_report: bool = Field(False, description="write Dask's performance report beside run.json")


class PipelineConfig(_Section):
    """A whole recipe. Field order is the order of the flow."""

    # what goes in and out
    corpus: str | None = Field(None, description="folder, csv/parquet table or tar shards; --corpus")
    output: str | None = Field(None, description="dataset folder or URL; --output")
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw in the plan and the edits")
    licence: str = Field("", description="licence of photos whose table names none")
    consent: str = Field("", description="basis of consent of photos whose table names none")
    require_consent: bool = Field(False, description="reject photos with no consent on record")
    min_images: int = Field(5, ge=1, description="identities with fewer usable photos are rejected whole")
    max_images: int = Field(0, ge=0, description="use at most so many photos a person; 0: all")
    max_pixels: int = Field(
        100_000_000, ge=1, description="photos that declare more are rejected before decoding"
    )

    # faces
    image_size: int = Field(256, ge=64, le=1024, description="side of the aligned crop, pixels")
    crop: str = Field("ffhq", description="crop template, faces/templates.py")
    image_format: Literal["jpeg", "png", "webp"] = Field("jpeg", description="of the shard's images")
    image_quality: int = Field(95, ge=1, le=100, description="JPEG and WebP quality")
    detector: str = Field("auto", description="auto: the best one installed")
    landmarker: str = Field("auto", description="68 points: auto, mediapipe, bundled, or template (from 5)")
    pose_estimator: str = Field("auto", description="auto, fsanet, bundled, or landmarks")
    embedder: str = Field("auto", description="auto: the best one installed; none: no identity gates")
    attribute_scorer: str = Field("auto", description="auto, bundled; none: no attribute scores, no gates")
    quality: QualityConfig = QualityConfig()
    identity_check: IdentityCheckConfig = IdentityCheckConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()

    # triplets
    kinds: dict[str, Weight] = Field(
        default_factory=lambda: dict.fromkeys(KINDS, 1.0), description="kind: ratio"
    )
    edits: dict[str, EditConfig] = Field(
        default_factory=lambda: {name: EditConfig() for name in _DEFAULT_EDITS},
        description="edit: ratio and strength",
    )
    triplets_per_photo: Positive = Field(4.0, le=1000, description="average, over accepted faces")
    max_triplets_per_identity: int = Field(0, ge=0, description="0: no cap")
    strengths_per_edit: int = Field(1, ge=1, le=16, description="different strengths of an edit a face gets")
    splits: dict[str, Weight] = Field(
        default_factory=lambda: {"train": 0.9, "val": 0.05, "test": 0.05},
        description="split: share of the identities",
    )

    # edits
    editor: str = Field("flow-gan", description="editor backend of every edit that names no other")
    # not under `runtime`: the size of a batch moves the last bits of what a network computes
    batch_size: int = Field(16, ge=1, description="faces an editor gets at once")
    accept: AcceptConfig = AcceptConfig()

    # shards
    triplets_per_shard: int = Field(1000, ge=1, le=100_000, description="about; identities stay whole")
    layout: Literal["triplets", "faces"] = Field("triplets", description="DESIGN section 6")

    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("editor", mode="before")
    @classmethod
    def _null_editor(cls, editor: Any) -> Any:
        return "null" if editor is None else editor  # YAML reads a bare null as nothing

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, kinds: dict[str, float]) -> dict[str, float]:
        for name in kinds:
            if name not in KINDS:
                raise ValueError(f"unknown kind {name!r}{_hint(name, KINDS)}")
        if not any(kinds.values()):
            raise ValueError("at least one kind needs a ratio above 0")
        return kinds

    @field_validator("edits", mode="before")
    @classmethod
    def _known_edits(cls, edits: Any) -> Any:
        if isinstance(edits, list):  # `edits: [aging, grin]` means: with the defaults
            edits = dict.fromkeys(edits)
        if isinstance(edits, dict):
            for name in edits:
                if name not in EDIT_GROUPS:
                    raise ValueError(f"unknown edit {name!r}{_hint(str(name), EDIT_GROUPS)}")
            edits = {name: {} if value is None else value for name, value in edits.items()}
        return edits

    @field_validator("splits")
    @classmethod
    def _some_split(cls, splits: dict[str, float]) -> dict[str, float]:
        if not sum(splits.values()) > 0:
            raise ValueError("at least one split needs a share above 0")
        for name in splits:
            if not name.isidentifier() or name != name.lower():
                raise ValueError(f"split {name!r} must be a lower-case word: it names folders")
        return splits

    @model_validator(mode="after")
    def _kinds_have_edits(self) -> PipelineConfig:
        groups = {EDIT_GROUPS[name] for name, edit in self.edits.items() if edit.ratio > 0}
        if not groups:
            raise ValueError("`edits` needs at least one edit with a ratio above 0")
        explicit = self.kinds if "kinds" in self.model_fields_set else {}
        for kind, ratio in explicit.items():
            if ratio > 0 and KINDS[kind].group not in groups:
                raise ValueError(
                    f"kind {kind!r} needs an edit of the {KINDS[kind].group} group in `edits`"
                    f" ({', '.join(n for n, g in EDIT_GROUPS.items() if g == KINDS[kind].group)}),"
                    f" or set kinds.{kind}: 0"
                )
        return self

    def active_kinds(self) -> dict[str, float]:
        """Kinds with a ratio above 0 for which the recipe has an edit."""
        groups = {EDIT_GROUPS[name] for name, edit in self.edits.items() if edit.ratio > 0}
        return {k: r for k, r in self.kinds.items() if r > 0 and KINDS[k].group in groups}

    def shaping(self) -> dict[str, Any]:
        """What can change a shard's bytes: everything but paths and `runtime`."""
        data = self.model_dump(mode="json", exclude={"corpus", "output", "runtime"})
        return {**data, "kinds": self.active_kinds()}

    def shaping_json(self) -> str:
        """`shaping` as JSON with sorted keys; PipelineConfig.model_validate_json reads it."""
        return json.dumps(self.shaping(), sort_keys=True)

    def digest(self) -> str:
        """sha256 of `shaping_json`, hex."""
        return hashlib.sha256(self.shaping_json().encode()).hexdigest()


def load_config(path: str | Path | None = None, overrides: list[str] | None = None) -> PipelineConfig:
    """Read a recipe and apply `key=value` overrides.

    Args:
        path: YAML file, or the name of a shipped recipe ("photos"); None for the defaults.
        overrides: as given to `--set`: dotted keys, YAML values (`edits.aging.strength=[0.3, 0.6]`).

    Raises:
        ConfigError: the file is missing or no YAML mapping; a key is unknown; a value is out of range.
    """
    data: Any = {}
    if path is not None:
        try:
            data = yaml.safe_load(recipe(path).read_text(encoding="utf-8")) or {}
        except FileNotFoundError as error:
            shipped = ", ".join(recipes())
            raise ConfigError(f"no pipeline {path}: give a YAML file or one of: {shipped}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the pipeline {path}: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not plain YAML: {error}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"{path} must be a YAML mapping of keys to values")
    for item in overrides or []:
        _override(data, item)
    _follow_edits(data, overrides or [])
    try:
        return PipelineConfig.model_validate(data)
    except ValidationError as error:
        where = str(path) if path is not None else "config"
        raise ConfigError("\n".join(_describe(where, e) for e in error.errors())) from error


def _follow_edits(data: dict[str, Any], overrides: list[str]) -> None:
    """Where overrides change the edits, drop the recipe's kinds that lost theirs; not kinds they name."""
    named = {item.partition("=")[0] for item in overrides}
    edits, kinds = data.get("edits"), data.get("kinds")
    if not any(key.split(".")[0] == "edits" for key in named) or not isinstance(kinds, dict):
        return
    if isinstance(edits, dict):
        edits = [n for n, e in edits.items() if not (isinstance(e, dict) and e.get("ratio") == 0)]
    if "kinds" not in named and isinstance(edits, list):
        groups = {EDIT_GROUPS.get(str(name)) for name in edits}
        orphans = {
            k for k in kinds if k in KINDS and KINDS[k].group not in groups and f"kinds.{k}" not in named
        }
        data["kinds"] = {kind: ratio for kind, ratio in kinds.items() if kind not in orphans}


def _override(data: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {item!r}: write key=value, e.g. --set image_size=128")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not plain YAML") from error
    *parents, last = key.split(".")
    for parent in parents:
        child = data.get(parent)
        if isinstance(child, list):
            child = dict.fromkeys(child)
        if child is None:
            child = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent} is a single value, not a section")
        data[parent] = child
        data = child
    data[last] = value


def _describe(where: str, error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "pipeline"
    if error["type"] == "extra_forbidden":
        *parents, name = error["loc"]
        return f"{where}: unknown key {key!r}{_hint(str(name), _fields_at(parents))}"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{shown}"


def _fields_at(parents: list[Any]) -> list[str]:
    if parents and parents[0] == "edits":
        return list(EditConfig.model_fields)
    model: Any = PipelineConfig
    for parent in parents:
        model = model.model_fields[parent].annotation
    return list(model.model_fields)


def _hint(name: str, choices: Any) -> str:
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose one of: {', '.join(sorted(choices))}"
