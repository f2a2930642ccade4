"""Plans: which images stand in which part, and when a part is another."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from viewgen.build.config import BuildConfig
from viewgen.build.plan import ImageFile, code_version, hash_image_file, libraries_used, plan_build
from viewgen.detectors import DetectorConfig
from viewgen.grounding.regions import RegionsConfig
from viewgen.phrases import PhrasesConfig
from viewgen.records import Question
from viewgen.retrieval.retriever import RetrievalConfig
from viewgen.source.images import ImageConfig
from viewgen.source.recipe import SourceConfig
from viewgen.source.reviews import Review
from viewgen.views.cutting import ViewsConfig

CONFIG = BuildConfig(source=SourceConfig(root=".", query=""), images_per_part=2, part_mb=1.0)


def files(*sizes: int) -> list[ImageFile]:
    return [ImageFile(path=f"{n}.png", name=f"{n}" * 64, num_bytes=size) for n, size in enumerate(sizes)]


def questions(num: int) -> list[Question]:
    return [Question(question_id=f"q{n}", image_path=f"{n}.png", text="?") for n in range(num)]


def parts(config: BuildConfig, *sizes: int) -> list[list[str]]:
    plan = plan_build(config, {}, questions(len(sizes)), files(*sizes), {})
    return [[image.source_path for image in part.images] for part in plan.parts]


def test_a_part_ends_by_number_of_images_or_by_their_bytes() -> None:
    assert parts(CONFIG, 10, 10, 10) == [["0.png", "1.png"], ["2.png"]]
    assert parts(CONFIG, 700_000, 400_000, 10) == [["0.png"], ["1.png", "2.png"]]
    assert parts(CONFIG, 5_000_000, 10) == [["0.png"], ["1.png"]]


def test_equal_files_are_one_image_under_the_first_path() -> None:
    twins = [replace(file, name="same" * 16) for file in files(10, 10)]
    (part,) = plan_build(CONFIG, {}, questions(2), twins, {}).parts
    (image,) = part.images
    assert image.source_path == "0.png"
    assert [record.question_id for record in image.questions] == ["q0", "q1"]


def test_a_fingerprint_follows_questions_files_settings_models_and_reviews() -> None:
    def name(
        config: BuildConfig = CONFIG,
        models: dict[str, str] | None = None,
        text: str = "?",
        key: str = "0" * 64,
        reviews: dict[str, Review] | None = None,
    ) -> str:
        asked = [replace(questions(1)[0], text=text)]
        found = [replace(files(10)[0], name=key)]
        return plan_build(config, models or {}, asked, found, reviews or {}).parts[0].fingerprint

    changed = [
        name(config=replace(CONFIG, seed=1)),
        name(models={"clip": "ab"}),
        name(text="!"),
        name(key="1" * 64),
        name(reviews={"q0": Review(verdict="accept")}),
    ]
    assert name() == name()
    assert len({name(), *changed}) == 6
    assert name(reviews={"another question": Review(verdict="accept")}) == name()


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.png", "a/../../b.png"])
def test_a_path_that_leaves_the_root_is_refused_unread(path: str, tmp_path: Path) -> None:
    refusal = hash_image_file(path, tmp_path, ImageConfig()).refusal
    assert refusal
    assert (refusal.stage, refusal.reason) == ("images", "outside_root")


@pytest.mark.fault(27)
def test_a_file_is_hashed_by_any_spelling_of_its_path_and_stored_under_its_own(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(b"x")
    plain, uri = (
        hash_image_file(path, tmp_path, ImageConfig()) for path in ("a b.png", f"file://{tmp_path}/a%20b.png")
    )
    assert plain.name == uri.name
    assert plain.found == uri.found == "a b.png"
    asked = [replace(questions(1)[0], image_path=uri.path)]
    (part,) = plan_build(CONFIG, {}, asked, [uri], {}).parts
    assert part.images[0].source_path == "a b.png"


@pytest.mark.fault(18)
def test_an_image_behind_a_link_that_leaves_the_root_is_refused_unless_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").symlink_to("../blob")
    file = hash_image_file("a.png", tmp_path / "root", ImageConfig())
    assert file.refusal is not None
    assert (file.refusal.stage, file.refusal.reason, file.num_bytes) == ("images", "link_outside_root", 0)
    assert hash_image_file("a.png", tmp_path / "root", ImageConfig(), follow_links=True).num_bytes == 1


def test_the_code_s_hash_leaves_out_what_shapes_no_table() -> None:
    from viewgen.build import plan

    assert code_version() == code_version()
    folder = Path(plan.__file__).parents[1]
    for name in plan._NO_EFFECT:
        assert (folder / name).exists(), f"{name} is named as without effect and is not there"


@pytest.mark.fault(34)
def test_files_that_could_not_be_read_take_no_room_in_a_part() -> None:
    assert parts(CONFIG, 10, 0, 0, 10, 10) == [["0.png", "1.png", "2.png", "3.png"], ["4.png"]]
    assert parts(CONFIG, 0, 0, 0) == [["0.png", "1.png", "2.png"]]


@pytest.mark.fault(15)
def test_the_libraries_of_a_fingerprint_are_those_that_the_recipe_uses() -> None:
    def used(method: str, **more: object) -> set[str]:
        config = replace(CONFIG, regions=RegionsConfig(method=method), **more)  # type: ignore[arg-type]
        return {*libraries_used(config)} - {"duckdb", "numpy", "pillow", "polars"}

    assert used("annotated") == set()
    assert used("retrieval") == {"torch", "open_clip_torch", "timm"}
    dino = DetectorConfig(library="groundingdino", model="embedded:drawn-dino")
    assert used("detector", detector=dino) == {"torch", "torchvision", "transformers", "groundingdino-py"}
    assert used("annotated", phrases=PhrasesConfig(method="spacy", model="en_core_web_sm")) == {
        "spacy",
        "en_core_web_sm",
    }
    swaps = ViewsConfig(negative=("swapped",), donors="nearest")
    assert used("annotated", views=swaps) == {"torch", "open_clip_torch", "timm"}


@pytest.mark.fault(15)
def test_another_zlib_library_or_device_is_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    retrieves = replace(CONFIG, regions=RegionsConfig(method="retrieval"))

    def made_by(config: BuildConfig) -> dict[str, str]:
        return dict(plan_build(config, {}, questions(1), files(10), {}).manifest.made_by)

    here = made_by(retrieves)
    assert here["zlib"] == zlib.ZLIB_RUNTIME_VERSION
    assert here["device auto"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert "device auto" not in made_by(CONFIG)
    assert "device auto" not in made_by(replace(retrieves, retrieval=RetrievalConfig(device="cpu")))
    there = not torch.cuda.is_available()
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert made_by(retrieves) == here | {"device auto": "cuda" if there else "cpu"}
