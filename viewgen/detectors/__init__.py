"""Detectors: images and phrases in, scored boxes out. One file per kind; none is imported before it is asked for."""

from __future__ import annotations

from viewgen.detectors.protocol import Ask, Detector, DetectorConfig, ScoredBox

__all__ = ["Ask", "Detector", "DetectorConfig", "ScoredBox", "load_detector"]


def load_detector(config: DetectorConfig) -> Detector:
    """The detector that the settings name. Raises ModelError when its weights are missing or are not what it needs."""
    # Model libraries take seconds to import: only when a model is asked for.
    if config.kind == "groundingdino":
        from viewgen.detectors.groundingdino import load_groundingdino

        return load_groundingdino(config)
    from viewgen.detectors.zero_shot import load_zero_shot

    return load_zero_shot(config)
