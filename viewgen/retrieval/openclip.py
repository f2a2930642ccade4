"""Load OpenCLIP models, never without weights, and embed pixels and texts as unit vectors.
Leaves out: tiles and ranking (retriever.py, tiles.py). Imports torch and open_clip: Retriever.load() imports this module.

Shapes: N images, H x W pixels of a tile, h x w pixels that the model reads, P texts, D dimensions of the model."""

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
from torch.nn.functional import normalize

from viewgen.errors import ModelError, brief

EMBEDDED, LOCAL, HUB = "embedded:", "local-dir:", "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipModel:
    """An OpenCLIP model for tiles and texts. load_model() makes one."""

    sha256: str
    """SHA-256 of the weights file, in hex."""
    temperature: float
    """Factor from cosines to logits. SigLIP's bias, which shifts all logits alike, is left out."""
    net: Any
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: Callable[[Image.Image], Tensor]
    """open_clip's own preprocessing of one PIL image."""
    resize: Callable[[Image.Image], Image.Image]
    """The first half of `preprocess`: resizing to the size that the vision tower reads."""
    crops: bool
    """True when resizing cuts the ends off an image that is not square."""
    size_px: tuple[int, int]
    """Height and width that the vision tower reads."""
    mean_C: Tensor
    std_C: Tensor
    dtype: torch.dtype

    def embed_tiles(self, tiles: UInt8[np.ndarray, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Embed RGB tiles, 0 to 255, as unit vectors."""
        return self.embed_pixels(self.pixels(tiles))

    def embed_pixels(self, pixels: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N D"]:
        """Embed the output of `pixels` as unit vectors, in float32 on the CPU."""
        with torch.inference_mode():
            vectors: Tensor = normalize(self.net.encode_image(pixels).float(), dim=-1).cpu()
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "P D"]:
        """Embed texts as unit vectors, in float32 on the CPU."""
        with torch.inference_mode():
            tokens = self.tokenizer(list(texts)).to(self.mean_C.device)
            vectors: Tensor = normalize(self.net.encode_text(tokens).float(), dim=-1).cpu()
        return vectors

    def pixels(self, tiles: UInt8[np.ndarray, "N 3 H W"]) -> Float[Tensor, "N 3 h w"]:
        """Prepare tiles for the vision tower, on its device: equal to open_clip's preprocessing of each tile."""
        if tiles.shape[2:] != self.size_px:
            resized = [self.resize(Image.fromarray(tile)) for tile in tiles.transpose(0, 2, 3, 1)]
            tiles = np.stack([np.asarray(tile) for tile in resized]).transpose(0, 3, 1, 2)
        whole = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.mean_C.device).float()
        # open_clip's arithmetic in its order, on the whole batch.
        return whole.div_(255).sub_(self.mean_C).div_(self.std_C).to(self.dtype)

    def fit(self, image: Image.Image) -> UInt8[np.ndarray, "3 h w"]:
        """Resize a whole RGB image to the size that the model reads.

        Where open_clip would cut the ends off, the image is first widened to a square by bars of the model's mean
        colour, as LLaVA 1.5 does: the object may be at an end. Out: levels 0 to 255."""
        height, width = self.size_px
        side = max(image.width / width, image.height / height)
        square = round(side * width), round(side * height)
        if self.crops and square != image.size:
            red, green, blue = (round(255 * value) for value in self.mean_C.flatten().tolist())
            ground = Image.new("RGB", square, (red, green, blue))
            ground.paste(image, ((square[0] - image.width) // 2, (square[1] - image.height) // 2))
            image = ground
        read = image if image.size == (width, height) else self.resize(image)
        return np.asarray(read).transpose(2, 0, 1)


def load_model(name: str, pretrained: str = "", device: str = "auto", dtype: str = "auto") -> ClipModel:
    """Load the model `name`, in evaluation mode. Raises ModelError when its weights are missing or do not fit, or the
    device cannot be used.

    embedded:NAME is shipped with viewgen, local-dir:PATH a folder in open_clip's format, hf-hub:OWNER/NAME a model on
    the Hugging Face hub; any other name is open_clip's own and needs the `pretrained` tag of its weights.
    `device`, `dtype`: as in RetrievalConfig."""
    place, number = _device_and_dtype(device, dtype)
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
            raise ModelError(f"{name}: {weights} does not load as an open_clip model: {brief(error)}.") from error
        with weights.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
    temperature = float(net.logit_scale.detach().exp())  # before it is rounded to fewer bits
    net.eval().requires_grad_(False).to(place, number)
    config = open_clip.get_model_preprocess_cfg(net)
    height, width = (config["size"],) * 2 if isinstance(config["size"], int) else config["size"]
    *resizing, _, _ = preprocess.transforms  # the last two make a tensor and normalise it
    return ClipModel(
        sha256=sha256,
        temperature=temperature,
        net=net,
        tokenizer=tokenizer,
        preprocess=preprocess,
        resize=type(preprocess)(resizing),
        crops=config["resize_mode"] == "shortest",
        size_px=(height, width),
        mean_C=torch.tensor(config["mean"]).view(3, 1, 1).to(place),
        std_C=torch.tensor(config["std"]).view(3, 1, 1).to(place),
        dtype=number,
    )


def _device_and_dtype(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Resolve device and dtype on this machine: auto is the GPU in float16, or the CPU in float32."""
    try:
        place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.zeros(1, device=place).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ModelError(f"device {device!r} cannot be used: {brief(error)}. Use auto or cpu.") from error
    if dtype == "auto":
        dtype = "float32" if place.type == "cpu" else "float16"
    number: torch.dtype = getattr(torch, dtype)
    return place, number


@contextmanager
def _located(name: str) -> Iterator[str]:
    """Yield the name as open_clip reads it; for a shipped model local-dir:FOLDER."""
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
    """Return the file of the weights. Raises ModelError: without one, open_clip would return a random model."""
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
        raise ModelError(f"{which}: its weights cannot be fetched: {brief(error)}. {remedy}") from error


def _weights_in(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder. Expected one with {CONFIG_FILE} and a weights file.")
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(f"{folder}: holds no {CONFIG_FILE}. Expected a folder in open_clip's format.")
    found = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    if not found:
        remedy = "Put open_clip_model.safetensors into it; without it the model would be random."
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
        raise ModelError(f"{name}: its {CONFIG_FILE} cannot be read: {brief(error)}.") from error
    if "trust_remote_code" in json.dumps(config):
        found = f"{name}: its {CONFIG_FILE} asks for trust_remote_code"
        raise ModelError(f"{found}. Remove it: viewgen runs no code that comes with a model.")
