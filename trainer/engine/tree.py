"""Read many prompts that share their beginnings so that every shared token is computed once: an image for all its
questions, a question for all its views. What is shared is found from the ids, level by level of the prompts' paths.
Leaves out: the states themselves (prefix.py), what prompts say (prompts.py), what grows on them (models.py).

Q prompts   B rows   L tokens"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from trainer.engine.families import ImageFeatures, can_pad_inside
from trainer.engine.prefix import Prefix, Segment, branch, extend, join
from trainer.engine.prompts import Pixels, Prompt, common_length


@dataclass(frozen=True, slots=True)
class _Group:
    """Prompts that agree in the first steps of their paths, and how many of their tokens have been read."""

    members: tuple[int, ...]
    parent: int
    """Row of the level above."""
    start: int
    end: int


def read_prompts(model: PreTrainedModel, prompts: Sequence[Prompt], features: Mapping[Pixels, ImageFeatures]) -> Prefix:
    """Return the state after each prompt, row q after prompts[q]. `features` holds every image of every prompt."""
    groups = [_Group(tuple(range(len(prompts))), 0, 0, 0)]
    prefix: Prefix | None = None
    depth = max(len(prompt.path) for prompt in prompts)
    for level in range(1, depth + 2):
        groups = _split(prompts, groups, None if level > depth else level)
        prefix = _read_level(model, prefix, groups, prompts, features)
    assert prefix is not None
    row_of = {member: row for row, group in enumerate(groups) for member in group.members}
    return branch(prefix, torch.tensor([row_of[q] for q in range(len(prompts))]))


def _split(prompts: Sequence[Prompt], groups: Sequence[_Group], level: int | None) -> list[_Group]:
    """Split groups one step of the paths further down; every prompt for itself when level is None."""
    found: list[_Group] = []
    for row, group in enumerate(groups):
        by_step: dict[object, list[int]] = {}
        for member in group.members:
            step = member if level is None else prompts[member].path[:level]
            by_step.setdefault(step, []).append(member)
        for members in by_step.values():
            alone = len(members) == 1  # nothing left to share: read to the end
            end = len(prompts[members[0]].ids) if alone else common_length([prompts[m] for m in members])
            found.append(_Group(tuple(members), row, group.end, max(end, group.end)))
    return found


def _read_level(
    model: PreTrainedModel,
    above: Prefix | None,
    groups: Sequence[_Group],
    prompts: Sequence[Prompt],
    features: Mapping[Pixels, ImageFeatures],
) -> Prefix:
    """Extend the level above by each group's own tokens, in as few batches as the model's padding allows."""
    batches: dict[tuple[int, ...], list[int]] = {}
    free = can_pad_inside(model)
    for row, group in enumerate(groups):
        length = group.end - group.start
        # Rows without a token of their own stay as they are; rows that cannot be padded go with others of their length.
        key: tuple[int, ...] = (0,) if length == 0 else (1,) if free else (1, length)
        batches.setdefault(key, []).append(row)
    parts: list[Prefix] = []
    for key, rows in batches.items():
        base = None if above is None else branch(above, torch.tensor([groups[row].parent for row in rows]))
        if key == (0,):
            assert base is not None, "a prompt is not empty"
            parts.append(base)
        else:
            segments = [_segment(prompts[groups[row].members[0]], groups[row], features) for row in rows]
            parts.append(extend(model, base, segments)[1])
    joined = join(parts)
    came = torch.tensor([row for rows in batches.values() for row in rows])
    return branch(joined, came.argsort())


def _segment(prompt: Prompt, group: _Group, features: Mapping[Pixels, ImageFeatures]) -> Segment:
    inside = [
        features[image]
        for image, end in zip(prompt.images, prompt.image_ends, strict=True)
        if group.start < end <= group.end
    ]
    return Segment(prompt.ids[group.start : group.end], tuple(inside))
