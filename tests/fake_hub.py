"""A model hub on this machine: folders of files flow in, and the answers of the hub's API flow out."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Answers for the datasets below a folder, each of one revision."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/datasets/(.+)/resolve/[^/]+/(.+)", path):
            self.send_file(self.root / match[1] / match[2])
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/[^/]+(?:/(.*))?", path):
            self.send_listing(self.root / match[1], match[2] or "")
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self.send_info(self.root / match[1], match[1])
        else:
            self.send_json({"error": "not found"}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/[^/]+", unquote(urlsplit(self.path).path))
        assert match, self.path
        folder = self.root / match[1]
        paths = [folder / p for p in json.loads(body)["paths"]]
        self.send_json([entry(folder, path) for path in paths if path.exists()])

    def send_info(self, folder: Path, name: str) -> None:
        if not folder.is_dir():
            self.send_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        else:
            files = [{"rfilename": p.relative_to(folder).as_posix()} for p in folder.rglob("*") if p.is_file()]
            self.send_json({"id": name, "sha": REVISION, "siblings": files, "private": False, "tags": []})

    def send_listing(self, folder: Path, inside: str) -> None:
        paths = (folder / inside).rglob("*") if "recursive=true" in self.path.lower() else (folder / inside).iterdir()
        self.send_json([entry(folder, path) for path in sorted(paths)])

    def send_file(self, path: Path) -> None:
        if not path.is_file():
            self.send_json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = path.read_bytes()
        size, status, more = len(data), 200, {}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
            data, status, more = data[first : last + 1], 206, {"Content-Range": f"bytes {first}-{last}/{size}"}
        etag = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        self.answer(data, status, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes", **more})

    def send_json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def answer(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """The tests need no log."""


def entry(folder: Path, path: Path) -> dict[str, object]:
    """What the hub lists of a file or a folder."""
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": REVISION, "size": 0}
    digest = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "oid": digest, "size": path.stat().st_size}


@contextmanager
def fake_hub(root: Path) -> Iterator[str]:
    """The address of a hub with the datasets `root/OWNER/NAME`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Handler,), {"root": root}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
