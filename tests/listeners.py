"""Real servers on this machine that take what is published and answer as they are told."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """An HTTP server: what it was asked, and what it answers to each request."""

    answer: Callable[[Request], tuple[int, bytes]] = lambda _: (200, b"")
    asked: list[Request] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    url: str = ""


@contextlib.contextmanager
def web(answer: Callable[[Request], tuple[int, bytes]] | None = None) -> Iterator[Web]:
    found = Web() if answer is None else Web(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.command, self.path, dict(self.headers), body)
            found.asked.append(request)
            found.connections.add(self.client_address)
            status, told = found.answer(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_PUT = do_POST = take  # noqa: N815 -- names of the library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@dataclass
class Port:
    """A TCP server of lines: what it heard, and what it says to each line."""

    reply: Callable[[bytes], bytes]
    lines: list[bytes] = field(default_factory=list)
    address: str = ""
    done: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def port(reply: Callable[[bytes], bytes] = lambda _: b"") -> Iterator[Port]:
    found = Port(reply)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                found.lines.append(line)
                self.wfile.write(found.reply(line))
            found.done.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address of this machine where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """An address where somebody takes connections and never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield f"127.0.0.1:{held.getsockname()[1]}"
