"""A hub on this computer: it speaks the protocol of the real one, counts, and does wrong on order.

Two servers in threads: the hub, and the store to which it redirects for large files. What
goes wrong is put into `faults`; what was asked and how much was sent stands in `log`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from tests.hub_parts import Answer, Fault, Kept, Stored

__all__ = ["Answer", "Fault", "HubServer", "Kept", "Stored", "hub", "serving"]

BLOCK = 64 << 10  # bytes sent at once
REGION = "This model is not available in your region."
BAD_TOKEN = "Invalid credentials in Authorization header"


class HubServer:
    """The hub. `url` is its address, `store` that of the store."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.repositories: dict[str, Kept] = {}
        self.tokens: dict[str, set[str]] = {}
        """What each token may read beyond what all may: names of repositories."""
        self.faults: list[Fault] = []
        self.log: list[Answer] = []
        self.raw: dict[str, bytes] = {}
        """What is answered for a path, whatever it is."""
        self.pace = 0.0
        """Bytes a second of one answer; 0: as fast as it goes."""
        self.broken: list[BaseException] = []
        self._lock = threading.Lock()
        self._hub = _Server(self, "hub", certificate)
        self._store = _Server(self, "store")
        self.url, self.store = self._hub.url, self._store.url

    # --- What it keeps ------------------------------------------------------------------------

    def add(
        self,
        name: str,
        files: Mapping[str, Path | Stored] | None = None,
        card: Mapping[str, Any] | None = None,
        *,
        revision: str = "main",
        **traits: Any,
    ) -> str:
        """Makes a repository, or a new commit in it; gives the commit."""
        kept = self.repositories.setdefault(name, Kept(name=name))
        for trait, value in traits.items():
            setattr(kept, trait, value)
        stored = {
            file: path if isinstance(path, Stored) else Stored(path=path)
            for file, path in (files or {}).items()
        }
        commit = hashlib.sha1(f"{name} {len(kept.commits)}".encode()).hexdigest()
        kept.commits[commit] = stored
        kept.cards[commit] = dict(card or {})
        kept.refs[revision] = commit
        return commit

    # --- What it counts -----------------------------------------------------------------------

    def sent(self, at: str = "") -> int:
        """Bytes that went out, headers and bodies."""
        return sum(answer.sent for answer in self.log if at in ("", answer.at))

    def asked(self, at: str = "", method: str = "GET") -> list[Answer]:
        """The questions of one kind, in their order."""
        return [answer for answer in self.log if at in ("", answer.at) and answer.method == method]

    def note(self, answer: Answer) -> Fault | None:
        """Writes down a question, and gives what is to go wrong with its answer."""
        with self._lock:
            self.log.append(answer)
            for fault in self.faults:
                if fault.at == answer.at and fault.path in answer.path:
                    if fault.skip:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def stored(self, sha256: str) -> Stored | None:
        """A file of the store."""
        for kept in self.repositories.values():
            for files in kept.commits.values():
                for file in files.values():
                    if file.sha256 == sha256 and file.large:
                        return file
        return None

    def close(self) -> None:
        self._hub.close()
        self._store.close()

    def variables(self, home: Path) -> dict[str, str]:
        """What makes programs use it instead of the real one."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: HubServer, kind: str, certificate: Path | None = None) -> None:
        self.hub = hub
        self.kind = kind
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away in the middle; anything else is a fault of this file."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.hub.broken.append(error)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `HubServer.log`."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.answer = Answer(
            at=self._kind(path),
            method=self.command,
            path=path,
            range=self.headers.get("Range", ""),
            token=token,
            agent=self.headers.get("User-Agent", ""),
        )
        self.fault = self.server.hub.note(self.answer)
        if self.fault is not None and self.fault.wait:
            time.sleep(self.fault.wait)
        if self.fault is not None and (self.fault.status or self.fault.location):
            self._fail(self.fault)
        elif path in self.server.hub.raw:
            self._say(200, {}, self.server.hub.raw[path])
        elif self.server.kind == "store":
            self._from_store(path)
        elif self.answer.at == "file":
            self._file(path)
        else:
            self._metadata()
        self.answer.done = True

    def _kind(self, path: str) -> str:
        if self.server.kind == "store":
            return "store"
        if "/resolve/" in path:
            return "file"
        return "metadata" if path.startswith("/api/models/") else "other"

    def _fail(self, fault: Fault) -> None:
        headers = dict(fault.headers)
        if fault.location:
            headers["Location"] = fault.location
        self._say(fault.status or 302, headers, fault.body or b"")

    # --- The hub ------------------------------------------------------------------------------

    def _metadata(self) -> None:
        match = re.fullmatch(
            r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?",
            urlsplit(self.path).path,
        )
        kept = self.server.hub.repositories.get(match[1]) if match else None
        if match is None or kept is None:
            return self._missing("RepoNotFound")
        if not self._may_see(kept):
            return None
        revision = unquote(match[3] or "main")
        commit = kept.refs.get(revision, revision)
        if commit not in kept.commits:
            return self._missing("RevisionNotFound")
        if match[2] == "tree":
            entries = [file.entry(name) for name, file in kept.commits[commit].items()]
            return self._say_json(entries)
        return self._say_json(self._info(kept, commit))

    def _info(self, kept: Kept, commit: str) -> dict[str, Any]:
        query = parse_qs(urlsplit(self.path).query)
        files = kept.commits[commit]
        values: dict[str, Any] = {
            "_id": "6543",
            "id": kept.known_as or kept.name,
            "modelId": kept.known_as or kept.name,
            "sha": commit,
            "gated": kept.gated,
            "private": kept.private,
            "disabled": False,
            "downloads": 4321,
            "tags": ["gguf"],
            "cardData": kept.cards[commit],
            "siblings": [
                file.sibling(name) if "blobs" in query else {"rfilename": name}
                for name, file in files.items()
            ],
        }
        if "expand" in query:
            return {key: values[key] for key in ("_id", "id", *query["expand"])}
        return values

    def _may_see(self, kept: Kept) -> bool:
        """Whether it may be known that there is such a repository; else says no."""
        if self._has_bad_token():
            self._refuse(401, "", BAD_TOKEN)
        elif kept.private and kept.name not in self._rights():
            self._missing("RepoNotFound")
        else:
            return True
        return False

    def _may_read(self, kept: Kept) -> bool:
        if kept.region_blocked:
            self._refuse(403, "", REGION)  # before any token is looked at
        elif not self._may_see(kept):
            return False
        elif kept.gated and kept.name not in self._rights():
            self._refuse(403 if self.answer.token else 401, "GatedRepo", "Access is restricted.")
        else:
            return True
        return False

    def _has_bad_token(self) -> bool:
        return bool(self.answer.token) and self.answer.token not in self.server.hub.tokens

    def _rights(self) -> set[str]:
        return self.server.hub.tokens.get(self.answer.token, set())

    def _file(self, path: str) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        kept = self.server.hub.repositories.get(match[1]) if match else None
        if match is None or kept is None:
            return self._missing("RepoNotFound")
        if kept.known_as:
            new = f"/{kept.known_as}/resolve/{match[2]}/{quote(match[3])}"
            return self._say(307, {"Location": new}, b"Temporary Redirect")
        if not self._may_read(kept):
            return None
        commit = kept.refs.get(match[2], match[2])
        if commit not in kept.commits:
            return self._missing("RevisionNotFound")
        file = kept.commits[commit].get(match[3])
        if file is None:
            return self._missing("EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if not file.large:
            return self._send(file, headers)
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
        headers["Location"] = f"{self.server.hub.store}/{file.sha256}?signature=abc"
        return self._say(302, headers, b"Found. Redirecting")

    def _missing(self, code: str) -> None:
        message = code.replace("NotFound", " not found")
        anonymous = code == "RepoNotFound" and not self.answer.token
        self._refuse(401 if anonymous else 404, code, message)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._say(status, headers, json.dumps({"error": message}).encode())

    # --- The store ----------------------------------------------------------------------------

    def _from_store(self, path: str) -> None:
        file = self.server.hub.stored(path.strip("/"))
        if file is None:
            return self._say(404, {}, b"no such key")
        etag = hashlib.md5(file.sha256.encode()).hexdigest()
        return self._send(file, {"ETag": f'"{etag}-7"', "Accept-Ranges": "bytes"})

    def _send(self, file: Stored, headers: dict[str, str]) -> None:
        size = file.path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.answer.range)
        if self.fault is not None and self.fault.no_ranges:
            match = None
        start, end = 0, size
        if match:
            start, end = int(match[1]), min(int(match[2] or size) + 1, size)
            if start >= size:
                return self._say(416, {"Content-Range": f"bytes */{size}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        more = self.fault.more if self.fault is not None else 0
        headers["Content-Length"] = str(end - start + more)
        if self.fault is not None:
            headers |= self.fault.headers
        self._head(206 if match else 200, headers)
        if self.command == "GET":
            self._stream(file, start, end)
            self._raw(bytes(more))
        return None

    def _stream(self, file: Stored, start: int, end: int) -> None:
        began, pace = time.monotonic(), self.server.hub.pace
        size = min(BLOCK, max(1, int(pace / 20))) if pace else BLOCK
        with file.path.open("rb") as stream:
            position = start
            while position < end:
                block = self._spoilt(os.pread(stream.fileno(), size, position), position, end)
                room = self._room(position - start)
                self._raw(block[: room if room is not None else len(block)])
                if room is not None and room <= len(block):
                    return self._break_off()
                position += len(block)
                self._keep_pace(position - start, began)
        return None

    def _spoilt(self, block: bytes, position: int, end: int) -> bytes:
        block = block[: end - position]
        flip = self.fault.flip if self.fault is not None else None
        if flip is not None and position <= flip < position + len(block):
            changed = bytearray(block)
            changed[flip - position] ^= 0x10
            return bytes(changed)
        return block

    def _room(self, sent: int) -> int | None:
        """Bytes that still go well; None: all of them."""
        if self.fault is None or self.fault.after is None:
            return None
        return self.fault.after - sent

    def _break_off(self) -> None:
        if self.fault is not None and self.fault.silent:
            # Until the client has had enough, too.
            select.select([self.connection], [], [], self.fault.silent)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _keep_pace(self, sent: int, began: float) -> None:
        pace = self.server.hub.pace
        if pace:
            time.sleep(max(0.0, began + sent / pace - time.monotonic()))

    # --- Words --------------------------------------------------------------------------------

    def _say_json(self, values: Any) -> None:
        body = json.dumps(values).encode()
        fault = self.fault
        if fault is not None and fault.body is not None:
            body = fault.body
        self._say(200, {"Content-Type": "application/json"}, body)

    def _say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._head(status, {"Content-Length": str(len(body)), **headers})
        if self.command == "GET":
            self._raw(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.answer.status = status
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.answer.sent += len(data)


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[HubServer]:
    """A hub while the block runs; with a certificate its line is protected, not the store's."""
    server = HubServer(certificate)
    try:
        yield server
    finally:
        server.close()
    if server.broken:
        raise server.broken[0]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that this process, and every program it starts, takes for the real one."""
    with serving() as server:
        for name, value in server.variables(tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        yield server
