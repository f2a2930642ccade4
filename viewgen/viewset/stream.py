"""Iterate over a view set as training loops do: in order or shuffled from a seed, a share for each rank and worker, from
a position that can be saved and set again.
Leaves out: reading bytes (shards.py); the face of a torch IterableDataset (torch_stream.py).

The order follows from seed, epoch and the ids alone, so that it is the same on every machine and for any number of parts.
Questions are dealt out in turn: rank r of R has every R-th one from r on, worker w of W every W-th one of those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from PIL import Image

from viewgen.decode import decode_image
from viewgen.errors import ShardError
from viewgen.viewset.shards import StoredSample, ViewSet

AT_ONCE = 16
"""Questions that are read together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question with the encoded bytes of its image and of its views."""

    sample: StoredSample
    image: bytes
    """The source's own file."""
    views: Mapping[str, tuple[bytes, ...]]
    """Kind of view -> its views as PNG; none for the kind `none`."""

    def decoded(self) -> tuple[Image.Image, dict[str, tuple[Image.Image, ...]]]:
        """Return the image and the views as upright RGB pixels."""
        views = {kind: tuple(map(decode_image, pictures)) for kind, pictures in self.views.items()}
        return decode_image(self.image), views


class ViewStream:
    """The questions of a split with their pictures, epoch after epoch.

    ```python
    stream = ViewStream(ViewSet.open(Path("my-views")), "train", ["crop", "off_region"], shuffle_seed=0)
    for item in stream:                         # one epoch
        image, views = item.decoded()
    saved = stream.state_dict()                 # {"epoch": 1, "position": 0}
    ```
    """

    def __init__(
        self,
        views: ViewSet,
        split: str,
        kinds: Sequence[str] = (),
        *,
        ids: frozenset[str] | None = None,
        shuffle_seed: int | None = None,
        rank: int = 0,
        num_ranks: int = 1,
        equal_lengths: bool = False,
        answers: bool = False,
    ) -> None:
        """Choose the questions: those whose ids are in `ids` (viewgen.viewset.matching), all without it.

        `shuffle_seed`: another order each epoch; in order of the files without. `equal_lengths`: leave out up to
        num_ranks - 1 questions of an epoch, so that every rank has as many.

        Raises ShardError for a split or a kind that is not there, ValueError for a rank that is none."""
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank is {rank} of {num_ranks}: expected 0 to {num_ranks - 1}")
        self._views, self._kinds, self._seed = views, tuple(kinds), shuffle_seed
        self._rank, self._num_ranks, self._equal = rank, num_ranks, equal_lengths
        self.samples = [s for s in views.samples(split, kinds, answers) if ids is None or s.question_id in ids]
        """Questions of all ranks, in order of the files."""
        if not self.samples:
            raise ShardError(f"{views.path}: no question of split {split!r} is among the {len(ids or ())} ids.")
        self._number = {sample.question_id: number for number, sample in enumerate(self.samples)}
        self.epoch = 0
        self.position = 0
        """Questions of this epoch that were given to this rank."""

    def __len__(self) -> int:
        """Return the number of questions of this rank in an epoch."""
        whole, rest = divmod(len(self.samples), self._num_ranks)
        return whole + (not self._equal and self._rank < rest)

    def __getitem__(self, question_id: str) -> Item:
        """Read the question of that id. Raises KeyError for an id that is not in the stream."""
        return self._items([self.samples[self._number[question_id]]])[0]

    def __iter__(self) -> Iterator[Item]:
        """Yield what is left of this rank's epoch; the next epoch begins behind it."""
        return self.share(0, 1)

    def share(self, worker: int, num_workers: int) -> Iterator[Item]:
        """Yield what is left of the epoch for one of several workers, who together yield all of it: in turn, so that
        whoever takes from each in turn has the order of one. A worker of several moves no position: it is a copy."""
        mine = self._order()[self._rank :: self._num_ranks][: len(self)]
        left = mine[self.position :][worker::num_workers]
        for start in range(0, len(left), AT_ONCE):
            for item in self._items([self.samples[number] for number in left[start : start + AT_ONCE]]):
                if num_workers == 1:
                    self.position += 1
                yield item
        if num_workers == 1:
            self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Return the position: epoch, and the questions of it that were given to this rank."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a position. Raises ValueError for one that no epoch of this stream has."""
        if state["epoch"] < 0 or not 0 <= state["position"] <= len(self):
            raise ValueError(f"{dict(state)} is no position in epochs of {len(self)} questions")
        self.epoch, self.position = state["epoch"], state["position"]

    def torch(self) -> Any:  # noqa: ANN401 - a torch IterableDataset, whose module is imported here alone
        """Return the stream as an IterableDataset of torch, for a DataLoader with batch_size=None or a collate_fn."""
        from viewgen.viewset.torch_stream import TorchStream

        return TorchStream(self)

    def _order(self) -> list[int]:
        numbers = list(range(len(self.samples)))
        if self._seed is None:
            return numbers
        lots = [_lot(self._seed, self.epoch, sample.question_id) for sample in self.samples]
        return sorted(numbers, key=lots.__getitem__)

    def _items(self, samples: Sequence[StoredSample]) -> list[Item]:
        """Read the pictures of some questions together."""
        images = self._views.image_bytes(sample.image_id for sample in samples)
        shown = [name for sample in samples for kind in self._kinds for name in sample.views.get(kind, ())]
        views = self._views.view_bytes(shown) if shown else {}
        return [
            Item(
                sample=sample,
                image=images[sample.image_id],
                views={kind: tuple(views[name] for name in sample.views.get(kind, ())) for kind in self._kinds},
            )
            for sample in samples
        ]


def _lot(seed: int, epoch: int, name: str) -> bytes:
    return blake2b(f"{seed}/{epoch}/{name}".encode(), digest_size=8).digest()
