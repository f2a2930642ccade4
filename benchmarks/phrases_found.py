"""How often the rules find what a question asks to be looked at, on questions written by hand for this.

Run:      python -m benchmarks.phrases_found    (--kind spacy --model PATH: the same for a spaCy pipeline)
Expected: 1 second; tables by family and by rule, the misses, and as its last line one JSON object.

tests/viewgen/phrase_questions holds the questions: `seen` ones, which the rules were made from, and `held_out` ones,
written before the rules. Misses of held-out questions are printed only when asked for (--held-out).

A phrase hits a wanted target when it holds all the target's words in their order, side by side, and at most two words
more; articles and demonstratives do not count as words, and case is ignored. A question is *found* when each of its
targets is hit by a phrase of its own and at most one phrase is left over; it is *exact* when none is. Where nothing is
wanted, no phrase may be found."""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from viewgen.phrases import PhrasesConfig, phrase_finder
from viewgen.records import Phrase

QUESTIONS = Path(__file__).parents[1] / "tests" / "viewgen" / "phrase_questions"
MOST_MORE = 2
"""Words that a phrase may hold beyond those of its target."""
_NO_WORDS = frozenset({"the", "a", "an", "this", "that", "these", "those"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question and its targets; a target lists wordings that are equally good."""

    family: str
    question: str
    wanted: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one question."""

    asked: Asked
    phrases: tuple[Phrase, ...]
    missed: tuple[tuple[str, ...], ...]
    num_more: int
    """Phrases that hit nothing."""

    @property
    def family(self) -> str:
        return self.asked.family

    @property
    def rule(self) -> str:
        """The rule that found its phrases; `none` where there are none."""
        return self.phrases[0].rule if self.phrases else "none"

    @property
    def found(self) -> bool:
        return not self.missed and self.num_more <= (1 if self.asked.wanted else 0)

    @property
    def exact(self) -> bool:
        return not self.missed and self.num_more == 0


def read_questions(path: Path) -> list[Asked]:
    """Return the questions of one JSON-lines file, in its order."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Asked(
            family=row["family"],
            question=row["question"],
            wanted=tuple(tuple(target.split(" | ")) for target in row["wanted"]),
        )
        for row in rows
    ]


def hits(phrase: str, target: Sequence[str]) -> bool:
    """Return True if `phrase` holds the words of one of the target's wordings side by side, and at most MOST_MORE
    others."""
    held = _words(phrase)
    for wording in target:
        words = _words(wording)
        starts = range(len(held) - len(words) + 1)
        if len(held) <= len(words) + MOST_MORE and any(held[i : i + len(words)] == words for i in starts):
            return True
    return False


def judge(asked: Asked, phrases: Sequence[Phrase]) -> Verdict:
    """Give each target a phrase of its own, so that as many as possible are hit."""
    seats = [*phrases, *[None] * len(asked.wanted)]
    best: tuple[tuple[str, ...], ...] = asked.wanted
    for chosen in itertools.permutations(seats, len(asked.wanted)):
        pairs = zip(asked.wanted, chosen, strict=True)
        missed = tuple(target for target, phrase in pairs if phrase is None or not hits(phrase.text, target))
        best = min(best, missed, key=len)
    num_hits = len(asked.wanted) - len(best)
    return Verdict(asked=asked, phrases=tuple(phrases), missed=best, num_more=len(phrases) - num_hits)


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[\w'’-]+", text.casefold()) if word not in _NO_WORDS]


def share(verdicts: Iterable[Verdict], quality: str = "found") -> float:
    """Return the share of questions that are `found` (or `exact`)."""
    marks = [bool(getattr(verdict, quality)) for verdict in verdicts]
    return sum(marks) / len(marks)


def judge_file(path: Path, find: Callable[[Sequence[str]], Sequence[Sequence[Phrase]]]) -> list[Verdict]:
    """Judge the output of `find` on every question of a file."""
    asked = read_questions(path)
    return [judge(each, phrases) for each, phrases in zip(asked, find([e.question for e in asked]), strict=True)]


def print_tables(verdicts: dict[str, list[Verdict]]) -> None:
    """One table by family, one by the rule that found something."""
    for title in ("family", "rule"):
        groups: defaultdict[str, dict[str, list[Verdict]]] = defaultdict(lambda: {name: [] for name in verdicts})
        for name, all_of_it in verdicts.items():
            for verdict in all_of_it:
                groups[getattr(verdict, title)][name].append(verdict)
        print(f"\n{title:16}" + "".join(f"{name + ': found':>20} {'of':>4} {'exact':>6}" for name in verdicts))
        for group, sides in sorted(groups.items()):
            print(f"{group:16}" + "".join(_cells(side) for side in sides.values()))
        print(f"{'all':16}" + "".join(_cells(side) for side in verdicts.values()))


def _cells(verdicts: Sequence[Verdict]) -> str:
    found, exact = (sum(getattr(verdict, quality) for verdict in verdicts) for quality in ("found", "exact"))
    return f"{found:>20} {len(verdicts):>4} {exact:>6}"


def print_misses(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        if not verdict.found:
            question = verdict.asked.question.splitlines()[0]
            wanted = "; ".join(" | ".join(target) for target in verdict.asked.wanted)
            found = "; ".join(f"{phrase.text} [{phrase.rule}]" for phrase in verdict.phrases)
            print(f"{verdict.asked.family}: {question}\n    wanted: {wanted or '-'}\n    found:  {found or '-'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="print the misses of the held-out questions as well")
    parser.add_argument("--kind", choices=("rules", "spacy", "chat"), default="rules", help="who finds the phrases")
    parser.add_argument("--model", default="", help="the spaCy pipeline, or the folder of a language model")
    arguments = parser.parse_args()
    finder = phrase_finder(PhrasesConfig(method=arguments.kind, model=arguments.model))
    verdicts = {name: judge_file(QUESTIONS / f"{name}.jsonl", finder.find) for name in ("seen", "held_out")}
    print_tables(verdicts)
    print("\nMisses")
    print_misses(verdicts["seen"] + (verdicts["held_out"] if arguments.held_out else []))
    figures = {
        name: {"questions": len(side), "found": round(share(side), 4), "exact": round(share(side, "exact"), 4)}
        for name, side in verdicts.items()
    }
    print(json.dumps({"benchmark": "phrases_found", "kind": arguments.kind, **figures}))


if __name__ == "__main__":
    main()
