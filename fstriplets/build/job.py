"""What a worker holds while it builds: corpus, stages, codec and store, opened once per process."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import fstriplets
from fstriplets.build.plan import read_generation
from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus, open_corpus
from fstriplets.records import Photo
from fstriplets.shards import ImageCodec, Store

if TYPE_CHECKING:
    from fstriplets.build.bucket import BucketTask
    from fstriplets.edits import EditStage
    from fstriplets.faces import FaceStage

__all__ = ["Description", "Job", "describe", "open_job", "stages_of", "warm"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a worker would build with; two workers that differ may not share a dataset."""

    fingerprint: str
    faces: str
    edits: str
    weights: dict[str, str]  #: name -> sha256
    identity: dict[str, Any]  #: the recogniser and the cosines that count; empty without one

    def __str__(self) -> str:
        return f"{self.faces}; {self.edits}"


@dataclass(frozen=True, slots=True)
class Job:
    """A bucket's surroundings."""

    config: PipelineConfig
    store: Store
    corpus: Corpus
    faces: FaceStage
    edits: EditStage
    codec: ImageCodec
    shard: str
    split: str
    skip: frozenset[str]

    def photo_row(self, photo: Photo) -> dict[str, Any]:
        """The manifest row of a photo that nobody has opened yet."""
        return {
            "photo_id": photo.photo_id,
            "identity_id": photo.identity_id,
            "split": self.split,
            "uri": photo.uri,
            "licence": photo.licence,
            "consent": photo.consent,
            "status": photo.status,
            "reason": photo.reason,
            "message": photo.message,
        }


def open_job(task: BucketTask) -> Job:
    """The job of one bucket; everything costly comes from this process' cache."""
    config, store, corpus = _surroundings(task.dataset, task.corpus, task.generation)
    faces, edits = stages_of(config.shaping_json())
    codec = ImageCodec(config.image_format, config.image_quality)
    return Job(config, store, corpus, faces, edits, codec, task.shard, task.split, frozenset(task.skip))


def describe(config_json: str) -> Description:
    """Load the stages and say what they are. Runs in a worker before anything is planned.

    Raises:
        WeightsError, MissingDependency, ConfigError: the stages of this config cannot be had.
    """
    faces, edits = stages_of(config_json)
    text = json.dumps([fstriplets.__version__, faces.fingerprint, edits.fingerprint])
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    weights = {**faces.weights, **edits.weights}
    identity = {"recogniser": faces.recogniser, **asdict(faces.limits)} if faces.recogniser else {}
    return Description(fingerprint, faces.fingerprint, edits.fingerprint, weights, identity)


def warm(config_json: str) -> None:
    """Load the models once per worker process."""
    stages_of(config_json)


@lru_cache(maxsize=2)
def stages_of(config_json: str) -> tuple[FaceStage, EditStage]:
    """The two stages that hold models, loaded once per process."""
    from fstriplets.edits import EditStage  # torch: workers load it, the driver never does
    from fstriplets.faces import FaceStage
    from fstriplets.faces.attributes import load_scorer

    config = PipelineConfig.model_validate_json(config_json)
    faces = FaceStage(config)
    return faces, EditStage(config, faces.embed, attribute_scorer=load_scorer(config), limits=faces.limits)


@lru_cache(maxsize=4)
def _surroundings(dataset: str, corpus: str, generation: int) -> tuple[PipelineConfig, Store, Corpus]:
    store = Store(dataset)
    config = PipelineConfig.model_validate(read_generation(store, generation).config)
    return config, store, open_corpus(corpus, config)
