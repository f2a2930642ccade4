"""Find and hash a detector's files, and choose the device of its network.
Leaves out: the networks themselves (groundingdino.py, transformers.py). Imports torch when a device is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from viewgen.detectors.protocol import EMBEDDED, HUB, LOCAL, DetectorConfig
from viewgen.errors import ModelError, brief

if TYPE_CHECKING:
    import torch

REMEDY = "Check the name and the network, or download it once and give its path."


def located(name: str, wanted: Sequence[str]) -> Path:
    """Return the file or folder of a model: a path, local-dir:PATH, embedded:NAME (shipped with viewgen) or
    hf-hub:OWNER/NAME, of which the files that match a pattern in `wanted` are downloaded. Raises ModelError."""
    if name.startswith(EMBEDDED):
        return _embedded(name)
    if name.startswith(HUB):
        return _downloaded(name, wanted)
    path = Path(name.removeprefix(LOCAL))
    if not path.exists():
        hint = f" For the Hugging Face hub, say {HUB}{name}." if name.count("/") == 1 and not path.suffix else ""
        raise ModelError(f"{path}: there is no such file or folder. Give the path of the model.{hint}")
    return path


def hash_of(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the hashes of several in the order of their names, in hex."""
    hashes = []
    for path in sorted(paths):
        with path.open("rb") as file:
            hashes.append(file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def device_of(config: DetectorConfig) -> torch.device:
    """Return the device that the settings name. Raises ModelError when this machine lacks it."""
    import torch

    has_gpu = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if has_gpu else "cpu") if config.device == "auto" else config.device)
    except RuntimeError:
        raise ModelError(f"device {config.device!r} is not one that torch knows. Expected auto, cpu or cuda.") from None
    if device.type == "cuda" and not (has_gpu and (device.index or 0) < torch.cuda.device_count()):
        raise ModelError(
            f"device {config.device!r} is not there: torch finds {torch.cuda.device_count()} GPUs. Say cpu."
        )
    try:
        torch.zeros(1, device=device).cpu()  # torch knows names of devices that it was not built for
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ModelError(f"device {config.device!r} cannot be used: {brief(error)}. Say auto or cpu.") from None
    return device


SMALL = 10_000_000
"""Parameters up to which a CPU is faster with several pictures at once: 2.43 times with 0.6 million, 0.80 times with
Swin-T's 172 million (benchmarks/grounding_speed.py)."""
MEMORY_PER_PICTURE = 2_000_000_000
"""Bytes of a GPU for each picture of 800 x 1333 px in a batch. Ours: on the safe side."""


def fastest_batch(net: torch.nn.Module, device: torch.device) -> int:
    """Return how many pictures a detector reads fastest at once: the same on every machine of a kind, as batches change
    the last bits of scores.

    fastest_batch(torch.nn.Linear(4, 4), torch.device("cpu"))    # 8
    """
    import torch

    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return int(min(max(memory // MEMORY_PER_PICTURE, 1), 16))
    return 8 if sum(weight.numel() for weight in net.parameters()) <= SMALL else 1


@contextmanager
def reading(config: DetectorConfig, device: torch.device) -> Iterator[None]:
    """Run the block without gradient, in the precision of the settings, without warnings of the model libraries."""
    import torch

    auto = "float16" if device.type == "cuda" else "float32"
    dtype = getattr(torch, auto if config.dtype == "auto" else config.dtype)
    # Weights stay float32 and each operation chooses: boxes and softmax in half precision would be a pixel or two off.
    mixed = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), mixed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _embedded(name: str) -> Path:
    shelf = Path(str(files("viewgen"))) / "weights"
    shipped = sorted(entry.name for entry in shelf.iterdir() if (entry / "config.json").is_file())
    asked = name.removeprefix(EMBEDDED)
    if asked not in shipped:
        known = ", ".join(EMBEDDED + model for model in shipped) or "none"
        raise ModelError(f"{name}: viewgen ships no such detector. Expected one of: {known}.")
    return shelf / asked


def _downloaded(name: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=list(wanted)))
    except Exception as error:  # the hub's client raises many kinds; all mean that the files are not here
        raise ModelError(f"{name}: cannot be fetched: {brief(error)}. {REMEDY}") from error
