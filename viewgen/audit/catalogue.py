"""Print docs/kinds.md: every kind of view and every flag of the audit, from their own records.
Leaves out: the kinds (views/kinds.py), the flags (flags.py)."""

from __future__ import annotations

from collections.abc import Iterator

from viewgen.audit.flags import FLAGS
from viewgen.views import kinds_of
from viewgen.views.kinds import Kind, Role

_HEAD = """# Kinds of view

Printed by `viewgen kinds` from the records in `viewgen/views/positives.py`, `negatives.py` and `altered.py`. A recipe
names kinds in `[views]`: `positive`, `negative`, `fallback`. Each setting named here is one of [`[views]`](settings.md).

The list under each kind says how many views a question gets, which inputs the kind needs, how the audit measures the
evidence that it shows, which of the audit's numbers show a fault, and which flags can be raised. Flags are explained at
the end.
"""
_NEEDS = {
    "regions": "the regions that the evidence was chosen from",
    "tiles": "an OpenCLIP model (`[retrieval]`)",
    "donor": "another question of the same part",
}
_SHOWN = {
    "area": "area of the evidence inside its box",
    "edges": "edges of the evidence that the mask leaves",
    "detail": "fine detail of the evidence that is left",
    "nothing": "nothing, wherever it was cut",
}


def kinds_page() -> str:
    """Return docs/kinds.md."""
    return "\n".join([_HEAD, *_section("positive"), *_section("negative"), *_flags()])


def _section(role: Role) -> Iterator[str]:
    yield f"## {role.capitalize()} views\n"
    for kind in kinds_of(role).values():
        yield f"### `{kind.name}`\n"
        yield kind.about + (f" Source: {kind.source}." if kind.source else "") + "\n"
        yield from (f"- {line}" for line in _facts(kind))
        yield ""


def _facts(kind: Kind) -> Iterator[str]:
    """Yield the facts of a kind, one line each."""
    yield "views: " + ("one for all evidence boxes together" if kind.is_single else "one for each evidence box")
    if kind.needs:
        yield "needs: " + ", ".join(_NEEDS[need] for need in sorted(kind.needs))
    if kind.settings:
        yield "settings: " + ", ".join(f"`{setting}`" for setting in kind.settings.values())
    yield "evidence shown: " + _SHOWN[kind.shown]
    if kind.judged_by:
        what = "lacks evidence by" if kind.role == "positive" else "leaks by"
        yield f"{what}: " + ", ".join(f"`{number}`" for number in kind.judged_by)
    yield "flags: " + (", ".join(f"`{flag}`" for flag in FLAGS if flag in kind.flags) or "none")


def _flags() -> Iterator[str]:
    yield "## Flags\n"
    yield "| flag | meaning |"
    yield "|---|---|"
    yield from (f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items())
    yield ""
