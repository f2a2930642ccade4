"""Put the settings of every stage together: one recipe is one BuildConfig. Each stage's own settings stand with the
stage.
Leaves out: command-line options, none of which shapes a view set's content."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict

from viewgen.audit.flags import AuditConfig
from viewgen.decontaminate.matching import DecontaminateConfig
from viewgen.detectors import DetectorConfig
from viewgen.grounding.evidence import EvidenceConfig
from viewgen.grounding.regions import RegionsConfig
from viewgen.phrases import PhrasesConfig
from viewgen.retrieval.retriever import RetrievalConfig
from viewgen.settings import STRICT, Range, check_ranges, local_path, read_toml, settings_from
from viewgen.source.images import ImageConfig
from viewgen.source.recipe import SourceConfig
from viewgen.views.cutting import ViewsConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """A whole recipe: the source, and the settings of each stage."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    source: SourceConfig
    images: ImageConfig = field(default_factory=ImageConfig)
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    phrases: PhrasesConfig = field(default_factory=PhrasesConfig)
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    seed: int = 0
    """Seed of everything random in the build: any whole number."""
    images_per_part: Annotated[int, Range(ge=1)] = 256
    """A part holds at most so many distinct images, 1 or more. Ours: a part is what is lost when a build is killed."""
    part_mb: Annotated[float, Range(gt=0, unit="MB")] = 256.0
    """A part ends when its image files reach so many millions of bytes, above 0. Ours: a part must fit in memory."""

    images_at_once: Annotated[int, Range(ge=1)] = 8
    """Images that the models are asked about at once, 1 or more. Ours: their pixels must fit in memory together."""

    def __post_init__(self) -> None:
        check_ranges(self)


def with_local_models(config: BuildConfig, folder: Path) -> BuildConfig:
    """Return the settings with the paths of models made absolute: they are relative to the recipe's folder.

    The manifest holds them as they are written, so that it names no place."""
    retrieval, prefix = config.retrieval, "local-dir:"
    named = retrieval.model.removeprefix(prefix)
    at = f"{prefix}{(folder / named).resolve()}" if retrieval.model.startswith(prefix) else retrieval.model
    detector, phrases = config.detector, config.phrases
    return replace(
        config,
        retrieval=replace(retrieval, model=at),
        detector=replace(
            detector,
            model=local_path(detector.model, folder),
            text_encoder=local_path(detector.text_encoder, folder),
        ),
        phrases=phrases if phrases.base_url else replace(phrases, model=local_path(phrases.model, folder)),
    )


def read_config(recipe: Path) -> BuildConfig:
    """Read the settings of a recipe. Raises SettingsError that names the file, the setting and the remedy."""
    return settings_from(read_toml(recipe), BuildConfig, recipe)
