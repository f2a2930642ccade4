"""Paths of images as people write them: found below the root, or refused with a word that says what they are."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from viewgen.decode import UnusableImageError
from viewgen.source.paths import image_file

pytestmark = pytest.mark.fault(27)

CAFE = "café.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with pictures of odd names, reached by a link as well (`other`)."""
    root = tmp_path / "photos"
    for name in (
        "a b.png",
        "sub/c.png",
        "100%25.png",
        "per%20cent.png",
        unicodedata.normalize("NFD", CAFE),
        "back\\slash.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (tmp_path / "other").symlink_to(root)
    (tmp_path / "outside.png").write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a b.png", "a b.png"),
        ("a%20b.png", "a b.png"),
        (" a b.png ", "a b.png"),
        ("a b.png\r", "a b.png"),
        ("sub\\c.png", "sub/c.png"),
        ("./sub/c.png", "./sub/c.png"),
        ("100%25.png", "100%25.png"),
        ("per%20cent.png", "per%20cent.png"),
        ("back\\slash.png", "back\\slash.png"),
        (unicodedata.normalize("NFC", CAFE), unicodedata.normalize("NFD", CAFE)),
        ("caf%C3%A9.png", unicodedata.normalize("NFD", CAFE)),
        ("file://ROOT/a%20b.png", "a b.png"),
        ("file://localhostROOT/sub/c.png", "sub/c.png"),
        ("FILE://ROOT/sub/c.png", "sub/c.png"),
        ("ROOT/sub/c.png", "sub/c.png"),
        ("none.png", "none.png"),
        ("x" * 5_000, "x" * 5_000),
        ("nul\0.png", "nul\0.png"),
    ],
)
def test_a_spelling_of_a_path_finds_its_file(given: str, found: str, root: Path) -> None:
    assert image_file(given.replace("ROOT", str(root)), root) == found


def test_a_root_that_is_a_link_is_the_same_folder(root: Path, tmp_path: Path) -> None:
    assert image_file(str(root / "sub" / "c.png"), tmp_path / "other") == "sub/c.png"
    assert image_file("sub/c.png", tmp_path / "other") == "sub/c.png"


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        (
            "https://x.org/a.png",
            "remote_image",
            "is an address (https:). Set source.fetch = true to fetch it",
        ),
        ("s3://bucket/a.png", "remote_image", "is an address (s3:)"),
        ("data:image/png;base64,iVBO", "remote_image", "is an address (data:)"),
        ("file://server/share/a.png", "remote_image", "is the file:// URI of another machine"),
        ("file:///etc/passwd", "outside_root", "leaves the recipe's root"),
        ("/etc/passwd", "outside_root", "leaves the recipe's root"),
        ("../outside.png", "outside_root", "leaves the recipe's root"),
        ("..\\outside.png", "outside_root", "leaves the recipe's root"),
        ("ROOT/../outside.png", "outside_root", "leaves the recipe's root"),
        ("file://ROOT/%2e%2e/outside.png", "outside_root", "leaves the recipe's root"),
        ("C:\\photos\\a.png", "outside_root", "is a path of Windows with a drive"),
    ],
)
def test_what_is_no_path_below_the_root_is_called_what_it_is(given: str, reason: str, said: str, root: Path) -> None:
    with pytest.raises(UnusableImageError) as refused:
        image_file(given.replace("ROOT", str(root)), root)
    assert refused.value.reason == reason
    assert said in refused.value.what


def test_percent_signs_never_lead_out_of_the_root(root: Path) -> None:
    for given in ("%2e%2e/outside.png", "sub/%2E%2E/%2e%2e/outside.png", "%2Fetc%2Fpasswd"):
        assert image_file(given, root) == given  # no such file


@pytest.mark.fault(18)
def test_a_link_out_of_the_root_is_followed_only_when_the_recipe_says_so(root: Path, tmp_path: Path) -> None:
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "within.png").symlink_to("sub/c.png")
    (root / "folder").symlink_to(tmp_path)
    assert image_file("within.png", root) == "within.png"
    for name in ("link.png", "folder/outside.png"):
        with pytest.raises(
            UnusableImageError, match=r"leaves the recipe's root; source.follow_links = true"
        ) as refused:
            image_file(name, root)
        assert refused.value.reason == "link_outside_root"
        assert image_file(name, root, follow_links=True) == name
