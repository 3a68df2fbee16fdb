"""The page of a run or a training while it goes on, and the server that shows it.

Nothing of the disk is served but report.html; everything else is made of what is in the directory
at that moment. What takes time is made again only when several times that time have passed.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from fastequi.cli.progress import duration
from fastequi.errors import FastEquiError, InputError
from fastequi.md.analysis.document import as_json, document
from fastequi.md.analysis.page import page_data
from fastequi.md.analysis.run import analyze, systems_of
from fastequi.md.analysis.systems import system_of, systems_data
from fastequi.md.trajectory.directory import REPORT
from fastequi.training import directory as training_names
from fastequi.training.page import training_data

#: Seconds between two looks of the browser, and what a look may cost, as a share of one core.
REFRESH_S, SHARE = 2.0, 0.05
#: Positions of frames that are analyzed, and that go to the viewer.
_ANALYZED, _SHOWN = 40_000, 12_000
#: Systems of one run that are looked at.
_MOST_SYSTEMS = 32

Data = dict[str, Any]


class Live:
    """What is known of a directory right now, for whoever asks, however often."""

    def __init__(self, directory: Path) -> None:
        """Raises InputError for what is neither a run nor a training."""
        self.directory = directory
        self._make = _maker(directory)
        self._lock = Lock()
        self._data: dict[str, Data] = {}
        self._not_before_s: dict[str, float] = {}
        self._pace = Pace()

    def data(self, name: str = "") -> Data:
        """Of the whole, or of the part (a system, a member) that is called so."""
        with self._lock:
            of_frames = self._kept(f"{name} frames", lambda: self._of_frames(name))
            return self._kept(name, lambda: _together(self._made(name), of_frames))

    def _kept(self, key: str, make: Callable[[], Data]) -> Data:
        """What is made again only when it may cost its time again."""
        if monotonic() >= self._not_before_s.get(key, 0.0):
            started_s = monotonic()
            self._data[key] = make()
            took_s = monotonic() - started_s
            self._not_before_s[key] = monotonic() + max(0.5 * REFRESH_S, took_s / SHARE)
        return self._data[key]

    def _of_frames(self, name: str) -> Data:
        """What the trajectory of one system says, which takes longer than its log."""
        folder = self.directory / name
        try:
            if self._make is _training or systems_of(folder) != [folder]:
                return {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return page_data(analyze(folder, most_positions=_ANALYZED), _SHOWN)
        except FastEquiError:
            return {}

    def _made(self, name: str) -> Data:
        folder = self.directory / name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # rows and frames are half written at any moment
                data = self._make(folder)
        except FastEquiError as error:  # it has only begun, or a file is being replaced
            text = f"nothing to show yet: {error}"
            progress = {"state": "running", "share": 0.0, "text": text}
            data = {"title": folder.resolve().name, "progress": progress}
        progress = data.get("progress")
        if progress and progress["state"] == "running":
            progress["text"] += self._pace.left(progress["share"])
        is_over = not progress or progress["state"] != "running"
        return {**data, "has_report": is_over and (folder / REPORT).is_file()}

    def parts(self) -> set[str]:
        """Names of systems or members that have pages of their own."""
        here = self.directory
        return {p.name for p in here.iterdir() if p.is_dir() and _is_part(p.name)}


def _together(of_log: Data, of_frames: Data) -> Data:
    """The page of a run, of what its log says now and its frames have said a while ago."""
    if not of_frames:
        return of_log
    titles = {plot["title"] for plot in of_log.get("plots", [])}
    plots = [plot for plot in of_frames["plots"] if plot["title"] not in titles]
    return of_log | {
        "title": of_frames["title"], "movie": of_frames["movie"], "note": of_frames["note"],
        "plots": of_log.get("plots", []) + plots, "left_out": of_frames["left_out"],
    }  # fmt: skip


class Pace:
    """How long it takes still, from how far it came since somebody began to look."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, share: float) -> str:
        """Words to add to how far it is; '' before there is a pace."""
        now_s = monotonic()
        if self._first is None or share < self._first[1]:
            self._first = now_s, share
        gained = share - self._first[1]
        if gained <= 0.0:
            return ""
        return f", {duration((1.0 - share) / gained * (now_s - self._first[0]))} left"


def _is_part(name: str) -> bool:
    return name.isdecimal() or name.startswith("member-")


def _maker(directory: Path) -> Callable[[Path], Data]:
    """What makes the data of a folder: a run's or a training's."""
    if (directory / training_names.RESOLVED_CONFIG).is_file():
        return _training
    if training_names.member_folders(directory):
        return _training
    if not directory.is_dir() or not (directory / "md.resolved.toml").is_file():
        systems_of(directory)  # raises InputError unless it looks like a run
    return _run


def _training(folder: Path) -> Data:
    members = training_names.member_folders(folder)
    if not members:
        return training_data(folder)
    pages = [training_data(member) for member in members]
    rows = [[{"text": member.name, "link": f"{member.name}/"}, page["progress"]["text"]]
            for member, page in zip(members, pages, strict=True)]  # fmt: skip
    running = [page["progress"] for page in pages if page["progress"]["state"] == "running"]
    return {
        "title": folder.resolve().name, "subtitle": f"training of {len(members)} members so far",
        "progress": (running or [pages[-1]["progress"]])[0],
        "tables": [{"title": "Members", "head": ["member", "how far"], "rows": rows}],
        "plots": pages[-1]["plots"],
    }  # fmt: skip


def _run(folder: Path) -> Data:
    systems = systems_of(folder)
    if systems == [folder]:
        return page_data(analyze(folder, most_positions=0))
    looked_at = [
        system_of(replace(analyze(one, most_positions=0), frames=()))
        for one in systems[:_MOST_SYSTEMS]
    ]
    remark = f"the first {_MOST_SYSTEMS} of {len(systems)} systems"
    data = systems_data(folder, looked_at, remark if len(systems) > _MOST_SYSTEMS else "")
    for row in data["tables"][0]["rows"]:
        row[0]["link"] = f"{row[0]['text']}/"
    return data


def is_this_machine(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# -- the server ------------------------------------------------------------------------------------


def make_server(live: Live, host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound and not yet serving; port 0 takes a free one. Raises InputError."""

    class Handler(_Handler):
        pass

    Handler.live, Handler.host = live, host
    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror}; --port takes another one"
        ) from error
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for `/`, `/data.json`, and both of each part; all else is not found."""

    live: Live
    host: str
    server_version = "fastequi"

    def do_GET(self) -> None:
        """The page, or what it is told."""
        part, name = self._asked() if self._is_asked_by_name() else (None, "")
        if part is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is no such page\n")
            return
        data = self.live.data(part)
        if name == "data.json":
            self._answer(HTTPStatus.OK, "application/json", as_json(data))
        elif data["has_report"]:
            page = self.live.directory / part / REPORT
            self._answer(HTTPStatus.OK, "text/html", page.read_text(encoding="utf-8"))
        else:
            self._answer(HTTPStatus.OK, "text/html", document(data, REFRESH_S))

    def _is_asked_by_name(self) -> bool:
        """Whether a server of this machine alone is called by this machine's name.

        A page of somebody else may have its own name resolved to 127.0.0.1 (DNS rebinding).
        """
        address = self.host
        asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return not is_this_machine(address) or asked in (address, "localhost")

    def _asked(self) -> tuple[str | None, str]:
        """Which part of the whole, and what of it; None for what is not served."""
        steps = unquote(urlsplit(self.path).path).split("/")
        if steps[0] != "" or len(steps) not in (2, 3):
            return None, ""
        part, name = (steps[1], steps[2]) if len(steps) == 3 else ("", steps[1])
        known = part == "" or part in self.live.parts()
        return (part, name) if known and name in ("", REPORT, "data.json") else (None, "")

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # whoever asked is gone

    def log_message(self, format: str, *args: Any) -> None:
        """Not a word: there is a line every two seconds."""
