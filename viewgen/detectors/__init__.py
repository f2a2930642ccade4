"""Detect boxes for phrases, in whole images and in overlapping tiles.

In: decoded images and phrases. Out: scored boxes in pixels. One file per kind; a model library is imported when a model
is loaded."""

from __future__ import annotations

from viewgen.detectors.protocol import Ask, Detector, DetectorConfig, ScoredBox

__all__ = ["Ask", "Detector", "DetectorConfig", "ScoredBox", "load_detector"]


def load_detector(config: DetectorConfig) -> Detector:
    """Load the detector that the settings name.

    Raises ModelError when its files are missing or do not fit together, or its device cannot be used.

    detector = load_detector(DetectorConfig(library="transformers", model="embedded:drawn-dino"))
    (boxes,) = detector.detect([Ask(image=image, phrases=("the red bus",))])    # boxes[0].box, boxes[0].score
    """
    # Model libraries take seconds to import: only when a model is loaded.
    if config.library == "groundingdino":
        from viewgen.detectors.groundingdino import load_groundingdino

        return load_groundingdino(config)
    from viewgen.detectors.transformers import load_zero_shot

    return load_zero_shot(config)
