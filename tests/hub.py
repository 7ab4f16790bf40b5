"""A local server with the part of the Hugging Face hub's API that tests use."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants, file_download


@dataclass
class Hub:
    """Repositories of models, each with the files of its one revision.

    Attributes:
        address: of the server.
        repositories: name -> file -> content.
        private: name -> whether it was made so.
        down: whether every request is refused.
        headers: of each answer with a file, in the place of what is true.
    """

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    down: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def revision(self, name: str) -> str:
        files = sorted(self.repositories[name].items())
        return _digest(repr(files).encode())

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        if self.down:
            return 503, {}, b"closed for today"
        if parts[:3] == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            self.repositories.setdefault(name, {})
            self.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            return _json({"url": f"{self.address}/{name}"})
        if parts == ["api", "validate-yaml"]:
            return _json({"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"]:
            return self._of_model("/".join(parts[2:4]), parts[4:], body)
        if len(parts) > 4 and parts[2] == "resolve":
            name = "/".join(parts[:2])
            if name not in self.repositories:
                return 404, {"X-Error-Code": "RepoNotFound"}, b""
            content = self.repositories[name].get("/".join(parts[4:]))
            if content is None:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            true = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": self.revision(name)}
            return 200, true | self.headers, content
        return 404, {}, b""

    def _of_model(
        self, name: str, rest: list[str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"no such repository"
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": file} for file in self.repositories[name]]
            sha = self.revision(name)
            return _json({"id": name, "modelId": name, "sha": sha, "siblings": siblings})
        if rest[0] == "tree":
            files = self.repositories[name].items()
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": _digest(content)}
                for file, content in files
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if rest[:1] == ["preupload"]:
            files = json.loads(body)["files"]
            return _json(
                {"files": [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if rest[:1] == ["commit"]:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.repositories[name][line["value"]["path"]] = content
                elif line["key"] == "deletedFile":
                    del self.repositories[name][line["value"]["path"]]
            oid = self.revision(name)
            return _json({"commitUrl": f"{self.address}/{name}/commit/{oid}", "commitOid": oid})
        return 404, {}, b""


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def hub(cache: Path) -> Iterator[Hub]:
    """Serve an empty hub to the client, whose cache is a folder."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, headers, body = found.answer(self.command, self.path, self.rfile.read(length))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET
        do_POST = do_GET

        def log_message(self, *given: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        found.address = f"http://localhost:{server.server_port}"
        thread = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.02},  # sees a shutdown so soon
        )
        thread.start()
        try:
            with pytest.MonkeyPatch.context() as patch:
                # What HF_ENDPOINT, HF_HOME and HF_TOKEN set when the client is imported.
                patch.setattr(constants, "ENDPOINT", found.address)
                template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
                for module in (constants, file_download):  # some versions copy it
                    name = "HUGGINGFACE_CO_URL_TEMPLATE"
                    patch.setattr(module, name, template, raising=False)
                patch.setattr(constants, "HF_HUB_CACHE", str(cache))
                patch.setenv("HF_TOKEN", "hf_none")
                yield found
        finally:
            server.shutdown()
            thread.join()
