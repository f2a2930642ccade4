"""The frame of HTML pages: what goes in is escaped, and a page that forgets a block is no page."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import TemplateRuntimeError, UndefinedError

from viewgen.pages import page_template, without_bidi

PAGE = """{% extends "page_frame.html" %}
{% block script_source %}'none'{% endblock %}
{% block title %}{{ title }}{% endblock %}
{% block colours %}{% endblock %}
{% block dark_colours %}{% endblock %}
{% block style %}{% endblock %}
{% block body %}<body>{{ title | shout }}</body>{% endblock %}
"""


def page(tmp_path: Path, text: str = PAGE) -> Path:
    (tmp_path / "page.html").write_text(text)
    return tmp_path / "page.html"


def test_what_goes_in_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    made = page_template(page(tmp_path), {"shout": str.upper}).render(title="<script>x</script>")
    assert "<body>&lt;SCRIPT&gt;X&lt;/SCRIPT&gt;</body>" in made
    assert "default-src 'none'" in made
    assert made.startswith("<!doctype html>")


def test_a_name_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        page_template(page(tmp_path), {"shout": str.upper}).render()


def test_a_page_without_a_required_block_is_an_error(tmp_path: Path) -> None:
    text = PAGE.replace("{% block style %}{% endblock %}\n", "")
    with pytest.raises(TemplateRuntimeError, match="Required block 'style' not found"):
        page_template(page(tmp_path, text), {"shout": str.upper}).render(title="a")


@pytest.mark.fault(31)
def test_controls_of_the_writing_direction_are_spelled_out(tmp_path: Path) -> None:
    made = page_template(page(tmp_path), {"shout": str.upper}).render(title="left \u202eright\u2066 \u05d0")
    assert "<body>LEFT &lt;U+202E&gt;RIGHT&lt;U+2066&gt; \u05d0</body>" in made
    assert not {*"\u202e\u2066"} & {*made}
    assert without_bidi("plain") == "plain"
