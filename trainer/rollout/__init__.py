"""Rollout engines: each samples the student's answers and returns the one Rollouts record.

In: a student and prompts. Out: Rollouts."""

from __future__ import annotations

from trainer.rollout.sample import answer

__all__ = ["answer"]
