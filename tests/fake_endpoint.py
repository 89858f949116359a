"""An OpenAI-compatible endpoint on this machine: what it is to answer flows in, real HTTP flows out."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the endpoint sends: a status, a body, headers, and how long it waits before."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    """Seconds between two bytes of the body."""


def said(content: str | None, **more: Any) -> Answer:
    """A chat completion with this text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return Answer(
        json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode(), **more
    )


def error(status: int, message: str, **headers: str) -> Answer:
    """An error as the API words it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        json.dumps({"error": {"message": message, "type": "some_error", "code": None}}).encode(), status, named
    )


@dataclass
class Standin:
    """A running endpoint; `reply` makes the answer to a request from its body."""

    reply: Callable[[dict[str, Any]], Answer]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    running: int = 0

    @property
    def questions(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.asked]


def handler(standin: Standin) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                standin.asked.append({"path": self.path, **body})
                standin.headers.append(dict(self.headers))
                standin.running += 1
                standin.most_at_once = max(standin.most_at_once, standin.running)
            try:
                self.send(standin.reply(body))
            finally:
                with lock:
                    standin.running -= 1

        def send(self, answer: Answer) -> None:
            time.sleep(answer.delay)
            try:
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                pieces = [answer.body] if not answer.drip else [answer.body[i : i + 1] for i in range(len(answer.body))]
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(answer.drip)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """The tests need no log."""

    return Handler


@contextmanager
def endpoint(reply: Callable[[dict[str, Any]], Answer]) -> Iterator[Standin]:
    """An endpoint that answers until the end of the block."""
    standin = Standin(reply)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(standin))
    server.daemon_threads = True
    standin.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


EXCERPT = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)


def excerpts(question: str) -> dict[int, str]:
    """The numbered excerpts in a question to the judge."""
    return {int(number): json.loads(words) for number, words in EXCERPT.findall(question)}


def described(question: str) -> str:
    """The description in a question to the judge; "" in a question for one."""
    found = re.search(r"^Description: (.*)$", question, re.MULTILINE)
    return json.loads(found[1]) if found else ""


def model(body: dict[str, Any]) -> Answer:
    """A small 'model': it explains a feature by its first marked words, and judges by whether an excerpt holds them."""
    question = body["messages"][-1]["content"]
    if not (words := described(question)):
        marked = Counter(re.findall("\u27e6(.*?)\u27e7", question.partition("\n")[2]))
        return said(json.loads(f'"{marked.most_common(1)[0][0]}"').strip() or "white space")
    fits = [str(number) for number, text in excerpts(question).items() if words in text]
    return said(", ".join(fits) or "none")
