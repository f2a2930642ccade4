"""The proof of the audit, small: drawn scenes whose truth is known, negatives that leak and negatives that do not."""

from __future__ import annotations

import pytest
import torch

from benchmarks.audit_proof import RETRIEVAL, THRESHOLDS, Case, cases, flagged, judged, shares
from viewgen.audit.auditor import Auditor
from viewgen.boxes import overlap_area
from viewgen.retrieval.retriever import Retriever

NUM = 40


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    torch.set_num_threads(1)  # threads of a busy machine wait for each other longer than these small products take
    return Retriever.load(RETRIEVAL)


@pytest.fixture(scope="module")
def drawn(retriever: Retriever) -> list[Case]:
    return cases(11, NUM, retriever)


def test_half_of_the_leaks_can_be_told_by_place_and_pixels_alone_and_half_cannot(drawn: list[Case]) -> None:
    found = shares(flagged(drawn, judged(drawn, Auditor(THRESHOLDS))))
    assert found["recorded"] >= 0.95
    assert found["hidden"] == 0.0
    assert found["clean"] <= 0.05


def test_with_the_shipped_model_nearly_all_leaks_are_flagged_and_nearly_no_clean_view(
    drawn: list[Case], retriever: Retriever
) -> None:
    found = shares(flagged(drawn, judged(drawn, Auditor(THRESHOLDS, retriever))))
    assert found["recorded"] >= 0.95
    assert found["hidden"] >= 0.95
    assert found["clean"] <= 0.05


def test_by_the_records_a_hidden_leak_does_not_touch_the_evidence(drawn: list[Case]) -> None:
    hidden = [case.sample for case in drawn if case.group == "hidden"]
    assert len(hidden) == NUM // 2
    for sample in hidden:
        negative = sample.views[-1]
        assert negative.audit
        assert negative.audit.evidence_overlap == 0.0
        assert negative.box is None or not overlap_area(negative.box, sample.found_evidence.boxes[0])
