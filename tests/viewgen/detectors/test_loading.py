"""A detector's files: found by path or name, hashed, and refused in one line."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from viewgen.detectors.loading import SMALL, fastest_batch, hash_of, located
from viewgen.errors import ModelError, brief


def test_a_path_is_found_with_and_without_its_prefix(tmp_path: Path) -> None:
    assert located(str(tmp_path), ()) == located(f"local-dir:{tmp_path}", ()) == tmp_path


def test_a_shipped_model_is_found_by_name_and_an_unknown_one_names_those_there_are() -> None:
    assert (located("embedded:drawn-dino", ()) / "config.json").is_file()
    with pytest.raises(ModelError, match=r"viewgen ships no such detector\. Expected one of: embedded:drawn-dino"):
        located("embedded:drawn-dina", ())


def test_a_name_with_one_slash_is_told_how_to_ask_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no such file or folder.*hf-hub:owner/name\.$"):
        located("owner/name", ())
    with pytest.raises(ModelError, match=r"Give the path of the model\.$"):
        located(str(tmp_path / "gone.pth"), ())


def test_one_file_has_its_own_hash_and_several_that_of_their_hashes_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    one = {name: sha256(name.encode()).hexdigest() for name in "ab"}
    assert hash_of([tmp_path / "a"]) == one["a"]
    both = sha256((one["a"] + one["b"]).encode()).hexdigest()
    assert hash_of([tmp_path / "b", tmp_path / "a"]) == both


def test_an_error_becomes_one_line() -> None:
    assert brief(ValueError("two\n  lines.")) == "two lines"
    assert brief(KeyError()) == "KeyError"
    assert len(brief(ValueError("x" * 500))) == 200


def test_on_a_cpu_a_small_model_reads_several_pictures_at_once_and_a_large_one_one_by_one() -> None:
    cpu = torch.device("cpu")
    small, large = (torch.nn.Linear(num // 1000, 1000, bias=False, device="meta") for num in (SMALL, SMALL + 1000))
    assert (fastest_batch(small, cpu), fastest_batch(large, cpu)) == (8, 1)
