"""A small server on loopback that speaks enough of the Hugging Face hub's protocol for the real huggingface_hub.

It holds dataset and model repositories with all their revisions, and serves a plain folder under ``/plain/`` too. It
never offers Xet. The client must be kept from it all the same: huggingface_hub 2 with hf_xet installed sends what is
marked "lfs" to Xet without asking. So a process of its own runs with `Hub.environment`; in the process of the test,
whose constants were set at import, set each of `Hub.patches` by `monkeypatch.setattr`. `HfApi(endpoint=hub.url)` then
needs only the one that turns Xet off, but `hf_hub_download`, the mixins and ``hf://`` paths need them all.

The paths that faults and counts look for are of the form ``/datasets/me/games/resolve/main/a.h5``, unquoted and
without the query. Bodies of large files go up to ``/lfs/<sha256>`` or, in parts, to ``/lfs/<sha256>/1`` and on.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

Role = Literal["read", "write"]
WRITER, READER = "hf_writer", "hf_reader"
LARGE = (".bin", ".h5", ".hdf5", ".npy", ".npz", ".parquet", ".pt", ".safetensors", ".tar", ".zip", ".zst")
LARGE_FROM = 10 << 20
PIECE = 1 << 16


@dataclass(frozen=True)
class Request:
    """A request that was served. A status of 0 says that the connection was closed without an answer."""

    method: str
    path: str
    range: str | None
    status: int
    sent: int
    received: int


@dataclass(frozen=True)
class Ask:
    """What was asked: the path as it came, the query, who asks, and a file with the body."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    role: Role | None
    body: Path | None

    def read(self) -> bytes:
        return self.body.read_bytes() if self.body else b""

    def json(self) -> dict[str, Any]:
        return json.loads(self.read() or b"{}")

    def asks_for(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")


@dataclass(frozen=True)
class Answer:
    """What is answered; a path stands for the bytes in that file, of which ranges may be asked for."""

    body: bytes | Path = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})


class RefusedError(Exception):
    """A request that is refused as the hub does; the code decides which exception its client raises."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        coded = {"X-Error-Code": code} if code else {}
        self.answer = answer_json({"error": message}, status, **{"X-Error-Message": message}, **coded, **headers)


class DroppedError(Exception):
    """The connection is to be closed at once."""


@dataclass
class Fault:
    """What is yet to go wrong, and how often."""

    kind: str
    pattern: str
    number: int
    times: int
    method: str | None = None


@dataclass
class Faults:
    """What goes wrong, by the paths of requests.

    Attributes:
        down: Whether every request is met by closing its connection.
    """

    down: bool = False
    _waiting: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut_after(self, pattern: str, size: int, times: int = 1) -> None:
        """Closes the connection after so many bytes of the body: of what a request sends, or else of its answer."""
        self._add(Fault("cut", pattern, size, times))

    def corrupt(self, pattern: str, times: int = 1) -> None:
        """Flips a byte in the middle of the body of an answer."""
        self._add(Fault("corrupt", pattern, 1, times))

    def fail(self, pattern: str, status: int, times: int = 1, method: str | None = None) -> None:
        """Answers with a status; a download begins with a HEAD, that the method can leave out."""
        self._add(Fault("fail", pattern, status, times, method))

    def take(self, kind: str, method: str, path: str) -> int | None:
        with self._lock:
            for fault in self._waiting:
                matches = fault.kind == kind and fault.times > 0 and fault.method in (None, method)
                if matches and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault.number
        return None

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)


class Accounts:
    """The requests served, which are only told once none is under way, as a client may be ahead of the server."""

    def __init__(self) -> None:
        self._served: list[Request] = []
        self._open = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        with self._changed:
            self._open += 1

    def end(self, request: Request) -> None:
        with self._changed:
            self._served.append(request)
            self._open -= 1
            self._changed.notify_all()

    def all(self) -> list[Request]:
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout=2)
            return list(self._served)


@dataclass(frozen=True)
class Entry:
    """A file in a revision."""

    sha256: str
    size: int
    blob: str
    lfs: bool
    changed: str = ""

    def described(self, path: str) -> dict[str, Any]:
        large = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 130}} if self.lfs else {}
        return {"type": "file", "path": path, "size": self.size, "oid": self.blob, **large}


@dataclass(frozen=True)
class Commit:
    """A revision."""

    oid: str
    title: str
    date: str
    files: Mapping[str, Entry]


class Repository:
    """A repository: its commits by their oids, and its branches and tags."""

    def __init__(self, kind: str, name: str, private: bool) -> None:
        self.kind, self.name, self.private = kind, name, private
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}

    @property
    def page(self) -> str:
        return f"/datasets/{self.name}" if self.kind == "dataset" else f"/{self.name}"

    def at(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def commit(self, branch: str, title: str, files: Mapping[str, Entry]) -> Commit:
        number = len(self.commits)
        oid = hashlib.sha1(f"{self.page} {number} {title} {sorted(files.items())}".encode()).hexdigest()
        date = (datetime(2024, 1, 1) + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        marked = {path: entry if entry.changed else replace(entry, changed=oid) for path, entry in files.items()}
        self.commits[oid] = Commit(oid, title, date, marked)
        self.branches[branch] = oid
        return self.commits[oid]

    def listed(self, commit: Commit, folder: str, recursive: bool, expand: bool) -> list[dict[str, Any]]:
        start = f"{folder}/" if folder else ""
        below = {path: entry for path, entry in sorted(commit.files.items()) if path.startswith(start)}
        if folder and not below:
            raise RefusedError(404, f"{folder} does not exist on {commit.oid}", "EntryNotFound")
        listed: dict[str, dict[str, Any]] = {}
        for path, entry in below.items():
            steps = path[len(start) :].split("/")
            for depth in range(1, len(steps) + 1 if recursive else 2):
                inner = start + "/".join(steps[:depth])
                tree = hashlib.sha1(f"{commit.oid} {inner}".encode()).hexdigest()
                inside = {"type": "directory", "path": inner, "size": 0, "oid": tree}
                item = listed.setdefault(inner, entry.described(path) if inner == path else inside)
                if expand:
                    last = self.commits[entry.changed]
                    told = {"date": last.date, "id": last.oid, "title": last.title}
                    item["lastCommit"] = max(item.get("lastCommit", told), told, key=lambda commit: commit["date"])
        return list(listed.values())


class Api:
    """What the hub answers, apart from how it goes over the wire."""

    REPO = r"/api/(?P<kind>dataset|model)s/(?P<name>[^/]+/[^/]+)"
    PAGE = r"(?P<kind>/datasets|)/(?P<name>[^/]+/[^/]+)"
    ROUTES: ClassVar[tuple[tuple[str, str, str, bool], ...]] = (
        # Method, path, what answers, and whether that writes.
        ("GET", r"/plain(?:/(?P<path>.*))?", "plain", False),
        ("GET", r"/api/whoami-v2", "whoami", False),
        ("POST", r"/api/validate-yaml", "agree", False),
        ("POST", r"/api/repos/create", "create", True),
        ("GET", REPO + r"(?:/revision/(?P<revision>[^/]+))?", "info", False),
        ("GET", REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree", False),
        ("POST", REPO + r"/paths-info/(?P<revision>[^/]+)", "paths", False),
        ("GET", REPO + r"/refs", "refs", False),
        ("GET", REPO + r"/auth-check", "agree", False),
        ("GET", REPO + r"/auth-check/write", "agree", True),
        ("POST", REPO + r"/preupload/(?P<revision>[^/]+)", "preupload", True),
        ("POST", REPO + r"/commit/(?P<revision>[^/]+)", "commit", True),
        ("POST", REPO + r"/(?P<sort>tag|branch)/(?P<revision>[^/]+)", "refer", True),
        ("POST", PAGE + r"\.git/info/lfs/objects/batch", "batch", True),
        ("GET", PAGE + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve", False),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", "put", False),
        ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})", "join", False),
    )

    def __init__(self, hub: Hub) -> None:
        self.hub, self.objects, self.incoming = hub, hub.folder / "objects", hub.folder / "incoming"
        self.repositories: dict[tuple[str, str], Repository] = {}
        self._lock = threading.RLock()

    def __call__(self, ask: Ask) -> Answer:
        for method, pattern, name, writes in self.ROUTES:
            match = re.fullmatch(pattern, ask.path)
            if match and method == ask.method.replace("HEAD", "GET"):
                found: dict[str, Any] = {key: unquote(value or "") for key, value in match.groupdict().items()}
                if "name" in found:
                    kind = "dataset" if "dataset" in found.pop("kind") else "model"
                    found["repository"] = self._repository(kind, found.pop("name"), ask.role)
                if writes:
                    self._allow(ask.role, "RepoNotFound" if "repository" in found else None)
                with self._lock:
                    return getattr(self, name)(ask, **found)
        raise RefusedError(404, f"Sorry, no page at {ask.path}")

    def _repository(self, kind: str, name: str, role: Role | None) -> Repository:
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and role is None):
            # Who may not know whether there is such a repository is told to log in.
            status, message = (404, "Repository not found") if role else (401, "Invalid username or password.")
            raise RefusedError(status, message, "RepoNotFound")
        return repository

    def _allow(self, role: Role | None, code: str | None) -> None:
        if role is None:
            # By https the client takes a 401 under a repository for a missing one; by http it does so for the code.
            raise RefusedError(401, "Invalid username or password.", code)
        if role != "write":
            raise RefusedError(403, "Forbidden: you must use a write token to upload to a repository.")

    def whoami(self, ask: Ask) -> Answer:
        if ask.role is None:
            raise RefusedError(401, "Invalid username or password.")
        token = {"displayName": "test", "role": ask.role}
        return answer_json({"type": "user", "name": self.hub.user, "orgs": [], "auth": {"accessToken": token}})

    def create(self, ask: Ask) -> Answer:
        asked = ask.json()
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or self.hub.user}/{asked['name']}"
        known = self.repositories.get((kind, name))
        repository = known or Repository(kind, name, asked.get("visibility") == "private")
        answer = {"url": self.hub.url + repository.page, "name": name}
        if known:
            return answer_json({"error": "You already created this repo", **answer}, 409)
        self.repositories[kind, name] = repository
        patterns = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
        repository.commit("main", "initial commit", {".gitattributes": self._stored(patterns.encode())})
        return answer_json(answer)

    def info(self, ask: Ask, repository: Repository, revision: str) -> Answer:
        commit, first = repository.at(revision or "main"), next(iter(repository.commits.values()))
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
        if ask.asks_for("blobs"):
            for sibling in siblings:
                file = commit.files[sibling["rfilename"]]
                large = {"size": file.size, "sha256": file.sha256, "pointerSize": 130} if file.lfs else None
                sibling.update(size=file.size, blobId=file.blob, lfs=large)
        told = {
            "id": repository.name, "author": repository.name.split("/")[0], "sha": commit.oid, "gated": False,
            "lastModified": commit.date, "createdAt": first.date, "private": repository.private, "disabled": False,
            "downloads": 0, "likes": 0, "tags": [], "siblings": siblings,
        }  # fmt: skip
        return answer_json(told)

    def tree(self, ask: Ask, repository: Repository, revision: str, path: str) -> Answer:
        asked = ask.asks_for("recursive"), ask.asks_for("expand")
        return answer_json(repository.listed(repository.at(revision), path, *asked))

    def paths(self, ask: Ask, repository: Repository, revision: str) -> Answer:
        form = parse_qs(ask.read().decode())
        listed = repository.listed(repository.at(revision), "", True, form.get("expand") in (["true"], ["True"]))
        return answer_json([item for item in listed if item["path"] in form.get("paths", [])])

    def refs(self, ask: Ask, repository: Repository) -> Answer:
        def told(sort: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{sort}/{name}", "targetCommit": oid} for name, oid in refs.items()]

        heads, tags = told("heads", repository.branches), told("tags", repository.tags)
        return answer_json({"branches": heads, "tags": tags, "converts": [], "pullRequests": []})

    def agree(self, ask: Ask, **_: Repository) -> Answer:
        return answer_json({})

    def refer(self, ask: Ask, repository: Repository, sort: str, revision: str) -> Answer:
        asked = ask.json()
        # A tag's address ends in what it is put on, a branch's in its name.
        name, start = (asked["tag"], revision) if sort == "tag" else (revision, asked.get("startingPoint", "main"))
        refs = repository.tags if sort == "tag" else repository.branches
        if name in refs:
            raise RefusedError(409, f"Reference {name} exists already")
        refs[name] = repository.at(start).oid
        return answer_json({})

    def preupload(self, ask: Ask, repository: Repository, revision: str) -> Answer:
        held, files = repository.at(revision).files, []
        for file in ask.json()["files"]:
            path, sample = file["path"], base64.b64decode(file["sample"])
            large = file["size"] >= LARGE_FROM or path.endswith(LARGE) or b"\0" in sample
            entry = held.get(path)
            oid = {"oid": entry.sha256 if entry.lfs else entry.blob} if entry else {}
            files.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid})
        return answer_json({"files": files})

    def batch(self, ask: Ask, repository: Repository) -> Answer:
        asked, size = ask.json(), self.hub.part_size
        objects = []
        for item in asked["objects"]:
            href = f"{self.hub.url}/lfs/{item['oid']}"
            upload: dict[str, Any] = {"href": href}
            if item["size"] > size and "multipart" in asked["transfers"]:
                parts = {str(number): f"{href}/{number}" for number in range(1, -(-item["size"] // size) + 1)}
                upload["header"] = {"chunk_size": str(size), **parts}
            missing = {} if (self.objects / item["oid"]).exists() else {"actions": {"upload": upload}}
            objects.append({"oid": item["oid"], "size": item["size"], **missing})
        return answer_json({"transfer": "basic", "objects": objects})

    def put(self, ask: Ask, oid: str, part: str) -> Answer:
        body = ask.body or self.incoming / "none"
        if part:
            os.replace(body, self.incoming / f"{oid}.{part}")
        else:
            self._keep(body, oid)
        return Answer(headers={"ETag": f'"{oid[:8]}-{part}"'})

    def join(self, ask: Ask, oid: str) -> Answer:
        whole = self.incoming / oid
        if (self.objects / oid).exists():
            return answer_json({"success": True})
        with whole.open("wb") as joined:
            for part in ask.json()["parts"]:
                piece = self.incoming / f"{oid}.{part['partNumber']}"
                joined.write(piece.read_bytes())
                piece.unlink()
        self._keep(whole, oid)
        return answer_json({"success": True})

    def commit(self, ask: Ask, repository: Repository, revision: str) -> Answer:
        header, *changes = [json.loads(line) for line in ask.read().splitlines()]
        if revision not in repository.branches:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head, asked = repository.at(revision), header["value"]
        if asked.get("parentCommit", head.oid) != head.oid:
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for change in changes:
            self._change(files, change["key"], change["value"])
        commit = repository.commit(revision, asked["summary"], files)
        url = f"{self.hub.url}{repository.page}/commit/{commit.oid}"
        return answer_json({"success": True, "commitOid": commit.oid, "commitUrl": url})

    def _change(self, files: dict[str, Entry], key: str, value: Mapping[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = self._stored(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            held = self.objects / value["oid"]
            if not held.exists():
                raise RefusedError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            size = held.stat().st_size
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{held.name}\nsize {size}\n"
            files[path] = Entry(held.name, size, git_hash(pointer.encode()), True)
        else:
            gone = [known for known in files if known == path or known.startswith(path.rstrip("/") + "/")]
            if not gone or (key == "deletedFile" and path not in files):
                raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for known in gone:
                del files[known]

    def resolve(self, ask: Ask, repository: Repository, revision: str, path: str) -> Answer:
        commit = repository.at(revision)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            raise RefusedError(404, "Entry not found", "EntryNotFound", **headers)
        file = commit.files[path]
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        return Answer(self.objects / file.sha256, headers={"ETag": f'"{file.blob}"', **headers})

    def plain(self, ask: Ask, path: str) -> Answer:
        root = self.hub.plain.resolve()
        there = (root / path).resolve()
        if not there.is_relative_to(root) or not there.exists():
            raise RefusedError(404, "File not found")
        if there.is_file():
            return Answer(there)
        if not ask.path.endswith("/"):
            return Answer(status=301, headers={"Location": ask.path + "/"})
        names = sorted(item.name + "/" * item.is_dir() for item in there.iterdir())
        links = "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>\n' for name in names)
        return Answer(f"<html><body><ul>\n{links}</ul></body></html>".encode(), headers={"Content-Type": "text/html"})

    def _stored(self, content: bytes) -> Entry:
        entry = Entry(hashlib.sha256(content).hexdigest(), len(content), git_hash(content), False)
        (self.objects / entry.sha256).write_bytes(content)
        return entry

    def _keep(self, body: Path, oid: str) -> None:
        with body.open("rb") as file:
            digest = hashlib.sha256()
            for piece in iter(partial(file.read, PIECE), b""):
                digest.update(piece)
        if digest.hexdigest() != oid:
            raise RefusedError(400, "The content has another SHA-256 than was announced")
        os.replace(body, self.objects / oid)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The way over the wire: bodies, ranges, faults and accounts."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def handle(self) -> None:
        # A client may go away between two requests.
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        self.status = self.sent = self.received = 0
        self.name = unquote(urlsplit(self.path).path)
        self.hub.accounts.begin()
        try:
            self._exchange()
        except (DroppedError, ConnectionError):
            self.close_connection = True
        finally:
            asked = self.command, self.name, self.headers.get("Range")
            self.hub.accounts.end(Request(*asked, self.status, self.sent, self.received))

    do_GET = do_HEAD = do_POST = do_PUT = serve  # noqa: N815

    def _exchange(self) -> None:
        if self.hub.faults.down:
            raise DroppedError
        body = self._receive()
        try:
            failing = self._fault("fail")
            if failing:
                raise RefusedError(failing, "Failing on purpose")
            url = urlsplit(self.path)
            answer = self.hub.api(Ask(self.command, url.path, parse_qs(url.query), self._role(), body))
        except RefusedError as refused:
            answer = refused.answer
        finally:
            if body:
                body.unlink(missing_ok=True)
        self._send(answer)

    def _fault(self, kind: str) -> int | None:
        return self.hub.faults.take(kind, self.command, self.name)

    def _role(self) -> Role | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def _receive(self) -> Path | None:
        left = int(self.headers.get("Content-Length") or 0)
        if not left:
            return None
        cut = self._fault("cut")
        body = self.hub.folder / "incoming" / secrets.token_hex(8)
        with body.open("wb") as file:
            while left:
                piece = self.rfile.read1(min(left, PIECE))
                file.write(piece)
                self.received += len(piece)
                left -= len(piece)
                if not piece or (cut is not None and self.received >= cut):
                    body.unlink()
                    raise DroppedError
        return body

    def _send(self, answer: Answer) -> None:
        size = answer.body.stat().st_size if isinstance(answer.body, Path) else len(answer.body)
        start, end, headers = 0, size, {"Content-Length": str(size), **answer.headers}
        self.status = answer.status
        if isinstance(answer.body, Path):
            headers |= {"Accept-Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if asked and self.command == "GET":
                start, end = self._range(asked[1], asked[2], size)
                self.status, told = (206, f"{start}-{end - 1}") if start < end else (416, "*")
                headers |= {"Content-Range": f"bytes {told}/{size}", "Content-Length": str(end - start)}
        self.send_response(self.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer.body, start, end - start)

    @staticmethod
    def _range(first: str, last: str, size: int) -> tuple[int, int]:
        if not first:
            return max(size - int(last or 0), 0), size
        start, end = int(first), min(int(last) + 1 if last else size, size)
        return (start, end) if start < end else (0, 0)

    def _send_body(self, body: bytes | Path, start: int, length: int) -> None:
        cut = None if self.received else self._fault("cut")
        flipped = self._fault("corrupt") and length // 2
        with body.open("rb") if isinstance(body, Path) else io.BytesIO(body) as file:
            file.seek(start)
            while self.sent < length:
                piece = bytearray(file.read(min(PIECE, length - self.sent)))
                if flipped is not None and 0 <= flipped - self.sent < len(piece):
                    piece[flipped - self.sent] ^= 1
                del piece[len(piece) if cut is None else max(cut - self.sent, 0) :]
                self.wfile.write(piece)
                self.sent += len(piece)
                if cut is not None and self.sent >= cut:
                    raise DroppedError


class Listener(ThreadingHTTPServer):
    """A server that knows its connections, as a client keeps them open beyond its end."""

    daemon_threads = False

    def __init__(self, hub: Hub) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), partial(Handler, hub))

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class Hub:
    """A running hub; after the ``with`` its port refuses connections.

    Attributes:
        folder: Where it keeps the contents of files, and the caches of the clients in its `environment`.
        tokens: What each token may do. Without one, public repositories can be read.
        part_size: How large the parts of larger uploads are.
        plain: The folder served under ``/plain/``.
        faults: What is to go wrong.
        api: What answers, with its `repositories`.
        user: Who owns the tokens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tokens: Mapping[str, Role] | None = None,
        part_size: int = 8 << 20,
        plain: Path | None = None,
    ) -> None:
        self.folder, self.part_size, self.user = folder, part_size, "me"
        self.tokens: dict[str, Role] = {WRITER: "write", READER: "read"} if tokens is None else dict(tokens)
        self.plain = plain or folder / "plain"
        for made in (folder / "objects", folder / "incoming", self.plain):
            made.mkdir(parents=True, exist_ok=True)
        self.faults, self.accounts, self.api = Faults(), Accounts(), Api(self)

    def __enter__(self) -> Hub:
        self._listener = Listener(self)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    @property
    def requests(self) -> list[Request]:
        """The requests served so far, in the order in which they ended."""
        return self.accounts.all()

    def bytes_sent(self, pattern: str) -> int:
        return sum(request.sent for request in self.requests if re.search(pattern, request.path))

    def bytes_received(self, pattern: str) -> int:
        return sum(request.received for request in self.requests if re.search(pattern, request.path))

    def environment(self) -> dict[str, str]:
        """The variables with which a new process uses this hub, and nothing of the user's."""
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(self.folder / "home"), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def patches(self) -> dict[str, Any]:
        """The constants with which a process that has imported huggingface_hub uses this hub."""
        return {
            "huggingface_hub.constants.ENDPOINT": self.url,
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE":
                self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "huggingface_hub.constants.HF_HUB_CACHE": str(self.folder / "home" / "hub"),
            "huggingface_hub.constants.HF_TOKEN_PATH": str(self.folder / "home" / "token"),
            "huggingface_hub.constants.HF_HUB_DISABLE_XET": True,
        }  # fmt: skip
