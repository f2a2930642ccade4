"""Read evaluation sets as signatures: from a recipe, a view set, a folder of images, or a file of stored hashes,
which can be shared without the images. Write such a file. Leaves out: computing a signature (signatures.py),
comparing (matching.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from viewgen.decode import UnusableImageError, decode_image
from viewgen.decontaminate.signatures import CUTS, FORM, WORDS, signature
from viewgen.errors import RecipeError
from viewgen.files import write_whole
from viewgen.progress import Progress, Stream
from viewgen.settings import read_toml, settings_from
from viewgen.source.images import ImageConfig, read_image_file
from viewgen.source.pictures import locate
from viewgen.source.recipe import SourceConfig, read_questions, root_of
from viewgen.viewset.manifest import MANIFEST, fingerprint
from viewgen.viewset.shards import ViewSet

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".ppm",
        ".heic",
        ".heif",
    }
)
"""Ends of the names of files in a folder that are read as images."""
COLUMNS = {"image": pl.String(), "sha256": pl.String(), "signature": pl.Binary(), "form": pl.String()}
"""Of a file of stored hashes. `form` names the way that signatures were computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationImage:
    """An image of an evaluation set, without its pixels."""

    name: str
    """Path of the image as its set gives it."""
    sha256: str
    """Of its file, in hex."""
    signature: bytes
    """Empty where it could not be decoded or has too little detail: only an equal file is found then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """An evaluation set as its hashes."""

    name: str
    images: tuple[EvaluationImage, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of all that a build takes from the set."""
        return fingerprint([[image.name, image.sha256, image.signature.hex()] for image in self.images])

    @property
    def num_exact_only(self) -> int:
        """Images of which only an equal file is found."""
        return sum(not image.signature for image in self.images)


def read_set(path: Path, name: str, num_threads: int = 1, progress_out: Stream | None = None) -> EvaluationSet:
    """Read an evaluation set: a recipe (.toml), stored hashes (.parquet), a view set, or a folder of images. `name`
    stands in messages. Raises RecipeError for what is none of these, holds no image, or lacks one that it names.

    read_set(Path("benchmark-images"), "benchmark-images").images[0].sha256"""
    if path.suffix == ".parquet" and path.is_file():
        return EvaluationSet(name=name, images=read_hashes(path))
    if path.suffix == ".toml" and path.is_file():
        names, read = _of_recipe(path)
    elif (path / MANIFEST).is_file():
        names, read = _of_view_set(path)
    elif path.is_dir():
        names, read = _of_folder(path)
    else:
        expected = "a recipe (.toml), stored hashes (.parquet), a view set, or a folder of images"
        raise RecipeError(f"{path}: is no evaluation set; it must be {expected}. Correct the path.")
    if not names:
        raise RecipeError(f"{path}: holds no image. Give the set whose images must not be trained on.")
    with (
        Progress("hash", len(names), f"images of {name}", progress_out) as progress,
        ThreadPoolExecutor(num_threads) as pool,
    ):
        images = tuple(progress.each(pool.map(lambda image: _hashed(path, image, read), names)))
    return EvaluationSet(name=name, images=images)


def write_hashes(images: Iterable[EvaluationImage], out: Path) -> None:
    """Store the hashes of an evaluation set, which show nothing of its images, as a Parquet file; whole or not at all."""
    rows = [(image.name, image.sha256, image.signature, FORM) for image in images]
    with write_whole(out) as partial:
        pl.DataFrame(rows, schema=COLUMNS, orient="row").write_parquet(partial)


def read_hashes(path: Path) -> tuple[EvaluationImage, ...]:
    """Read stored hashes. Raises RecipeError for a file that `viewgen hash` did not write, or another version of it."""
    again = "Make it with `viewgen hash SOURCE --out FILE.parquet`."
    try:
        rows = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = " ".join(str(error).split())
        raise RecipeError(f"{path}: cannot be read as stored hashes ({said}). {again}") from None
    if dict(rows.schema) != COLUMNS or any(rows[name].null_count() for name in COLUMNS):
        raise RecipeError(f"{path}: is no file of stored hashes: it has {', '.join(rows.columns)}. {again}")
    forms = sorted(rows["form"].unique())
    sizes = {*rows["signature"].bin.size().to_list()}
    if forms != [FORM] or sizes - {0, 8 * WORDS * len(CUTS)}:
        found = f"hashes of the form {', '.join(forms) or 'none'}"
        raise RecipeError(f"{path}: holds {found}, this viewgen compares {FORM}. {again}")
    columns = (rows[name].to_list() for name in ("image", "sha256", "signature"))
    return tuple(
        EvaluationImage(name=name, sha256=sha256, signature=stored)
        for name, sha256, stored in zip(*columns, strict=True)
    )


Read = Callable[[str], bytes]
"""Name of an image -> bytes of its file."""


def _of_recipe(path: Path) -> tuple[Sequence[str], Read]:
    tables = read_toml(path)
    source = settings_from(tables.get("source", {}), SourceConfig, f"{path}: source")
    images = settings_from(tables.get("images", {}), ImageConfig, f"{path}: images")
    root = root_of(source, path)
    names = dict.fromkeys(question.image_path for question in read_questions(source, path))

    def read(name: str) -> bytes:
        return read_image_file(locate(name, root, images, source.follow_links, source.fetch)[1], images)

    return [*names], read


def _of_view_set(path: Path) -> tuple[Sequence[str], Read]:
    views = ViewSet.open(path)
    ids = {
        name: key
        for table in views.table_paths("images")
        for name, key in pl.read_parquet(table, columns=["source_path", "image_id"]).iter_rows()
    }
    return [*ids], lambda name: views.image_bytes([ids[name]])[ids[name]]


def _of_folder(path: Path) -> tuple[Sequence[str], Read]:
    files = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    names = sorted(file.relative_to(path).as_posix() for file in files)
    return names, lambda name: read_image_file(path / name, ImageConfig())


def _hashed(path: Path, name: str, read: Read) -> EvaluationImage:
    """Hash one image. An image that is not there would be trained on unseen, and is refused."""
    try:
        data = read(name)
    except UnusableImageError as error:
        what = f"image {name!r} of the evaluation set cannot be hashed: {error.what}"
        raise RecipeError(f"{path}: {what}. Bring it back, or leave its rows out.") from None
    try:
        found = signature(decode_image(data))
    except UnusableImageError:
        found = b""
    return EvaluationImage(name=name, sha256=hashlib.sha256(data).hexdigest(), signature=found)
