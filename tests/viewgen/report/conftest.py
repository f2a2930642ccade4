"""What tests of the page work with: a view set with made-up readings of models and with hostile words, and a headless
Chromium, driven over pipes by its own protocol: no port, no further package.
Leaves out: what a page should do (test_report_page.py)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import pytest

from viewgen.viewset.schema import TABLES

SCRIPT = "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 2'>\"'"
CHROMIUM = shutil.which("chromium")
WAIT_S = 60.0


class Browser:
    """One page at a time; what it says on its console, and every error, is kept in `complaints`."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 800) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe"
        command = f'exec "{CHROMIUM}" {flags} --user-data-dir="{folder}/profile" about:blank 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self._session = ""
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.downloads = folder / "downloads"
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.look(width=width, height=height)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(WAIT_S)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._write)
            os.close(self._read)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def open(self, page: Path) -> None:
        """Load a page from disk and wait until it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._note(self._next())

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the window, in pixels, and the colours that the user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, as if typed."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """Click into the middle of what the selector finds first."""
        find = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
        middle = "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2];"
        x, y = self.run(f"(() => {{ {find} {middle} }})()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def downloaded(self, name: str) -> bytes:
        """Return the bytes of a file that the page gives, once it is there."""
        end_s = time.monotonic() + WAIT_S
        while not (path := self.downloads / name).is_file() and time.monotonic() < end_s:
            self.run("1")
            time.sleep(0.05)
        return path.read_bytes()

    def photograph(self, path: Path, whole: bool = False) -> None:
        """Return a PNG of what is seen, or of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._read, 1 << 20)
            assert more, "the browser ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method", ""), event.get("params", {})
        self._events.append(event)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        if method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])


def rewrite(view_set: Path, table: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Put change(row) in place of every row of a table, and what the manifest says of its files in order."""
    manifest = json.loads((view_set / "manifest.json").read_text())
    for part in manifest["parts"]:
        path = view_set / table / f"part-{part['part']:05d}.parquet"
        rows = [{**row, **change(row)} for row in pl.read_parquet(path).iter_rows(named=True)]
        pl.DataFrame(rows, schema=TABLES[table].polars, orient="row").write_parquet(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        part["files"][table] = {"rows": len(rows), "bytes": path.stat().st_size, "sha256": sha256}
    (view_set / "manifest.json").write_text(json.dumps(manifest))


def audited(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a view as if models had read it: of question n the margin is n for masks and 5 for others; masks of 2
    leak."""
    number = int(row["question_id"].split("-")[0])
    if row["role"] == "positive":
        return {"detector_score": 0.9, "phrase_similarity": 20.0, "similarity_margin": 0.0}
    margin = float(number) if row["kind"] == "masked" else 5.0
    flags = ["leaks_evidence"] if row["kind"] == "masked" and number == 2 else []
    return {
        "detector_score": 0.1 + 0.1 * number,
        "phrase_similarity": 20.0 - margin,
        "similarity_margin": margin,
        "flags": flags,
        **({"made_as": "off_region", "fallback": "no_instance"} if row["kind"] == "shuffled_patches" else {}),
    }


def lacking(row: Mapping[str, Any]) -> Mapping[str, Any]:
    missing = {"kind": "same_class", "reason": "no_instance", "message": "one sign was found"}
    return {"missing_views": [missing] if row["question_id"].startswith("1-") else []}


@pytest.fixture
def rewritten(read_by_models: Path, tmp_path: Path) -> Callable[[str, Callable[..., Mapping[str, Any]]], Path]:
    """rewritten(table, change) -> a copy of read_by_models with change(row) in every row of a table."""

    def changed(table: str, change: Callable[..., Mapping[str, Any]]) -> Path:
        copy = Path(shutil.copytree(read_by_models, tmp_path / "rewritten"))
        rewrite(copy, table, change)
        return copy

    return changed


@pytest.fixture(scope="session")
def read_by_models(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built view set, five kept and five rejected questions, with made-up readings: for reading only."""
    copy = Path(shutil.copytree(built, tmp_path_factory.mktemp("read") / "signs"))
    rewrite(copy, "views", audited)
    rewrite(copy, "questions", lacking)
    return copy


@pytest.fixture(scope="session")
def hostile(read_by_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with a script tag in everything that is text."""
    copy = Path(shutil.copytree(read_by_models, tmp_path_factory.mktemp("hostile") / f"<b>{SCRIPT[:8]}"))
    texts = ("split", "kind", "question", "answer", "reason", "stage", "message", "source_path", "image_path")
    for table in ("questions", "rejects", "images"):
        names = [name for name in texts if name in TABLES[table].columns]
        rewrite(copy, table, lambda row, names=names: dict.fromkeys(names, SCRIPT))  # type: ignore[misc]
    rewrite(copy, "questions", lambda row: {"missing_views": [{"kind": SCRIPT, "reason": SCRIPT, "message": SCRIPT}]})
    rewrite(
        copy,
        "questions",
        lambda row: {
            "phrases": [{"text": SCRIPT[:8], "start": 0, "end": 8, "rule": SCRIPT}],
            "regions": [{**region, "phrase": SCRIPT, "source": SCRIPT} for region in row["regions"]],
        },
    )
    rewrite(copy, "views", lambda row: {"flags": [SCRIPT], "kind": SCRIPT, "fallback": SCRIPT, "params": SCRIPT})
    return copy


@pytest.fixture
def turned(read_by_models: Path, tmp_path: Path) -> Path:
    """Return the same with a control of the writing direction in every question."""
    copy = Path(shutil.copytree(read_by_models, tmp_path / "turned"))
    rewrite(copy, "questions", lambda row: {"question": "What is on \u202eretsop eht?", "phrases": []})
    return copy


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Return a browser that complains of nothing until the end of the test."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with Browser(tmp_path) as opened:
        yield opened
    assert not opened.complaints
