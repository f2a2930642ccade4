"""Give a stream of views the face of a torch IterableDataset. Imports torch; ViewStream.torch() alone imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import IterableDataset, get_worker_info


@runtime_checkable
class Shared(Protocol):
    """A stream whose epoch several workers can share."""

    position: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def share(self, worker: int, num_workers: int) -> Iterator[Any]:
        """Yield what is left of the epoch for one of several workers."""
        ...


class TorchStream(IterableDataset[Any]):
    """A stream for a DataLoader: each worker yields its share, and the loader takes from them in turn, so that the order
    is that of one. Works with workers that are forked or spawned.

    The loader's workers have copies: count what it gave, and go on with load_state_dict({"epoch": e, "position": n})."""

    def __init__(self, stream: Shared) -> None:
        self.stream = stream

    def __len__(self) -> int:
        """Return the questions that are left of this epoch."""
        return len(self.stream) - self.stream.position

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        return self.stream.share(worker.id, worker.num_workers) if worker else iter(self.stream)
