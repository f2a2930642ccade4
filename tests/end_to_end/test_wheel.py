"""A wheel, installed outside of the checkout, builds views of a user's own pictures and trains on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
RECIPE = """
[source]
root = "data"
query = "SELECT question_id, image_path, question, answer, split, boxes FROM read_json('questions.jsonl')"
[regions]
method = "annotated"
[evidence]
pad_ratio = 1.0
min_side_px = 48
[views]
patch_px = 16
"""
RUN = """
[data]
view_set = "views"
images_per_step = 2
questions_per_image = 1
[model]
student = "embedded:drawn-vlm"
[rollout]
num_siblings = 2
max_new_tokens = 4
[loop]
steps = 1
[eval]
scorer = "number"
max_new_tokens = 4
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of console commands of an environment that has the wheel; the libraries come from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if not name.startswith("vzero_evidence-")} == {"viewgen", "trainer"}
    venv.create(folder / "env", with_pip=True)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    pip = [
        str(folder / "env" / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    # Everything but this project itself, whose editable install would otherwise be found as well.
    links = folder / "libraries"
    links.mkdir()
    for path in Path(here).iterdir():
        if "editable" not in path.name and not path.name.startswith("vzero_evidence") and path.suffix != ".pth":
            (links / path.name).symlink_to(path)
    (site / "libraries.pth").write_text(str(links))
    return folder / "env" / "bin"


def own_pictures(folder: Path) -> None:
    """Four pictures with a small red square each, and questions about it."""
    (folder / "data").mkdir()
    lines = []
    for number in range(4):
        image = Image.new("RGB", (160, 160), (120, 130, 110))
        corner = 16 + 24 * number
        ImageDraw.Draw(image).rectangle((corner, 40, corner + 19, 59), fill=(214, 40, 40))
        image.save(folder / "data" / f"{number}.png")
        box = {"phrase": "the red square", "x0": corner, "y0": 40, "x1": corner + 20, "y1": 60}
        line = {
            "question_id": f"q{number}",
            "image_path": f"{number}.png",
            "question": "What number is on the red square?",
        }
        lines.append(json.dumps({**line, "answer": "47", "split": "test" if number == 3 else "train", "boxes": [box]}))
    (folder / "data" / "questions.jsonl").write_text("\n".join(lines))
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "run.toml").write_text(RUN)


def test_both_commands_work_on_a_users_own_files(installed: Path, tmp_path: Path) -> None:
    own_pictures(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}

    def said(*command: str) -> str:
        program = [str(installed / command[0]), *command[1:]]
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "4 questions came in = 4 kept + 0 rejected" in said("viewgen", "build", "recipe.toml", "--out", "views")
    assert "views" in said("viewgen", "inspect", "views")
    assert "1 held-out questions" in said("trainer", "run", "run.toml", "--out", "run")
    assert (tmp_path / "run" / "checkpoints" / "step-000001" / "model.safetensors").exists()
    assert "report.html" in said("trainer", "report", "run")
