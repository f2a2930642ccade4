"""Retrieval: tiles, margins, pixels as open_clip wants them, and models that are refused.
The model is the one shipped for drawn scenes; test_drawn_clip.py says how good it is."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from viewgen.boxes import Box
from viewgen.demo import DemoConfig, Scene, draw_scene, scene_stream
from viewgen.errors import ModelError, SettingsError
from viewgen.openclip import load_model
from viewgen.retrieval import RetrievalConfig, Retriever, margin, tile_boxes
from viewgen.settings import settings_from

CONFIG = RetrievalConfig(model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,))
SHIPPED = Path(str(files("viewgen"))) / "weights" / "drawn-clip"


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    torch.set_num_threads(1)  # threads of a busy machine wait for each other longer than these small products take
    return Retriever.load(CONFIG)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(scene_stream(5, "retrieval", 0), DemoConfig())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that may be damaged."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def refusal(name: str, pretrained: str = "") -> str:
    with pytest.raises(ModelError) as refused:
        load_model(name, pretrained)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_tiles_step_over_the_image_row_by_row() -> None:
    assert tile_boxes(96, 64, (48,), (16,)) == tuple(
        Box(x, y, x + 48, y + 48) for y in (0, 16) for x in (0, 16, 32, 48)
    )


def test_the_last_tile_ends_at_the_edge_when_steps_do_not() -> None:
    assert [box.x0 for box in tile_boxes(100, 48, (48,), (16,))] == [0, 16, 32, 48, 52]


def test_every_pixel_lies_in_a_tile_of_each_size() -> None:
    for tile, stride in ((30, 17), (64, 64)):
        seen = np.zeros((101, 150), dtype=bool)
        for box in tile_boxes(150, 101, (tile,), (stride,)):
            seen[box.y0 : box.y1, box.x0 : box.x1] = True
            assert (box.width, box.height) == (tile, tile)
        assert seen.all()


def test_a_tile_larger_than_the_image_is_cut_to_its_shorter_side() -> None:
    boxes = tile_boxes(100, 60, (48, 200, 300), (48, 50, 50))
    assert boxes[6:] == (Box(0, 0, 60, 60), Box(40, 0, 100, 60))  # once, though two sizes ask for it


def test_a_margin_is_the_lead_over_the_best_tile_elsewhere() -> None:
    box_N4 = np.array([(0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (0, 10, 10, 20)])
    logit_N = np.array([5.0, 4.0, 1.5, 2.0])
    assert margin(box_N4, logit_N, 0) == 3.0  # tile 1 overlaps it; tiles 2 and 3 only touch it
    assert margin(box_N4, logit_N, 1) == 2.0
    assert margin(box_N4, logit_N, 2) == -3.5


def test_without_a_tile_elsewhere_nothing_stands_out() -> None:
    assert margin(np.array([(0, 0, 10, 10), (5, 0, 15, 10)]), np.array([5.0, 4.0]), 0) == 0.0


def test_pixels_of_the_model_s_own_size_are_those_of_open_clip(retriever: Retriever) -> None:
    tiles = np.asarray(noise(48, 48)).transpose(2, 0, 1)[None]
    assert torch.equal(retriever.clip.pixels(tiles)[0], retriever.clip.preprocess(noise(48, 48)))


def test_pixels_of_another_size_are_resized_as_open_clip_does(retriever: Retriever) -> None:
    tiles = np.asarray(noise(64, 64)).transpose(2, 0, 1)[None].repeat(2, axis=0)
    pixels = retriever.clip.pixels(tiles)
    assert pixels.shape == (2, 3, 48, 48)
    assert torch.equal(pixels[1], retriever.clip.preprocess(noise(64, 64)))


def test_each_tile_s_own_pixels_are_read(retriever: Retriever, scene: Scene) -> None:
    boxes = tile_boxes(160, 160, (48,), (16,))
    vectors = retriever._tiles(scene.image, boxes)
    for n in (0, 9, 63):
        alone = np.asarray(scene.image.crop(boxes[n].as_tuple())).transpose(2, 0, 1)[None]
        assert np.abs(vectors[n] - retriever.clip.embed_tiles(alone)[0].numpy()).max() < 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_batches_change_nothing(retriever: Retriever, scene: Scene) -> None:
    phrases = [sign.phrase for sign in scene.signs]
    config = RetrievalConfig(
        model=CONFIG.model, template="{phrase}", tile_px=(48, 64), stride_px=(16, 32), batch_size=7
    )
    small, large = (
        Retriever(config, retriever.clip),
        Retriever(
            RetrievalConfig(model=CONFIG.model, template="{phrase}", tile_px=(48, 64), stride_px=(16, 32)),
            retriever.clip,
        ),
    )
    first, second = small.regions(scene.image, phrases), large.regions(scene.image, phrases)
    for phrase in phrases:
        assert [region.box for region in first[phrase]] == [region.box for region in second[phrase]]
        for one, other in zip(first[phrase], second[phrase], strict=True):
            assert abs(one.score - other.score) < 1e-3


def test_regions_are_the_best_tiles_in_order(retriever: Retriever, scene: Scene) -> None:
    phrase = scene.signs[0].phrase
    regions = retriever.regions(scene.image, [phrase])[phrase]
    assert [region.rank for region in regions] == [0, 1, 2]
    assert {region.source for region in regions} == {"retrieval"}
    boxes = tile_boxes(160, 160, (48,), (16,))
    vectors = retriever._tiles(scene.image, boxes)
    cosines = vectors @ retriever.clip.embed_texts([phrase])[0].numpy()
    assert [region.box for region in regions] == [boxes[n] for n in np.argsort(-cosines)[:3]]


def test_a_phrase_s_regions_do_not_depend_on_its_company(retriever: Retriever, scene: Scene) -> None:
    phrases = [sign.phrase for sign in scene.signs]
    together = Retriever(CONFIG, retriever.clip).regions(scene.image, phrases)
    for phrase in reversed(phrases):
        assert Retriever(CONFIG, retriever.clip).regions(scene.image, [phrase])[phrase] == together[phrase]
    assert retriever.regions(scene.image, []) == {}


def test_the_template_is_what_the_model_reads(retriever: Retriever, scene: Scene) -> None:
    plain = Retriever(CONFIG, retriever.clip)
    photo = Retriever(RetrievalConfig(model=CONFIG.model, tile_px=(48,), stride_px=(16,)), retriever.clip)
    for each in (plain, photo):
        each.regions(scene.image, ["the red circle"])
    wanted = retriever.clip.embed_texts(["a photo of the red circle"])[0].numpy()
    assert (photo.known["the red circle"] == wanted).all()
    assert (plain.known["the red circle"] != wanted).any()


def test_a_folder_loads_as_the_shipped_model_does(retriever: Retriever, folder: Path) -> None:
    loaded = load_model(f"local-dir:{folder}")
    assert loaded.sha256 == retriever.clip.sha256
    texts = ["the red circle"]
    assert torch.equal(loaded.embed_texts(texts), retriever.clip.embed_texts(texts))


def test_a_folder_without_weights_is_refused_rather_than_random(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    assert refusal(f"local-dir:{folder}") == (
        f"{folder}: holds open_clip_config.json but no weights file. "
        "Put open_clip_model.safetensors beside it; without it the model would be random."
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


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"template": "a photo"}, "template is 'a photo': expected {phrase} in it, once"),
        ({"tile_px": [48]}, "tile_px has 1 sides, stride_px 2 steps: expected one step per side"),
        (
            {"tile_px": [48], "stride_px": [49]},
            "tiles of 48 px, steps of 49 px: expected 16 px or more, steps of 1 to a tile",
        ),
        (
            {"tile_px": [8], "stride_px": [8]},
            "tiles of 8 px, steps of 8 px: expected 16 px or more, steps of 1 to a tile",
        ),
        ({"num_best": 0}, "num_best is 0: expected 1 or more"),
        ({"batch_size": 0}, "batch_size is 0: expected 1 or more"),
        ({"tiles_px": [48]}, "unknown setting 'tiles_px'. Did you mean 'tile_px'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from(table, RetrievalConfig, "recipe.toml")
    assert str(refused.value) == f"recipe.toml: {message}"


def test_rows_of_tiles_overlap_by_the_step() -> None:
    rows = sorted({box.y0 for box in tile_boxes(160, 160, (48,), (16,))})
    assert all(after - before == 16 for before, after in pairwise(rows))
