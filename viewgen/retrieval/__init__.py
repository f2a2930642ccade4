"""Compare images with phrases by an OpenCLIP model, tile by tile.

In: decoded images and phrases. Out: a TileIndex per image, with logits in nats, ranks and regions. The model library is
imported when a model is loaded."""

from __future__ import annotations

from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.retrieval.tiles import TileIndex

__all__ = ["RetrievalConfig", "Retriever", "TileIndex"]
