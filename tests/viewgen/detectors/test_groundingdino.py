"""groundingdino-py's network gives what transformers' own Grounding DINO gives with the same weights, converted both
ways; and checkpoints that are missing or of another architecture are refused."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    SwinConfig,
)

from viewgen.detectors import Ask, DetectorConfig, ScoredBox, load_detector
from viewgen.detectors.groundingdino import load_groundingdino, read_size
from viewgen.detectors.groundingdino_net import _SAME_IN_ALL, Architecture, _package
from viewgen.detectors.groundingdino_net import ARCHITECTURES as OFFICIAL
from viewgen.detectors.tiles import TiledDetector
from viewgen.errors import ModelError

WORDS = ("the", "red", "sign", "dog", "cat", "blue", "collar", "of", "a", "left", "##s", "white", "van", "door")
TEXT = {
    "vocab_size": 1100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SIZES: dict[str, Any] = {
    "enc_layers": 2,
    "dec_layers": 2,
    "nheads": 4,
    "dim_feedforward": 64,
    "num_queries": 40,
    "short_px": 160,
    "long_px": 256,
}
TINY = Architecture(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), window_size=4, text=TEXT, **SIZES)
OTHER = Architecture(embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), window_size=4, text=TEXT, **SIZES)
ARCHITECTURES = {"swin-t": TINY, "swin-b": OTHER}
PHRASES = (("the red sign",), ("a dog", "the white van", "the blue collar of the cat"), ("the doors", "dog"))
LOOSE: dict[str, Any] = {
    "box_threshold": 0.0,
    "text_threshold": 0.0,
    "nms_iou": 1.0,
    "num_best": 40,
    "tiles": False,
    "device": "cpu",
}


def vocabulary() -> dict[str, int]:
    """BERT's numbers for the tokens that part phrases: transformers has them written into its code."""
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    fixed |= {1030 + n: word for n, word in enumerate(WORDS)}
    return {fixed.get(n, f"[unused{n}]"): n for n in range(TEXT["vocab_size"])}


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a vocabulary and nothing else."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    return folder


def config(model: Path, text_encoder: Path, **more: Any) -> DetectorConfig:
    return DetectorConfig(model=str(model), text_encoder=str(text_encoder), **(LOOSE | more))


def random_weights(tokenizer: Any) -> dict[str, Tensor]:
    """Of a network in which nothing is left at zero, so that every part shows in the answer."""
    torch.manual_seed(0)
    net = TINY.built(tokenizer)
    return {
        name: value + 0.3 * torch.randn_like(value) / max(1.0, value[0].numel() ** 0.5 if value.ndim > 1 else 2.0)
        if value.is_floating_point()
        else value
        for name, value in net.state_dict().items()
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, text_encoder: Path) -> Path:
    """Return a checkpoint in the form of the official ones."""
    weights = random_weights(BertTokenizer.from_pretrained(text_encoder))
    weights |= {"label_enc.weight": torch.zeros(3), "bert.embeddings.position_ids": torch.arange(512)[None]}
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pth"
    torch.save({"model": {f"module.{name}": value for name, value in weights.items()}}, path)
    return path


@pytest.fixture(scope="module")
def detector(checkpoint: Path, text_encoder: Path) -> TiledDetector:
    return load_groundingdino(config(checkpoint, text_encoder), ARCHITECTURES)


RENAMED = (
    (
        r"backbone\.0\.patch_embed\.proj",
        "model.backbone.conv_encoder.model.swin.embeddings.patch_embeddings.projection",
    ),
    (r"backbone\.0\.patch_embed\.norm", "model.backbone.conv_encoder.model.swin.embeddings.norm"),
    (r"backbone\.0\.norm(\d)", r"model.backbone.conv_encoder.model.hidden_states_norms.stage{\1+1}"),
    (r"backbone\.0\.layers", "model.backbone.conv_encoder.model.swin.encoder.layers"),
    (r"attn\.qkv", "attention.{qkv}"),
    (r"(blocks\.\d)\.attn\.proj", r"\1.attention.o_proj"),
    (r"(blocks\.\d)\.attn\.relative", r"\1.attention.relative_position_bias.relative"),
    (r"(blocks\.\d)\.norm1", r"\1.layernorm_before"),
    (r"(blocks\.\d)\.norm2", r"\1.layernorm_after"),
    (r"^input_proj", "model.input_proj_vision"),
    (r"^bert", "model.text_backbone"),
    (r"^feat_map", "model.text_projection"),
    (r"transformer\.tgt_embed", "model.query_position_embeddings"),
    (r"transformer\.level_embed", "model.level_embed"),
    (r"transformer\.enc_out_bbox_embed", "model.encoder_output_bbox_embed"),
    (r"transformer\.enc_output", "model.enc_output"),
    (r"transformer\.encoder\.layers\.(\d)", r"model.encoder.layers.\1.deformable_layer"),
    (r"transformer\.encoder\.text_layers\.(\d)", r"model.encoder.layers.\1.text_enhancer_layer"),
    (r"transformer\.encoder\.fusion_layers\.(\d)", r"model.encoder.layers.\1.fusion_layer"),
    (r"transformer\.decoder\.norm", "model.decoder.layer_norm"),
    (r"transformer\.decoder\.ref_point_head", "model.decoder.reference_points_head"),
    (r"transformer\.decoder", "model.decoder"),
    (r"text_enhancer_layer\.norm1", "text_enhancer_layer.layer_norm_before"),
    (r"text_enhancer_layer\.norm2", "text_enhancer_layer.layer_norm_after"),
    (r"deformable_layer\.norm1", "deformable_layer.self_attn_layer_norm"),
    (r"deformable_layer\.norm2", "deformable_layer.final_layer_norm"),
    (r"(decoder\.layers\.\d)\.norm1", r"\1.encoder_attn_layer_norm"),
    (r"(decoder\.layers\.\d)\.norm2", r"\1.self_attn_layer_norm"),
    (r"(decoder\.layers\.\d)\.norm3", r"\1.final_layer_norm"),
    (r"cross_attn\.", "encoder_attn."),
    (r"ca_text", "encoder_attn_text"),
    (r"catext_norm", "encoder_attn_text_layer_norm"),
    (r"in_proj_(weight|bias)", r"{in_proj}.\1"),
    (r"((?:text_enhancer|decoder).*|deformable.*)linear(\d)", r"\1fc\2"),
    (r"layer_norm_v\b", "layer_norm_vision"),
    (r"layer_norm_l\b", "layer_norm_text"),
    (r"gamma_v", "vision_param"),
    (r"gamma_l", "text_param"),
    (r"fusion_layer\.attn\.(values_|out_)?v_proj", r"fusion_layer.attn.\1vision_proj"),
    (r"fusion_layer\.attn\.(values_|out_)?l_proj", r"fusion_layer.attn.\1text_proj"),
)
"""Names in groundingdino-py -> names in transformers, one after the other."""
PARTS = {"{qkv}": ("q_proj", "k_proj", "v_proj"), "{in_proj}": ("query", "key", "value")}


def theirs(name: str) -> list[str]:
    """Return the name of a weight, in transformers; three where queries, keys and values are apart there; none without
    use."""
    if name.startswith("bert.pooler") or name.endswith(("relative_position_index", "position_ids")):
        return []
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    name = re.sub(r"\{(\d)\+1\}", lambda found: str(int(found[1]) + 1), name)
    for mark, names in PARTS.items():
        if mark in name:
            return [name.replace(mark, part) for part in names]
    return [name]


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        new: part
        for name, value in weights.items()
        if (names := theirs(name))
        for new, part in zip(names, value.chunk(len(names)), strict=True)
    }


def from_transformers(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.cat([weights[new] for new in names]) if (names := theirs(name)) else value
        for name, value in like.items()
    }


def transformers_model() -> GroundingDinoForObjectDetection:
    swin = SwinConfig(
        image_size=224,
        embed_dim=TINY.embed_dim,
        depths=list(TINY.depths),
        num_heads=list(TINY.num_heads),
        window_size=TINY.window_size,
        out_features=["stage2", "stage3", "stage4"],  # type: ignore[call-arg]
    )
    model = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=swin,
            text_config=BertConfig(**TEXT),  # type: ignore[arg-type]
            num_queries=TINY.num_queries,
            encoder_layers=TINY.enc_layers,
            decoder_layers=TINY.dec_layers,
            encoder_ffn_dim=TINY.dim_feedforward,
            decoder_ffn_dim=TINY.dim_feedforward,
            encoder_attention_heads=TINY.nheads,
            decoder_attention_heads=TINY.nheads,
            d_model=256,
        )
    )
    model.train(False)
    return model


def any_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blots of colour: noise would look alike everywhere."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


IMAGES = (any_image(320, 240), any_image(160, 160, 1), any_image(200, 500, 2))


def answers_of_transformers(
    model: GroundingDinoForObjectDetection, detector: TiledDetector, image: Image.Image, phrases: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Corners as shares of the image [Q, 4], and scores of the phrases [Q, P], by the tools of both libraries."""
    from groundingdino.util.vl_utils import create_positive_map_from_span

    (look,) = detector._looks(Ask(image=image, phrases=phrases))
    tokenizer = detector.network.net.tokenizer  # type: ignore[attr-defined]
    processor = GroundingDinoProcessor(GroundingDinoImageProcessor(), tokenizer)  # type: ignore[no-untyped-call]
    text = " . ".join(phrases) + " ."
    read = tokenizer([text], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(pixel_values=detector.network.prepare([look]), **read)
        (found,) = processor.post_process_grounded_object_detection(outputs, read["input_ids"], -1.0, 2.0)
    starts = [text.index(phrase) for phrase in phrases]
    spans = [[[start, start + len(phrase)]] for start, phrase in zip(starts, phrases, strict=True)]
    span_PT = create_positive_map_from_span(tokenizer(text), spans) > 0
    score_QP = torch.stack([outputs.logits[0].sigmoid()[:, span].amax(1) for span in span_PT], dim=1)
    return found["boxes"].numpy(), score_QP.numpy()


def answers(detector: TiledDetector, image: Image.Image, phrases: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Score the same by ours."""
    looks = detector._looks(Ask(image=image, phrases=phrases))
    (found,) = detector.network.read(looks, detector.network.prepare(looks))
    num_boxes = len(found) // len(phrases)
    boxes = np.array([hit.box for hit in found]).reshape(num_boxes, len(phrases), 4)[:, 0]
    scores = np.array([hit.score for hit in found]).reshape(num_boxes, len(phrases))
    return boxes / np.array([image.width, image.height] * 2), scores


def differences(model: GroundingDinoForObjectDetection, detector: TiledDetector) -> Iterator[float]:
    for image, phrases in zip(IMAGES, PHRASES, strict=True):
        boxes, scores = answers(detector, image, phrases)
        their_boxes, their_scores = answers_of_transformers(model, detector, image, phrases)
        assert boxes.shape == their_boxes.shape == (TINY.num_queries, 4)
        assert scores.std(axis=0).min() > 0.01, "queries that are all alike compare nothing"
        yield float(np.abs(boxes - their_boxes).max())
        yield float(np.abs(scores - their_scores).max())


def test_weights_of_the_package_give_the_same_boxes_and_scores_in_transformers(detector: TiledDetector) -> None:
    model = transformers_model()
    converted = to_transformers(detector.network.net.state_dict())  # type: ignore[attr-defined]
    report = model.load_state_dict(converted, strict=False)
    unused = "model.backbone.conv_encoder.model.swin.layernorm"  # of Swin's classifier
    assert (report.missing_keys, report.unexpected_keys) == ([f"{unused}.weight", f"{unused}.bias"], [])
    assert max(differences(model, detector)) < 1e-3


def test_weights_of_transformers_give_the_same_boxes_and_scores_in_the_package(
    tmp_path: Path, text_encoder: Path, detector: TiledDetector
) -> None:
    model = transformers_model()
    torch.manual_seed(7)
    for weight in model.parameters():
        weight.data += 0.03 * torch.randn_like(weight) / max(1.0, weight[0].numel() ** 0.5 if weight.ndim > 1 else 2.0)
    like = {name: torch.zeros_like(value) for name, value in detector.network.net.state_dict().items()}  # type: ignore[attr-defined]
    indices = {k: v for k, v in detector.network.net.state_dict().items() if k.endswith("relative_position_index")}  # type: ignore[attr-defined]
    weights = from_transformers(model.state_dict(), like | indices)
    torch.save({"model": weights}, tmp_path / "converted.pth")
    converted = load_groundingdino(config(tmp_path / "converted.pth", text_encoder), ARCHITECTURES)
    assert max(differences(model, converted)) < 1e-3


def asks() -> list[Ask]:
    return [Ask(image=image, phrases=phrases) for image, phrases in zip(IMAGES[:2] * 2, (*PHRASES, ()), strict=False)]


def nearly(one: tuple[ScoredBox, ...], other: tuple[ScoredBox, ...]) -> bool:
    """Equal but for the last decimal, which depends on the size of a batch."""
    return len(one) == len(other) and all(
        a.phrase == b.phrase
        and abs(a.score - b.score) < 2e-4
        and max(abs(p - q) for p, q in zip(a.box.as_tuple(), b.box.as_tuple(), strict=True)) <= 1
        for a, b in zip(one, other, strict=True)
    )


def test_an_answer_does_not_depend_on_the_images_and_captions_read_beside_it(detector: TiledDetector) -> None:
    image = IMAGES[0]
    many = [Ask(image=image, phrases=phrases) for phrases in PHRASES]
    together = detector.detect(many)
    assert len({len(boxes) for boxes in together}) > 1
    for ask, boxes in zip(many, together, strict=True):
        assert nearly(detector.detect([ask])[0], boxes)


def test_each_ask_is_answered_phrase_by_phrase_best_first(detector: TiledDetector) -> None:
    found = detector.detect([*asks(), Ask(image=IMAGES[0], phrases=("Dog", "?!", "dog", "Dog"))])
    for ask, boxes in zip(asks(), found, strict=False):
        assert list(dict.fromkeys(one.phrase for one in boxes)) == list(ask.phrases)
        for phrase in ask.phrases:
            scores = [one.score for one in boxes if one.phrase == phrase]
            assert scores == sorted(scores, reverse=True)
            assert scores == [round(score, 4) for score in scores]
            assert 0 < len(scores) <= TINY.num_queries
        assert all(one.box.x1 <= ask.image.width and one.box.y1 <= ask.image.height for one in boxes)
    assert found[3] == ()
    assert list(dict.fromkeys(one.phrase for one in found[4])) == ["Dog", "!?"[::-1], "dog"]


def test_thresholds_are_those_of_grounding_dino(checkpoint: Path, text_encoder: Path, detector: TiledDetector) -> None:
    ask = Ask(image=IMAGES[0], phrases=PHRASES[1])
    boxes, scores = answers(detector, ask.image, ask.phrases)
    high, low = float(np.quantile(scores.max(axis=1), 0.6)), float(np.quantile(scores, 0.5))
    strict = load_groundingdino(config(checkpoint, text_encoder, box_threshold=high, text_threshold=low), ARCHITECTURES)
    kept = (scores.max(axis=1, keepdims=True) >= high) & (scores >= low)
    found = strict.detect([ask])[0]
    assert 0 < len(found) < boxes.shape[0] * len(ask.phrases)
    assert [sum(one.phrase == phrase for one in found) for phrase in ask.phrases] == kept.sum(axis=0).tolist()


def test_lists_longer_than_a_caption_are_answered_whole(detector: TiledDetector) -> None:
    many = tuple(f"the {colour} {thing} of a dog" for colour in WORDS[:6] for thing in WORDS)
    assert len(detector.network.captions(many)) == 3
    found = detector.detect([Ask(image=IMAGES[1], phrases=many)])[0]
    assert list(dict.fromkeys(one.phrase for one in found)) == list(many)


def test_a_narrow_strip_is_read_like_any_other_image(detector: TiledDetector) -> None:
    (found,) = detector.detect([Ask(image=any_image(1200, 12), phrases=("dog",))])
    assert found
    assert all(one.box.y1 <= 12 for one in found)


def test_half_precision_finds_nearly_the_same(checkpoint: Path, text_encoder: Path, detector: TiledDetector) -> None:
    half = load_groundingdino(config(checkpoint, text_encoder, dtype="bfloat16"), ARCHITECTURES)
    _, scores = answers(detector, IMAGES[0], PHRASES[1])
    _, rough = answers(half, IMAGES[0], PHRASES[1])
    difference = np.abs(np.sort(scores, axis=0) - np.sort(rough, axis=0)).mean()
    assert 0 < difference < 0.05  # 8 bits of mantissa in a random network; 0.017 to 0.021 by processor


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (1500, 500), (33, 900), (640, 640), (4000, 3000)])
def test_images_are_read_as_the_package_does(size: tuple[int, int], detector: TiledDetector) -> None:
    from groundingdino.datasets import transforms

    image = any_image(*size)
    steps = [transforms.RandomResize([160], max_size=256), transforms.ToTensor()]
    steps += [transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    wanted, _ = transforms.Compose(steps)(image, None)
    width, height = read_size(*size, 160, 256)
    assert (height, width) == tuple(wanted.shape[1:])
    if max(size) <= 10 * min(size):
        (look, *_) = detector._looks(Ask(image=image, phrases=("dog",)))
        assert torch.allclose(detector.network.prepare([look])[0], wanted, atol=1e-5)


def test_nothing_is_said_while_a_model_is_loaded_and_asked(
    checkpoint: Path, text_encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_groundingdino(config(checkpoint, text_encoder), ARCHITECTURES).detect(asks()[:1])
    assert capfd.readouterr() == ("", "")


def test_the_sizes_are_those_of_the_official_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    from groundingdino.config import GroundingDINO_SwinB_cfg, GroundingDINO_SwinT_OGC
    from groundingdino.models.GroundingDINO.backbone import swin_transformer

    asked: dict[str, Any] = {}
    monkeypatch.setattr(swin_transformer, "SwinTransformer", lambda **settings: asked.update(settings))
    for name, official in (("swin-t", GroundingDINO_SwinT_OGC), ("swin-b", GroundingDINO_SwinB_cfg)):
        ours, theirs_ = OFFICIAL[name], vars(official)
        swin_transformer.build_swin_transformer(official.backbone, int(official.backbone.split("_")[2]))
        for setting, value in asked.items():
            assert list(np.atleast_1d(getattr(ours, setting))) == list(np.atleast_1d(value)), setting
        for setting in ("enc_layers", "dec_layers", "nheads", "dim_feedforward", "num_queries"):
            assert getattr(ours, setting) == theirs_[setting], setting
        for setting, value in _SAME_IN_ALL.items():
            assert value == theirs_[setting] or setting in ("use_checkpoint", "use_transformer_ckpt"), setting
        assert (official.text_encoder_type, official.max_text_len) == ("bert-base-uncased", 256)


def test_nothing_to_draw_with_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without OpenGL's library the package's own import of cv2 would fail."""
    for name in [name for name in sys.modules if name.split(".")[0] == "groundingdino"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("cv2", "matplotlib", "supervision"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it now fails
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _package().__name__ == "groundingdino.models.GroundingDINO.groundingdino"
    assert "groundingdino.util.visualizer" not in sys.modules


def refusal(model: Path | str, text_encoder: Path | str, **more: Any) -> str:
    with pytest.raises(ModelError) as refused:
        load_groundingdino(config(Path(model), Path(text_encoder), **more), ARCHITECTURES)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_weights_in_safetensors_without_doubles_are_the_same_weights(
    tmp_path: Path, text_encoder: Path, detector: TiledDetector
) -> None:
    weights = detector.network.net.state_dict()  # type: ignore[attr-defined]
    once = {name: value for name, value in weights.items() if not name.startswith("transformer.decoder.bbox_embed")}
    assert len(once) < len(weights)
    save_file(
        {k: v.clone() for k, v in once.items() if not k.startswith("bbox_embed.1")}, tmp_path / "tiny.safetensors"
    )
    loaded = load_groundingdino(config(tmp_path / "tiny.safetensors", text_encoder), ARCHITECTURES)
    assert loaded.detect(asks()[:1]) == detector.detect(asks()[:1])


def test_a_model_is_named_by_the_hash_of_its_checkpoint(detector: TiledDetector, checkpoint: Path) -> None:
    assert dict(detector.models) == {str(checkpoint): sha256(checkpoint.read_bytes()).hexdigest()}
    assert detector.name == "groundingdino"


def test_a_missing_checkpoint_is_refused(tmp_path: Path, text_encoder: Path) -> None:
    missing = tmp_path / "none.pth"
    assert refusal(missing, text_encoder) == (
        f"{missing}: there is no such file or folder. Give the path of the model."
    )
    assert refusal(tmp_path, text_encoder) == (
        f"{tmp_path}: is a folder. "
        "Expected a checkpoint file (.pth or .safetensors), such as groundingdino_swint_ogc.pth."
    )


def test_a_checkpoint_of_another_architecture_is_refused_with_the_right_one(
    checkpoint: Path, text_encoder: Path
) -> None:
    message = refusal(checkpoint, text_encoder, architecture="swin-b")
    assert message.startswith(f"{checkpoint}: does not fit architecture 'swin-b': weights ")
    assert " of another shape (first input_proj.0.0.weight). It may be 'swin-t': change architecture." in message


def test_weights_that_are_missing_or_too_many_are_refused(
    tmp_path: Path, text_encoder: Path, detector: TiledDetector
) -> None:
    weights = dict(detector.network.net.state_dict())  # type: ignore[attr-defined]
    del weights["feat_map.bias"]
    torch.save({"model": weights | {"more": torch.zeros(1)}}, tmp_path / "other.pth")
    assert refusal(tmp_path / "other.pth", text_encoder).startswith(
        f"{tmp_path / 'other.pth'}: does not fit architecture 'swin-t': "
        "weights 1 missing (first feat_map.bias), 1 unexpected (first more). "
    )
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    assert refusal(tmp_path / "other.pth", text_encoder).endswith(" Give an official Grounding DINO checkpoint.")


class Intruder:
    """Unpickled without care, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path: Path, text_encoder: Path) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"model": Intruder(tmp_path / "trace")}, path)
    assert refusal(path, text_encoder).startswith(f"{path}: cannot be read as weights: ")
    assert not (tmp_path / "trace").exists()
    torch.save([1, 2], path)
    assert refusal(path, text_encoder) == (
        f"{path}: holds no weights under the key 'model'. Expected an official checkpoint."
    )
    path.write_bytes(b"PK")
    assert refusal(path, text_encoder).startswith(f"{path}: cannot be read as weights: ")


def test_a_text_encoder_without_the_right_vocabulary_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    wanted = "Expected a folder with bert-base-uncased's vocab.txt."
    assert refusal(checkpoint, tmp_path / "none").endswith(
        "none: there is no such file or folder. Give the path of the model."
    )
    assert refusal(checkpoint, tmp_path).endswith(wanted)
    (tmp_path / "vocab.txt").write_text("\n".join(list(vocabulary())[:1000]))
    assert refusal(checkpoint, tmp_path).endswith(f"its vocabulary of 1000 words does not fit. {wanted}")
    (tmp_path / "vocab.txt").write_text("\n".join([*vocabulary(), "more"]))
    assert refusal(checkpoint, tmp_path).endswith(f"its vocabulary of 1101 words does not fit. {wanted}")


def test_models_that_cannot_be_fetched_are_one_line(checkpoint: Path, text_encoder: Path) -> None:
    with pytest.raises(ModelError) as refused:
        load_detector(DetectorConfig(text_encoder=str(text_encoder)))
    assert str(refused.value).startswith("hf-hub:ShilongLiu/GroundingDINO: cannot be fetched: ")
    assert str(refused.value).endswith("Check the name and the network, or download it once and give its path.")
    with pytest.raises(ModelError, match=r"^hf-hub:google-bert/bert-base-uncased: cannot be fetched: "):
        load_groundingdino(DetectorConfig(model=str(checkpoint)), ARCHITECTURES)
    with pytest.raises(ModelError, match=r"^owner/name: there is no such file .* hub, say hf-hub:owner/name.$"):
        load_detector(DetectorConfig(model="owner/name"))


def test_a_device_that_is_not_there_is_refused(checkpoint: Path, text_encoder: Path) -> None:
    assert refusal(checkpoint, text_encoder, device="cuda:64").endswith("GPUs. Say cpu.")
    assert refusal(checkpoint, text_encoder, device="gpu") == (
        "device 'gpu' is not one that torch knows. Expected auto, cpu or cuda."
    )
    for name in ("meta", "hpu", "vulkan"):  # torch knows these names, but no numbers come back from such devices here
        said = refusal(checkpoint, text_encoder, device=name)
        assert said.startswith(f"device {name!r} cannot be used: ")
        assert said.endswith(". Say auto or cpu.")
