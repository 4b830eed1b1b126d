"""A small server on loopback that speaks the OpenAI protocol, and fails as real ones do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Speaks = Callable[[int, dict[str, Any]], "str | Fault"]
"""From the number of the request and its body to the reply."""

MODEL = "small-talk"


@dataclass(frozen=True)
class Fault:
    """What a server does instead of answering.

    Attributes:
        status: The status that it sends.
        headers: Headers with it.
        body: What it sends in place of JSON.
        drops: Whether it closes the connection in mid-answer.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    drops: bool = False


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Its address.
        asked: The bodies of all requests for replies, in order.
        keys: The keys that they came with.
    """

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


@contextmanager
def server(speaks: Speaks, models: tuple[str, ...] | bytes = (MODEL,), key: str | None = None) -> Iterator[Server]:
    """Runs a server.

    Args:
        speaks: Gives the replies.
        models: The models that it has; or what it answers in place of their names.
        key: The key that it asks for.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, cut: int = 0) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + cut))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
                self._send(b'{"error": {"message": "no"}}', 401)
                return
            if isinstance(models, bytes):
                self._send(models)
                return
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in models]
            self._send(json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(running.asked)
                running.asked.append(body)
                running.keys.add(self.headers.get("Authorization", ""))
            said = speaks(number, body)
            if isinstance(said, Fault):
                self._send(said.body, said.status, said.headers, cut=1000 * said.drops)
                self.close_connection = said.drops
                return
            chats = self.path.endswith("chat/completions")
            choice = {"message": {"role": "assistant", "content": said}} if chats else {"text": said}
            usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            answer = {
                "id": "1", "created": 0, "model": MODEL, "object": "chat.completion" if chats else "text_completion",
                "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, **choice}], "usage": usage,
            }  # fmt: skip
            self._send(json.dumps(answer).encode())

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    running = Server(f"http://127.0.0.1:{listener.server_port}/v1")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
