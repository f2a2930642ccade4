"""OpenCLIP models with weights that are really there: pixels and texts in, unit vectors out.
Leaves out: tiles and ranking (retrieval.py). Loads torch and open_clip: imported only when a model is asked for.

Shapes: N tiles, H x W pixels of a tile, P texts, D dimensions of the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import file_digest
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float, UInt8
from open_clip.pretrained import download_pretrained_from_hf
from PIL import Image
from torch import Tensor

from viewgen.errors import ModelError

EMBEDDED, LOCAL, HUB = "embedded:", "local-dir:", "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipModel:
    """An OpenCLIP model that reads tiles and texts. Make one with load_model."""

    sha256: str
    """Of the weights file, in hex."""
    temperature: float
    """What the model multiplies cosines by to get logits."""
    net: Any
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: Callable[[Image.Image], Tensor]
    """open_clip's own, for one PIL image."""
    size_px: tuple[int, int]
    """Height and width that the vision tower reads."""
    mean_C: Tensor
    std_C: Tensor

    def embed_tiles(self, tiles: UInt8[np.ndarray, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Unit vectors of RGB tiles, 0 to 255."""
        with torch.inference_mode():
            vectors: Tensor = self.net.encode_image(self.pixels(tiles), normalize=True)
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "P D"]:
        """Unit vectors of texts."""
        with torch.inference_mode():
            vectors: Tensor = self.net.encode_text(self.tokenizer(list(texts)), normalize=True)
        return vectors

    def pixels(self, tiles: UInt8[np.ndarray, "N 3 H W"]) -> Float[Tensor, "N 3 h w"]:
        """What the vision tower reads, equal to open_clip's preprocessing of each tile."""
        if tiles.shape[2:] == self.size_px:
            # Nothing to resize: the same arithmetic on the whole batch, without a PIL image per tile.
            return (torch.from_numpy(np.ascontiguousarray(tiles)) / 255 - self.mean_C) / self.std_C
        return torch.stack([self.preprocess(Image.fromarray(tile.transpose(1, 2, 0))) for tile in tiles])


def load_model(name: str, pretrained: str = "") -> ClipModel:
    """The model `name`, in evaluation mode on the CPU. Raises ModelError when its weights are missing or do not fit.

    embedded:NAME is shipped with viewgen, local-dir:PATH a folder in open_clip's format, hf-hub:OWNER/NAME a model on
    the Hugging Face hub; any other name is open_clip's own and needs the `pretrained` tag of its weights."""
    with _located(name) as located:
        weights = _weights_path(located, pretrained)
        _refuse_remote_code(name, located)
        try:
            tag = None if located.startswith((LOCAL, HUB)) else pretrained
            net, preprocess = open_clip.create_model_from_pretrained(
                located, tag, weights_only=True, pretrained_text=False
            )
            tokenizer = open_clip.get_tokenizer(located)
        except Exception as error:  # open_clip raises many kinds; all mean that this model cannot be used
            raise ModelError(f"{name}: {weights} does not load as an open_clip model: {_first_line(error)}.") from error
        with weights.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
    net.eval().requires_grad_(False)
    config = open_clip.get_model_preprocess_cfg(net)
    height, width = (config["size"],) * 2 if isinstance(config["size"], int) else config["size"]
    return ClipModel(
        sha256=sha256,
        temperature=float(net.logit_scale.exp()),
        net=net,
        tokenizer=tokenizer,
        preprocess=preprocess,
        size_px=(height, width),
        mean_C=torch.tensor(config["mean"]).view(3, 1, 1),
        std_C=torch.tensor(config["std"]).view(3, 1, 1),
    )


@contextmanager
def _located(name: str) -> Iterator[str]:
    """The name as open_clip wants it; a shipped model as the folder that it is in."""
    if not name.startswith(EMBEDDED):
        yield name
        return
    shelf = files("viewgen") / "weights"
    shipped = sorted(entry.name for entry in shelf.iterdir() if (entry / CONFIG_FILE).is_file())
    asked = name.removeprefix(EMBEDDED)
    if asked not in shipped:
        known = ", ".join(EMBEDDED + model for model in shipped)
        raise ModelError(f"{name}: viewgen ships no such model. Expected one of: {known}.")
    with as_file(shelf / asked) as folder:
        yield f"{LOCAL}{folder}"


def _weights_path(name: str, pretrained: str) -> Path:
    """The file that holds the weights: without one, open_clip would hand out a random model."""
    if name.startswith(LOCAL):
        return _weights_in(Path(name.removeprefix(LOCAL)))
    try:
        if name.startswith(HUB):
            return Path(download_pretrained_from_hf(name.removeprefix(HUB)))
        return Path(open_clip.download_pretrained(_known_weights(name, pretrained)))
    except ModelError:
        raise
    except Exception as error:
        which = f"{name}, {pretrained}" if pretrained else name
        remedy = "Check the name and the network, or put the model in a folder and name it local-dir:PATH."
        raise ModelError(f"{which}: its weights cannot be fetched: {_first_line(error)}. {remedy}") from error


def _weights_in(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder. Expected one with {CONFIG_FILE} and a weights file.")
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(f"{folder}: holds no {CONFIG_FILE}. Expected a folder in open_clip's format.")
    found = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    if not found:
        remedy = "Put open_clip_model.safetensors beside it; without it the model would be random."
        raise ModelError(f"{folder}: holds {CONFIG_FILE} but no weights file. {remedy}")
    if len(found) > 1:
        raise ModelError(f"{folder}: holds {len(found)} weights files: {', '.join(p.name for p in found)}. Keep one.")
    return found[0]


def _known_weights(name: str, pretrained: str) -> dict[str, Any]:
    names = open_clip.list_models()
    if name not in names:
        near = ", ".join(get_close_matches(name, names, n=3)) or "the names of open_clip.list_models()"
        other = f"a name that starts with {EMBEDDED} {LOCAL} or {HUB}"
        raise ModelError(f"model {name!r} is not known to open_clip. Expected {near}, or {other}.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        known = ", ".join(tags) or "none is known"
        raise ModelError(f"pretrained {pretrained!r} names no weights of {name}. Expected one of: {known}.")
    found: dict[str, Any] = open_clip.get_pretrained_cfg(name, pretrained)
    return found


def _refuse_remote_code(name: str, located: str) -> None:
    try:
        config = open_clip.get_model_config(located)
    except Exception as error:
        raise ModelError(f"{name}: its {CONFIG_FILE} cannot be read: {_first_line(error)}.") from error
    if "trust_remote_code" in json.dumps(config):
        found = f"{name}: its {CONFIG_FILE} asks for trust_remote_code"
        raise ModelError(f"{found}. Remove it: viewgen runs no code that comes with a model.")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
