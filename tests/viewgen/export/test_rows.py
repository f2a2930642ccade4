"""Rows to hand on: pictures upright and RGB, boxes in their pixels, and what is left out with its reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.decode import decode_image
from viewgen.errors import QueryError, ShardError
from viewgen.export.rows import Choice, ExportRow, Lost, export_rows, upright
from viewgen.viewset.shards import ViewSet


def rows_of(views: ViewSet, **choice: object) -> tuple[dict[str, ExportRow], Lost]:
    lost = Lost()
    rows = export_rows(views, Choice(**choice), lost)  # type: ignore[arg-type]
    return {row.question_id: row for row in rows}, lost


def test_a_row_holds_a_question_with_its_pictures_and_boxes(views: ViewSet) -> None:
    found, lost = rows_of(views)
    assert sorted(found) == ["a", "b", "c", "f"]
    assert lost.reasons == {"its question holds '<image>', which loaders take for a picture": ["d"]}
    assert [row.index for row in found.values()] == [0, 1, 2, 3]
    row = found["a"]
    assert (row.question, row.answer, row.options, row.split) == (
        "What colour is the cup?",
        "A",
        ("red", "blue"),
        "train",
    )
    assert row.boxes == (("the cup", Box(20, 30, 60, 70)),)
    assert row.evidence == (Box(20, 30, 60, 70),)
    assert [(picture.width_px, picture.height_px) for picture in row.positives] == [(40, 40)]
    assert (len(found["c"].positives), len(found["c"].negatives)) == (2, 2)
    assert dict(found["c"].boxes) == {"the cup": Box(20, 30, 60, 70), "the dog": Box(100, 100, 140, 140)}


def test_pictures_leave_upright_and_in_rgb(views: ViewSet) -> None:
    found, _ = rows_of(views)
    turned, grey, plain = (found[name].image for name in "abc")
    assert (turned.width_px, turned.height_px, turned.end) == (200, 300, "png")
    for name, picture in (("a", turned), ("b", grey), ("c", plain)):
        with Image.open(io.BytesIO(picture.data)) as opened:  # as loaders do, which look at no EXIF
            assert opened.mode == "RGB"
            assert opened.size == (picture.width_px, picture.height_px)
            pixels = np.asarray(opened)
        (stored,) = views.image_bytes([found[name].image_id]).values()
        assert (pixels == np.asarray(decode_image(stored))).all()
    (stored,) = views.image_bytes([found["c"].image_id]).values()
    assert plain.data == stored  # what needs no turning leaves byte for byte
    evidence = found["a"].evidence[0]
    cut = Image.open(io.BytesIO(turned.data)).crop(evidence.as_tuple())
    assert cut.tobytes() == Image.open(io.BytesIO(found["a"].positives[0].data)).tobytes()


@pytest.mark.parametrize(
    ("mode", "form", "end"),
    [
        *(("RGB", "JPEG", "jpg"), ("RGB", "PNG", "png"), ("RGB", "WEBP", "webp"), ("RGB", "BMP", "png")),
        *(("RGBA", "PNG", "png"), ("P", "GIF", "png"), ("CMYK", "JPEG", "png"), ("I;16", "PNG", "png")),
    ],
)
def test_every_picture_becomes_one_that_every_loader_opens(mode: str, form: str, end: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (6, 4)).save(file, format=form)
    picture = upright(file.getvalue())
    assert (picture.end, picture.width_px, picture.height_px) == (end, 6, 4)
    with Image.open(io.BytesIO(picture.data)) as opened:
        assert opened.mode == "RGB"
    assert (picture.data == file.getvalue()) == (mode == "RGB" and form != "BMP")


def test_choices_that_are_not_there_are_one_line(views: ViewSet) -> None:
    assert sorted(rows_of(views, split="test")[0]) == ["t"]
    assert sorted(rows_of(views, where="answer IS NULL")[0]) == ["f"]
    with pytest.raises(ShardError, match=r"no question of split 'train' fulfils 'false'\. Change it\.$"):
        rows_of(views, where="false")
    with pytest.raises(ShardError, match="holds no kept question of split 'val'"):
        rows_of(views, split="val")
    with pytest.raises(ShardError, match="have no view of kind 'swapped'"):
        rows_of(views, negative="swapped")
    with pytest.raises(QueryError, match="where: "):
        rows_of(views, where="colour")
