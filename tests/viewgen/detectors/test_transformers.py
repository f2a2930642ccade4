"""transformers' zero-shot detectors: each family with a small model of its real class, saved in the official format,
gives what its own processor makes of its output, phrase by phrase; and folders that are incomplete are refused."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    SwinConfig,
)

from viewgen.detectors import Ask, Detector, DetectorConfig, ScoredBox, load_detector
from viewgen.detectors.tiles import TiledDetector
from viewgen.errors import ModelError

LOOSE: dict[str, Any] = {
    "box_threshold": 0.0,
    "text_threshold": 0.0,
    "nms_iou": 1.0,
    "num_best": 99,
    "tiles": False,
    "device": "cpu",
}
DOT = 1012
PHRASES = ("the red sign", "a dog", "blue van")
FAMILIES = ("grounding-dino", "mm-grounding-dino", "owlv2")


def shaken(model: Any) -> Any:
    """With weights in which nothing is left at zero, so that every part shows in the answer."""
    torch.manual_seed(3)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return model


def save_grounded(folder: Path, family: str) -> None:
    """GroundingDino's classes part phrases at BERT's numbers for full stop and question mark."""
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", DOT: ".", 1029: "?"}
    fixed |= {1030 + n: word for n, word in enumerate(("the", "red", "sign", "a", "dog", "blue", "van", "##s"))}
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(fixed.get(n, f"[unused{n}]") for n in range(1100)))
    swin: dict[str, Any] = {"image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
    text = BertConfig(vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    sizes: dict[str, Any] = {
        "backbone_config": SwinConfig(**swin, window_size=4, out_features=["stage2", "stage3", "stage4"]),  # type: ignore[call-arg]
        "text_config": text,
        "d_model": 32,
        "num_queries": 20,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    torch.manual_seed(0)
    if family == "grounding-dino":
        model: Any = GroundingDinoForObjectDetection(GroundingDinoConfig(**sizes))
    else:
        model = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**sizes))
    shaken(model).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 192})
    GroundingDinoProcessor(images, BertTokenizer.from_pretrained(folder)).save_pretrained(folder)  # type: ignore[no-untyped-call]


def save_owlv2(folder: Path) -> None:
    """Its tokenizer knows letters and nothing longer."""
    folder.mkdir(parents=True)
    letters = [chr(97 + n) for n in range(26)]
    words = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: n for n, word in enumerate(words)}, merges=[], pad_token="!", model_max_length=16
    )
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    torch.manual_seed(0)
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=16))
    shaken(model).save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    Owlv2Processor(images, tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of each family in turn. Read only: whoever changes it changes a copy."""
    path = tmp_path_factory.mktemp("models") / str(request.param)
    if request.param == "owlv2":
        save_owlv2(path)
    else:
        save_grounded(path, request.param)
    return path


def config(folder: Path | str, **more: Any) -> DetectorConfig:
    return DetectorConfig(library="transformers", model=str(folder), **(LOOSE | more))


def loaded(folder: Path, **more: Any) -> TiledDetector:
    detector = load_detector(config(folder, **more))
    assert isinstance(detector, TiledDetector)
    assert isinstance(detector, Detector)
    return detector


@pytest.fixture(scope="module")
def detector(folder: Path) -> TiledDetector:
    return loaded(folder)


def any_image(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def by_the_book(detector: TiledDetector, image: Image.Image) -> dict[str, list[float]]:
    """Scores of each phrase, best first, from the model and its processor alone."""
    net, processor = detector.network.net, detector.network.processor  # type: ignore[attr-defined]
    if "owl" in net.config.model_type:
        read = processor(images=image, text=[list(PHRASES)], return_tensors="pt")
        with torch.inference_mode():
            outputs = net(**read)
        (found,) = processor.post_process_grounded_object_detection(outputs, 0.0, [image.size[::-1]])
        pairs = [
            (PHRASES[label], score) for label, score in zip(found["labels"], found["scores"].tolist(), strict=True)
        ]
        return {phrase: sorted((s for p, s in pairs if p == phrase), reverse=True) for phrase in PHRASES}
    read = processor(images=image, text=[list(PHRASES)], return_tensors="pt")
    with torch.inference_mode():
        token_QT = net(**read).logits[0].sigmoid()
    ids = read["input_ids"][0].tolist()
    ends = [n for n, token in enumerate(ids) if token == DOT]
    spans = zip([1, *(end + 1 for end in ends)], ends, strict=False)
    return {
        phrase: sorted(token_QT[:, first:last].amax(1).tolist(), reverse=True)
        for phrase, (first, last) in zip(PHRASES, spans, strict=True)
    }


def test_every_phrase_gets_the_scores_that_its_own_words_have(detector: TiledDetector) -> None:
    image = any_image(160, 128)
    looks = detector._looks(Ask(image=image, phrases=PHRASES))
    (found,) = detector.network.read(looks, detector.network.prepare(looks))
    wanted = by_the_book(detector, image)
    assert sum(len(scores) for scores in wanted.values()) > 10
    for phrase in PHRASES:
        scores = sorted((hit.score for hit in found if hit.phrase == phrase), reverse=True)
        assert len(scores) == len(wanted[phrase])
        assert np.allclose(scores, wanted[phrase], atol=1e-5)


def test_what_is_found_comes_phrase_by_phrase_best_first(detector: TiledDetector) -> None:
    (found,) = detector.detect([Ask(image=any_image(160, 128), phrases=PHRASES)])
    order = [(PHRASES.index(one.phrase), -one.score) for one in found]
    assert len(found) > 5
    assert order == sorted(order)
    assert all(one.score == round(one.score, 4) for one in found)


def test_boxes_are_those_of_the_official_post_processing(detector: TiledDetector) -> None:
    image = any_image(160, 128)
    looks = detector._looks(Ask(image=image, phrases=PHRASES))
    (found,) = detector.network.read(looks, detector.network.prepare(looks))
    net, processor = detector.network.net, detector.network.processor  # type: ignore[attr-defined]
    with torch.inference_mode():
        outputs = net(**processor(images=image, text=[list(PHRASES)], return_tensors="pt"))
    (wanted,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[image.size[::-1]]
    )
    boxes, theirs = np.array([hit.box for hit in found]), wanted["boxes"].numpy()
    apart = np.abs(boxes[:, None] - theirs[None]).max(axis=2)
    assert apart.min(axis=0).max() < 1e-2
    assert apart.min(axis=1).max() < 1e-2


def nearly(one: tuple[ScoredBox, ...], other: tuple[ScoredBox, ...]) -> bool:
    """Equal but for the last decimal, which depends on the size of a batch."""
    return len(one) == len(other) and all(
        a.phrase == b.phrase
        and abs(a.score - b.score) < 2e-4
        and max(abs(p - q) for p, q in zip(a.box.as_tuple(), b.box.as_tuple(), strict=True)) <= 1
        for a, b in zip(one, other, strict=True)
    )


def test_an_answer_does_not_depend_on_what_is_read_beside_it(detector: TiledDetector) -> None:
    image = any_image(160, 128)
    asks = [
        Ask(image=image, phrases=phrases) for phrases in (PHRASES, ("a dog",), (), ("van", "the blue signs", "van"))
    ]
    asks += [Ask(image=any_image(130, 200, 1), phrases=("a dog",))]
    together = detector.detect(asks)
    assert together[2] == ()
    for ask, boxes in zip(asks, together, strict=True):
        assert nearly(detector.detect([ask])[0], boxes)
        assert {one.phrase for one in boxes} <= set(ask.phrases)


def test_phrases_too_many_or_too_long_are_split_and_never_cut(detector: TiledDetector) -> None:
    many = tuple(
        f"{word} {other} dog" for word in ("red", "blue", "a") for other in [f"van{'s' * n}" for n in range(30)]
    )
    long = "red sign " * 200
    pieces = [piece for caption in detector.network.captions((*many, long)) for piece in caption.pieces]
    for phrase in (*many, long):
        own = "".join(piece.text for piece in pieces if piece.phrase == phrase)
        assert own.replace(" ", "") == phrase.replace(" ", "")
    (found,) = detector.detect([Ask(image=any_image(160, 128), phrases=(*many[:4], long))])
    assert long in {one.phrase for one in found} or "owl" in detector.network.net.config.model_type  # type: ignore[attr-defined]


def test_thresholds_leave_only_the_likely(folder: Path, detector: TiledDetector) -> None:
    ask = Ask(image=any_image(160, 128), phrases=PHRASES)
    everything = detector.detect([ask])[0]
    scores = sorted({one.score for one in everything})
    _, middle = max((high - low, (high + low) / 2) for low, high in pairwise(scores))  # where rounding decides nothing
    likely = loaded(folder, box_threshold=middle, text_threshold=middle).detect([ask])[0]
    assert 0 < len(likely) < len(everything)
    assert likely == tuple(one for one in everything if one.score > middle)


def test_large_images_are_read_in_tiles_of_the_side_that_the_model_reads(folder: Path) -> None:
    detector = loaded(folder, tiles=True)
    side = 64 if folder.name == "owlv2" else 128
    assert detector.network.tile_px == side
    assert detector.windows(side, side) == detector.windows(side, side)[:1]
    assert {(box.width, box.height) for box in detector.windows(3 * side, 2 * side)[1:]} == {(side, side)}
    (found,) = detector.detect([Ask(image=any_image(3 * side, 2 * side), phrases=PHRASES)])
    assert len({one.box for one in found}) > 25


def test_half_precision_finds_nearly_the_same(folder: Path, detector: TiledDetector) -> None:
    ask = Ask(image=any_image(160, 128), phrases=("a dog",))
    scores = [[one.score for one in each.detect([ask])[0]] for each in (detector, loaded(folder, dtype="bfloat16"))]
    num = min(len(one) for one in scores)
    assert 0 < np.abs(np.array(scores[0][:num]) - np.array(scores[1][:num])).mean() < 0.05


def test_a_model_is_named_by_the_hash_of_its_weights_and_loaded_without_a_word(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    detector = loaded(folder)
    detector.detect([Ask(image=any_image(160, 128), phrases=PHRASES)])
    assert dict(detector.models) == {str(folder): sha256((folder / "model.safetensors").read_bytes()).hexdigest()}
    assert detector.name == "transformers"
    assert capfd.readouterr() == ("", "")


def refusal(model: Path | str) -> str:
    with pytest.raises(ModelError) as refused:
        load_detector(config(model))
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the model, to be spoilt."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


def test_weights_of_another_shape_or_missing_are_refused_rather_than_made_up(own: Path) -> None:
    path = own / "model.safetensors"
    weights = load_file(path)
    first = max(weights)
    save_file({name: value for name, value in weights.items() if name != first}, path, {"format": "pt"})
    assert refusal(own) == (
        f"{own}: its weights do not fit its config.json: 1 missing (first {first}). Use files that belong together."
    )
    save_file(weights | {first: torch.zeros(3, 5, 7)}, path, {"format": "pt"})
    assert "1 of another shape (first " in refusal(own)


def test_a_folder_that_is_incomplete_is_refused(own: Path) -> None:
    (own / "model.safetensors").write_bytes(b"broken")
    assert refusal(own).startswith(f"{own}: does not load as a ")
    (own / "model.safetensors").unlink()
    assert refusal(own) == f"{own}: holds config.json but no weights. Put model.safetensors beside it."
    (own / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert refusal(own).startswith(f"{own}: is a model of type 'bert'. Expected a zero-shot detector: grounding-dino, ")
    (own / "config.json").write_text("{")
    assert refusal(own).startswith(f"{own / 'config.json'}: is not a model's config: ")
    (own / "config.json").unlink()
    assert refusal(own) == f"{own}: holds no config.json. Expected a folder in transformers' format."


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.pth").touch()
    assert refusal(tmp_path / "file.pth") == (
        f"{tmp_path / 'file.pth'}: is a file. Library transformers needs a folder; for a checkpoint set detector.library "
        "to groundingdino."
    )
    assert refusal(tmp_path / "none").endswith("none: there is no such file or folder. Give the path of the model.")
    assert refusal("embedded:nothing").startswith("embedded:nothing: viewgen ships no such detector. Expected one of: ")
    assert refusal("hf-hub:nobody/nothing").startswith("hf-hub:nobody/nothing: cannot be fetched: ")
