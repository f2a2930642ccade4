"""OpenCLIP models: those of every family are read alike, and what cannot be used is refused in one line.
The model is the one shipped for drawn scenes, or a tiny one of another family, made here."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from viewgen.errors import ModelError, SettingsError
from viewgen.retrieval.openclip import load_model
from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.settings import settings_from

SHIPPED = Path(str(files("viewgen"))) / "weights" / "drawn-clip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a model folder that may be damaged."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


def refusal(name: str, pretrained: str = "") -> str:
    with pytest.raises(ModelError) as refused:
        load_model(name, pretrained)
    message = str(refused.value)
    assert "\n" not in message
    return message


SIGLIP = {
    "embed_dim": 24,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 36,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "hf_tokenizer_name": "drawn-clip",
    },
}
"""A SigLIP 2, made small: a vision tower of timm, a bias on logits, pictures squeezed into a square."""
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.fixture
def siglip(folder: Path) -> Path:
    """Return a folder with a tiny SigLIP of random weights that were saved."""
    torch.manual_seed(0)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": SIGLIP, "preprocess_cfg": SQUASH}))
    net = open_clip.CustomTextCLIP(**{key: value for key, value in SIGLIP.items() if key != "custom_text"})
    with torch.no_grad():
        net.logit_scale.fill_(float(np.log(112.0)))
    save_file(
        {key: value.contiguous() for key, value in net.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def test_a_siglip_is_read_as_open_clip_reads_it(siglip: Path) -> None:
    ours = load_model(f"local-dir:{siglip}")
    net, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{siglip}")
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 130, 3), dtype=np.uint8))
    with torch.inference_mode():
        theirs = net.eval().encode_image(preprocess(image)[None], normalize=True)
    assert ours.temperature == pytest.approx(112.0)
    assert ours.size_px == (64, 64)
    assert torch.equal(ours.embed_tiles(ours.fit(image)[None]), theirs)
    assert net.logit_bias is not None


def test_a_siglip_ranks_tiles(siglip: Path) -> None:
    config = RetrievalConfig(model=f"local-dir:{siglip}", tile_px=(80,), stride_px=(40,))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8))
    (index,) = Retriever.load(config).index([image])
    logit_N = index.logits("the red circle")
    assert logit_N.shape == (9,)
    assert np.abs(logit_N).max() <= 112.0
    assert index.regions("the red circle")[0].score >= 0


def test_half_precision_gives_nearly_the_same_vectors_in_full() -> None:
    full, half = (load_model("embedded:drawn-clip", dtype=dtype) for dtype in ("float32", "bfloat16"))
    tiles = np.random.default_rng(1).integers(0, 256, (2, 3, 48, 48), dtype=np.uint8)
    assert half.pixels(tiles).dtype == torch.bfloat16
    assert half.temperature == full.temperature
    for one, other in (
        (full.embed_tiles(tiles), half.embed_tiles(tiles)),
        (full.embed_texts(["the red circle"]), half.embed_texts(["the red circle"])),
    ):
        assert other.dtype == torch.float32
        assert 0 < (one - other).abs().max() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_nearly_the_same_vectors() -> None:
    cpu, gpu = load_model("embedded:drawn-clip", device="cpu"), load_model("embedded:drawn-clip")
    assert gpu.dtype == torch.float16
    tiles = np.random.default_rng(1).integers(0, 256, (2, 3, 48, 48), dtype=np.uint8)
    assert (cpu.embed_tiles(tiles) - gpu.embed_tiles(tiles)).abs().max() < 0.02
    texts = ["the red circle"]
    assert (cpu.embed_texts(texts) - gpu.embed_texts(texts)).abs().max() < 0.02


@pytest.mark.parametrize("device", ["cudo", "cuda:99", "meta", "hpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ModelError, match=rf"^device '{device}' cannot be used: .*\. Use auto or cpu\.$"):
        load_model("embedded:drawn-clip", device=device)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^r.toml: dtype is 'int8'; it must be one of 'auto', "):
        settings_from({"dtype": "int8"}, RetrievalConfig, "r.toml")


def test_a_folder_loads_as_the_shipped_model_does(folder: Path) -> None:
    loaded, shipped = load_model(f"local-dir:{folder}"), load_model("embedded:drawn-clip")
    assert loaded.sha256 == shipped.sha256
    texts = ["the red circle"]
    assert torch.equal(loaded.embed_texts(texts), shipped.embed_texts(texts))


def test_a_folder_without_weights_is_refused_rather_than_random(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    assert refusal(f"local-dir:{folder}") == (
        f"{folder}: holds open_clip_config.json but no weights file. "
        "Put open_clip_model.safetensors into it; without it the model would be random."
    )


def test_two_weights_files_are_refused(folder: Path) -> None:
    shutil.copy(folder / "open_clip_model.safetensors", folder / "other.safetensors")
    found = "open_clip_model.safetensors, other.safetensors"
    assert refusal(f"local-dir:{folder}") == f"{folder}: holds 2 weights files: {found}. Keep one."


def test_a_missing_folder_or_config_is_refused(folder: Path) -> None:
    missing = folder / "none"
    expected = "Expected one with open_clip_config.json and a weights file."
    assert refusal(f"local-dir:{missing}") == f"{missing}: there is no such folder. {expected}"
    (folder / "open_clip_config.json").unlink()
    assert refusal(f"local-dir:{folder}") == (
        f"{folder}: holds no open_clip_config.json. Expected a folder in open_clip's format."
    )


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    weights = load_file(path)
    del weights["visual.proj"]
    save_file(weights, path)
    message = refusal(f"local-dir:{folder}")
    assert message.startswith(f"local-dir:{folder}: {path} does not load as an open_clip model: ")
    assert "visual.proj" in message


class Intruder:
    """Unpickled without care, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


def test_a_pickle_that_would_run_code_is_refused_and_not_run(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Intruder(folder / "trace")}, folder / "open_clip_model.bin")
    assert "does not load as an open_clip model" in refusal(f"local-dir:{folder}")
    assert not (folder / "trace").exists()


def test_a_config_that_asks_for_remote_code_is_refused(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    path.write_text(json.dumps(config))
    assert refusal(f"local-dir:{folder}") == (
        f"local-dir:{folder}: its open_clip_config.json asks for trust_remote_code. "
        "Remove it: viewgen runs no code that comes with a model."
    )


def test_a_broken_config_is_refused(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("{")
    assert refusal(f"local-dir:{folder}").startswith(f"local-dir:{folder}: its open_clip_config.json cannot be read: ")


def test_unknown_names_are_answered_with_known_ones() -> None:
    assert refusal("embedded:drawn-clop") == (
        "embedded:drawn-clop: viewgen ships no such model. Expected one of: embedded:drawn-clip."
    )
    assert refusal("ViT-B32").startswith("model 'ViT-B32' is not known to open_clip. Expected ViT-B-32")
    assert refusal("ViT-B-32", "laion").startswith("pretrained 'laion' names no weights of ViT-B-32. Expected one of: ")
    assert refusal("ViT-B-32").startswith("pretrained '' names no weights of ViT-B-32. Expected one of: ")


def test_a_model_that_cannot_be_fetched_is_one_line() -> None:
    message = refusal("hf-hub:nobody/nothing")
    assert message.startswith("hf-hub:nobody/nothing: its weights cannot be fetched: ")
    assert message.endswith("Check the name and the network, or put the model in a folder and name it local-dir:PATH.")
