"""The network of groundingdino-py, built from its architecture alone."""

from __future__ import annotations

import pytest

from viewgen.detectors.groundingdino_net import ARCHITECTURES, Architecture


def test_the_official_architectures_differ_in_their_backbone() -> None:
    tiny, base = ARCHITECTURES["swin-t"], ARCHITECTURES["swin-b"]
    assert (tiny.embed_dim, base.embed_dim) == (96, 128)
    assert sum(tiny.depths) < sum(base.depths)
    assert tiny.num_queries == base.num_queries == 900


@pytest.mark.parametrize(("text", "num"), [({}, 30522), ({"vocab_size": 40}, 40)])
def test_the_vocabulary_is_bert_s_unless_another_is_named(text: dict[str, int], num: int) -> None:
    assert Architecture(text=text).vocabulary == num
