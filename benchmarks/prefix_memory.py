"""Peak memory of reading a prompt with gradient, with and without a checkpointed prefix.
Run: python benchmarks/prefix_memory.py. Prints a table and, last, one line of JSON. On a CPU it counts the bytes of all
living tensors; on a GPU it asks the device.
Leaves out: the answers' own memory, which a micro-batch bounds."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import (
    PreTrainedModel,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from trainer.engine.load import Loaded
from trainer.engine.models import Student
from trainer.engine.prompts import Prompt

TEXT: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 256,
}


def attention() -> PreTrainedModel:
    """Qwen3-VL's layers, small."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [12, 10, 10], "mrope_interleaved": True}
    vision = {**VISION, "deepstack_visual_indexes": []}
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config={**TEXT, "rope_parameters": rope}, vision_config=vision)
    )


def hybrid() -> PreTrainedModel:
    """Qwen3.5's layers, small: three of four with linear attention."""
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config={**TEXT, **linear}, vision_config=VISION))


class Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that were made within and live still, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        for part in tree_iter(out):
            if isinstance(part, Tensor) and part.untyped_storage()._cdata not in self._known:
                self._add(part.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._known[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, place: int) -> None:
        self.now -= self._known.pop(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One prompt read forward and backward."""

    model: str
    num_tokens: int
    checkpointed: bool
    peak_mb: float
    seconds: float


@contextmanager
def metered(found: list[float]) -> Iterator[None]:
    """Append the most megabytes that lived at once within, beyond what lived before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        found.append((torch.cuda.max_memory_allocated() - before) / 1e6)
    else:
        with Living() as living:
            yield
        found.append(living.peak / 1e6)


def measure(name: str, model: PreTrainedModel, num_tokens: int, checkpoint: bool) -> Measured:
    """Read one prompt of random text with gradient and run its backward pass."""
    student = Student(Loaded(model, None, name), train_vision=False, checkpoint_prefix=checkpoint)
    ids = torch.randint(10, 500, (num_tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    found: list[float] = []
    began = time.perf_counter()
    with metered(found), student.reading([Prompt(tuple(ids), (), ())]) as read:
        torch.autograd.backward(read.last_BD.square().sum())
    seconds = time.perf_counter() - began
    return Measured(
        model=name,
        num_tokens=num_tokens,
        checkpointed=checkpoint,
        peak_mb=round(found[0], 1),
        seconds=round(seconds, 2),
    )


def main(tokens: Annotated[list[int] | None, typer.Option(help="Lengths of prompts.")] = None) -> None:
    """Measure both kinds of model at several lengths."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{'model':10} {'tokens':>7} {'plain MB':>10} {'checkpointed MB':>16} {'ratio':>6} {'time ratio':>11}")
    rows: list[Measured] = []
    for make in (attention, hybrid):
        model = make().to(device)  # type: ignore[arg-type]
        measure(make.__name__, model, 64, False)  # what is loaded lazily is loaded before the clock starts
        for num in tokens or [600, 1200, 2400]:
            plain, saved = (measure(make.__name__, model, num, checkpoint) for checkpoint in (False, True))
            rows += [plain, saved]
            ratio, slower = saved.peak_mb / plain.peak_mb, saved.seconds / plain.seconds
            sizes = f"{plain.peak_mb:10.1f} {saved.peak_mb:16.1f}"
            print(f"{make.__name__:10} {num:7} {sizes} {ratio:6.2f} {slower:11.2f}", flush=True)
    print(json.dumps({"device": device, "layers": TEXT["num_hidden_layers"], "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    typer.run(main)
