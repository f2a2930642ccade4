"""Phrases from a language model behind an endpoint: a real server on this machine answers, refuses, and is slow."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from viewgen.errors import ModelError, SettingsError
from viewgen.phrases import PhraseFinder, PhrasesConfig, phrase_finder
from viewgen.phrases.answers import phrases_in
from viewgen.settings import settings_from

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@dataclass
class Endpoint:
    """What the server does with a question, and what it has seen."""

    url: str = ""
    answer: Callable[[str], tuple[int, str]] = lambda question: (200, completion("[]"))
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    num_now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def completion(content: str | None) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


class Handler(BaseHTTPRequestHandler):
    endpoint: ClassVar[Endpoint]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"].rsplit("Question: ", 1)[1].strip()
        with self.endpoint.lock:
            self.endpoint.seen.append(body)
            self.endpoint.keys.append(self.headers.get("Authorization"))
            self.endpoint.paths.append(self.path)
            self.endpoint.num_now += 1
            self.endpoint.most_at_once = max(self.endpoint.most_at_once, self.endpoint.num_now)
        status, text = self.endpoint.answer(question)
        with self.endpoint.lock:
            self.endpoint.num_now -= 1
        self.send_response(status)
        for name, value in self.endpoint.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Print nothing: tests are silent."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    handler = type("ServedHandler", (Handler,), {"endpoint": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def config(endpoint: Endpoint, **changes: Any) -> PhrasesConfig:
    quick = PhrasesConfig(method="chat", model="small", base_url=endpoint.url, timeout_s=5.0, backoff_s=0.01)
    return replace(quick, **changes)


def texts(finder: PhraseFinder, *questions: str) -> list[list[str]]:
    return [[phrase.text for phrase in found] for found in finder.find(questions)]


def test_what_the_model_names_is_placed_in_the_question(endpoint: Endpoint) -> None:
    endpoint.answer = lambda question: (200, completion('["the clock tower", "THE  Red\\nbus"]'))
    question = "Is the red bus left of the clock tower?"
    ((bus, tower),) = phrase_finder(config(endpoint)).find([question])
    assert (bus.text, bus.start, bus.end, bus.rule) == ("the red bus", 3, 14, "chat")
    assert (tower.text, question[tower.start : tower.end]) == ("the clock tower", "the clock tower")


def test_the_request_is_what_such_endpoints_expect(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret-1\n")
    phrase_finder(config(endpoint, key_env="SOME_KEY", max_new_tokens=17)).find(["Where is the cat?"])
    (body,) = endpoint.seen
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("small", 0, 17)
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert "Question: Where is the cat?" in body["messages"][0]["content"]
    assert (endpoint.keys, endpoint.paths) == (["Bearer secret-1"], ["/v1/chat/completions"])


def test_the_path_of_the_endpoint_is_kept(endpoint: Endpoint) -> None:
    elsewhere = endpoint.url.replace("/v1", "/api/v2/")
    phrase_finder(config(endpoint, base_url=elsewhere)).find(["Where is the cat?"])
    assert endpoint.paths == ["/api/v2/chat/completions"]


def test_without_a_key_none_is_sent(endpoint: Endpoint) -> None:
    phrase_finder(config(endpoint)).find(["Where is the cat?"])
    assert endpoint.keys == [None]


def test_answers_come_back_in_the_order_of_the_questions_which_are_asked_together_and_once(endpoint: Endpoint) -> None:
    def answer(question: str) -> tuple[int, str]:
        time.sleep(0.2 if question == "Where is thing 0?" else 0.05)
        return 200, completion(json.dumps([question.removeprefix("Where is ").rstrip("?")]))

    endpoint.answer = answer
    questions = [f"Where is thing {i % 6}?" for i in range(12)]
    found = texts(phrase_finder(config(endpoint, concurrency=3)), *questions)
    assert found == [[f"thing {i % 6}"] for i in range(12)]
    assert len(endpoint.seen) == 6
    assert 2 <= endpoint.most_at_once <= 3


def test_an_empty_question_is_not_sent(endpoint: Endpoint) -> None:
    assert phrase_finder(config(endpoint)).find(["", " \n"]) == [(), ()]
    assert endpoint.seen == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint, status: int) -> None:
    left = [status, status]
    endpoint.answer = lambda question: (left.pop(), "busy") if left else (200, completion('["the cat"]'))
    assert texts(phrase_finder(config(endpoint)), "Where is the cat?") == [["the cat"]]
    assert len(endpoint.seen) == 3


def test_waits_double_and_what_the_endpoint_says_is_heeded(endpoint: Endpoint) -> None:
    endpoint.answer = lambda question: (503, "busy")
    started = time.monotonic()
    with pytest.raises(ModelError):
        phrase_finder(config(endpoint, max_attempts=4, backoff_s=0.05)).find(["Where is the cat?"])
    assert 0.35 <= time.monotonic() - started < 2  # 0.05 + 0.1 + 0.2
    endpoint.headers = {"Retry-After": "0"}
    started = time.monotonic()
    with pytest.raises(ModelError):
        phrase_finder(config(endpoint, max_attempts=3, backoff_s=30.0)).find(["Where is the cat?"])
    assert time.monotonic() - started < 5


def test_an_endpoint_that_stays_busy_is_given_up_with_what_it_said(endpoint: Endpoint) -> None:
    endpoint.answer = lambda question: (429, "too many\nrequests")
    with pytest.raises(ModelError) as refused:
        phrase_finder(config(endpoint, max_attempts=2)).find(["Where is the cat?"])
    assert str(refused.value) == (
        f"{endpoint.url}/chat/completions: status 429 after 2 attempts: 'too many requests'. "
        "Raise max_attempts or backoff_s, or lower concurrency."
    )
    assert len(endpoint.seen) == 2


def test_a_refused_key_is_told_and_never_shown(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret-1")
    endpoint.answer = lambda question: (401, "secret-1 is wrong")
    finder = phrase_finder(config(endpoint, key_env="SOME_KEY"))
    with pytest.raises(ModelError, match=r"status 401: '\*\*\* is wrong'\. Check the key in SOME_KEY\.$"):
        finder.find(["Where is the cat?"])
    assert len(endpoint.seen) == 1
    assert "secret-1" not in repr(finder)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (404, "no such model", "status 404: 'no such model'. Check base_url and model."),
        (302, "", "status 302: ''. Check base_url and model."),
        (
            200,
            "<html>",
            "answered '<html>': expected the OpenAI format, choices[0].message.content. Is base_url right?",
        ),
        (200, '{"choices": []}', "answered '{\"choices\": []}': expected the OpenAI format"),
    ],
)
def test_what_is_no_such_endpoint_is_refused_at_once(endpoint: Endpoint, status: int, text: str, said: str) -> None:
    endpoint.answer = lambda question: (status, text)
    endpoint.headers = {"Location": "/v1/elsewhere"}
    with pytest.raises(ModelError) as refused:
        phrase_finder(config(endpoint)).find(["Where is the cat?"])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(endpoint.seen) == 1


def test_an_endpoint_that_is_not_there_or_silent_is_told(endpoint: Endpoint) -> None:
    nowhere = config(endpoint, base_url="http://127.0.0.1:9/v1", max_attempts=2)
    with pytest.raises(ModelError, match=r"no answer in 2 attempts \(.*refused.*\)\. Is base_url right\?$"):
        phrase_finder(nowhere).find(["Where is the cat?"])

    def sleep(question: str) -> tuple[int, str]:
        time.sleep(0.3)
        return 200, completion("[]")

    endpoint.answer = sleep
    with pytest.raises(ModelError, match=r"no answer in 1 attempts \(timed out\)"):
        phrase_finder(config(endpoint, timeout_s=0.1, max_attempts=1)).find(["Where is the cat?"])


def test_an_answer_without_content_names_nothing(endpoint: Endpoint) -> None:
    endpoint.answer = lambda question: (200, completion(None))
    assert texts(phrase_finder(config(endpoint)), "Where is the cat?") == [[]]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('["the cat"]', ["the cat"]),
        ('```json\n["the cat"]\n```', ["the cat"]),
        ('<think>["the dog"] or so</think>["the cat"]', ["the cat"]),  # the last list counts
        ('["the dog"]', []),  # not in the question
        ('["cat", "the ca"]', ["cat"]),  # whole words
        ('["the mat", "the cat"]', ["the cat", "the mat"]),  # as they stand
        ('["the cat", "THE CAT", 7, null, {}]', ["the cat"]),
        ('["it", "the", ""]', []),
        ('["the image", "red"]', []),  # hidden: the picture itself, and an option
        ('["Where", "is", "the cat", "on"]', ["Where", "is"]),  # two at most here
        ("the cat", []),
        ("[" * 20_000, []),
        ("[" + '{"a":' * 20_000 + "1" + "}" * 20_000 + "]", []),
        ("", []),
    ],
)
def test_only_what_the_question_holds_counts(answer: str, found: list[str]) -> None:
    question = "Where is the cat on the mat in the image?\n(A) red (B) blue"
    phrases = phrases_in(answer, question, 2)
    assert [phrase.text for phrase in phrases] == found
    assert all(question[phrase.start : phrase.end] == phrase.text for phrase in phrases)


def test_the_key_is_read_when_the_finder_is_made(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"^phrases\.key_env is 'SOME_KEY': no such variable is set\. Set it"):
        phrase_finder(config(endpoint, key_env="SOME_KEY"))
    monkeypatch.setenv("SOME_KEY", "two\nlines")
    with pytest.raises(SettingsError, match="the key in SOME_KEY holds letters that no header can") as refused:
        phrase_finder(config(endpoint, key_env="SOME_KEY"))
    assert "two" not in str(refused.value)


def test_the_model_is_told_without_a_hash(endpoint: Endpoint) -> None:
    assert dict(phrase_finder(config(endpoint)).models) == {f"small at {endpoint.url}": "unknown"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "chat"}, "model is ''; it must be a name or a path for method 'chat'. Give one."),
        ({"method": "spacy"}, "model is ''; it must be a name or a path for method 'spacy'. Give one."),
        (
            {"model": "m"},
            'model is \'m\'; it must be empty for method "rules". Set phrases.method to "spacy" or "chat".',
        ),
        (
            {"method": "chat", "model": "m", "key_env": "K"},
            "key_env is 'K'; it must be empty without a base_url. Give phrases.base_url too.",
        ),
        (
            {"method": "spacy", "model": "m", "base_url": "http://a/v1"},
            "base_url is 'http://a/v1'; it must be empty for method 'spacy'. ",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "127.0.0.1:8000"},
            "base_url is '127.0.0.1:8000'; it must be an address such as http://127.0.0.1:8000/v1. Correct it.",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "http://a:b/v1"},
            "base_url is 'http://a:b/v1'; it must be an address such as http://127.0.0.1:8000/v1. Correct it.",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "http://a b/v1"},
            "base_url is 'http://a b/v1'; it must be an address such as http://127.0.0.1:8000/v1. Correct it.",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "http://a..b/v1"},
            "base_url is 'http://a..b/v1'; it must be an address such as http://127.0.0.1:8000/v1. Correct it.",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "http://a/größe/v1"},
            "base_url is 'http://a/größe/v1'; it must be an address such as http://127.0.0.1:8000/v1. Correct it.",
        ),
        (
            {"method": "chat", "model": "m", "base_url": "http://u:p@a/v1"},
            "base_url is 'http://...@a'; it must be an address without a name or password. Name an environment "
            "variable in phrases.key_env instead.",
        ),
        (
            {"timeout_s": 0},
            "timeout_s is 0.0; it must be a number above 0 and at most 86400 s. Leave it out for the default, 60.0.",
        ),
        (
            {"timeout_s": float("inf")},
            "timeout_s is inf; it must be a number above 0 and at most 86400 s. Leave it out for the default, 60.0.",
        ),
        (
            {"concurrency": 0},
            "concurrency is 0; it must be a whole number at least 1. Leave it out for the default, 8.",
        ),
        (
            {"max_attempts": 0},
            "max_attempts is 0; it must be a whole number at least 1. Leave it out for the default, 5.",
        ),
        ({"backoff_s": -1}, "backoff_s is -1.0; it must be a number at least 0 s. Leave it out for the default, 1.0."),
        (
            {"kinds": "chat"},
            "unknown setting 'kinds'. Known here: backoff_s, base_url, batch_size, concurrency, device, key_env, "
            "max_attempts, max_new_tokens, max_phrases, method, model, timeout_s.",
        ),
        (
            {"method": "llm"},
            "method is 'llm'; it must be one of 'rules', 'spacy', 'chat'. Leave it out for the default, \"rules\".",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from(settings, PhrasesConfig, "recipe.toml")
    assert said in str(refused.value)


def test_the_rules_are_what_is_used_when_nothing_is_set() -> None:
    finder = phrase_finder(settings_from({}, PhrasesConfig, "recipe.toml"))
    assert isinstance(finder, PhraseFinder)
    assert dict(finder.models) == {}
    assert texts(finder, "Where is the cat?", "") == [["the cat"], []]
