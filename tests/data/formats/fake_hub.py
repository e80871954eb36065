"""A hub on this machine: what `huggingface_hub` and `datasets` ask for to read one data set."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "a" * 40


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve the files of a folder as any data set that is asked for; gives the address."""
    handler = type("Handler", (_Handler,), {"root": root})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        parts = urlparse(self.path).path.strip("/").split("/")
        if parts[0] == "datasets" and "resolve" in parts:
            self._file(unquote("/".join(parts[parts.index("resolve") + 2 :])))
        elif parts[:2] == ["api", "datasets"] and parts[4:5] == ["revision"]:
            self._json({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": []})
        elif parts[:2] == ["api", "datasets"] and parts[4:5] == ["tree"]:
            folder = self.root / unquote("/".join(parts[6:]))
            self._json([self._entry(p) for p in sorted(folder.iterdir())])
        else:
            self._send(200 if parts == [""] else 404, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        posted = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = json.loads(posted) if posted.startswith("{") else parse_qs(posted)
        paths = [self.root / p for p in asked["paths"]]
        self._json([self._entry(p) for p in paths if p.exists()])

    def _entry(self, path: Path) -> dict:
        name = str(path.relative_to(self.root))
        kind, size = ("directory", 0) if path.is_dir() else ("file", path.stat().st_size)
        oid = hashlib.sha1(name.encode()).hexdigest()
        return {"type": kind, "oid": oid, "size": size, "path": name}

    def _file(self, name: str) -> None:
        path = self.root / name
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        data = path.read_bytes()
        tag = hashlib.sha1(data).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
        if "Range" in self.headers and self.command == "GET":
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._send(206, data[start:stop], headers)
        else:
            self._send(200, data, headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode())

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
