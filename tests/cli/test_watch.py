"""`fastequi watch`: what it shows while things go on and after, and what it never gives out."""

import http.client
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastequi.cli.live import Live, make_server
from fastequi.errors import InputError
from fastequi.storage.lock import only_writer
from fastequi.training.config import load_train_config
from fastequi.training.session import train


class Asked:
    """A server on this machine, and answers to what it is asked: status and body."""

    def __init__(self, directory: Path) -> None:
        self.server = make_server(Live(directory), "127.0.0.1", 0)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __call__(self, path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)  # the path goes out as it is
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@contextmanager
def watching(directory: Path) -> Iterator[Asked]:
    asked = Asked(directory)
    try:
        yield asked
    finally:
        asked.server.shutdown()
        asked.server.server_close()


@pytest.fixture
def run(toml, command, tmp_path) -> Path:
    assert command("run", toml(steps=40)).code == 0
    return tmp_path / "run"


def test_a_run_while_it_goes_on_and_after(run, browse):
    (run / "summary.json").unlink()
    with watching(run) as ask, only_writer(run):
        status, text = ask("/data.json")
        data = json.loads(text)
        assert status == 200
        assert data["progress"]["text"] == "running: step 39 of 40"
        assert data["has_report"] is False
        assert data["movie"]["times_ps"][-1] == pytest.approx(0.16)  # the last frame
        titles = {plot["title"] for plot in data["plots"]}
        assert "temperature, pressure, density, energies" in titles
        shown = browse(f"http://127.0.0.1:{ask.port}/", seconds=3)
        assert ' plots, viewer"' in shown
        assert 'id="progress" class="running"' in shown
    with watching(run) as ask:
        assert json.loads(ask("/data.json")[1])["progress"]["state"] == "stopped"
        assert ask("/")[1] == (run / "report.html").read_text(encoding="utf-8")


def test_what_has_only_begun(run):
    for path in ("trajectory.extxyz", "report.html", "summary.json"):
        (run / path).unlink()
    (run / "log.csv").write_text((run / "log.csv").read_text().splitlines()[0] + "\n")
    with watching(run) as ask, only_writer(run):
        assert "nothing to show yet" in json.loads(ask("/data.json")[1])["progress"]["text"]
        assert ask("/")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/log.csv", "/md.resolved.toml", "/checkpoints/", "/../md.toml", "/..%2fmd.toml",
        "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/0000/../data.json", "/..", "/../",
        "/checkpoints/data.json", "http://127.0.0.1/log.csv", "/report.html/../log.csv",
        "/member-1/data.json", "/member-../data.json",
    ],
)  # fmt: skip
def test_nothing_else_is_given_out(run, path):
    """Secrets lie beside the run, one folder up, and in places with names of parts."""
    (run / ".." / "member-1").mkdir()
    with watching(run) as ask:
        assert ask(path) == (404, "there is no such page\n")


def test_only_reading_and_only_by_this_machine_s_name(run):
    with watching(run) as ask:
        assert ask("/data.json", host="evil.example")[0] == 404
        assert ask("/data.json", host=f"127.0.0.1:{ask.port}")[0] == 200
        assert ask("/data.json", method="POST")[0] == 501
        assert ask("/data.json", method="DELETE")[0] == 501


def test_several_systems_each_with_a_page(run, tmp_path):
    many = tmp_path / "many"
    for name in ("0000", "0001"):
        shutil.copytree(run, many / name, ignore=shutil.ignore_patterns("md.*", "*.json"))
    shutil.copy(run / "md.resolved.toml", many)
    with watching(many) as ask:
        rows = json.loads(ask("/data.json")[1])["tables"][0]["rows"]
        assert rows[1][0] == {"text": "0001", "link": "0001/"}
        assert json.loads(ask("/0001/data.json")[1])["title"] == "Ar32"
        assert ask("/0002/data.json")[0] == 404


def test_a_training(train_toml, tmp_path, browse):
    train(load_train_config(train_toml(epochs=2, training="members = 2")))
    (tmp_path / "out" / "member-2" / "summary.json").unlink()
    with watching(tmp_path / "out") as ask, only_writer(tmp_path / "out" / "member-2"):
        data = json.loads(ask("/data.json")[1])
        assert data["progress"]["text"] == "running: epoch 2 of 2"
        assert [row[1] for row in data["tables"][0]["rows"]] == [
            "finished after epoch 2: all 2 epochs are done", "running: epoch 2 of 2",
        ]  # fmt: skip
        assert json.loads(ask("/member-2/data.json")[1])["plots"][0]["title"] == "force errors"
        assert 'plots, no viewer"' in browse(f"http://127.0.0.1:{ask.port}/member-2/", seconds=3)


def test_what_is_neither(tmp_path):
    with pytest.raises(InputError, match="no run of fastequi"):
        Live(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        Live(tmp_path / "none")


def test_a_port_that_is_taken(run):
    with watching(run) as ask, pytest.raises(InputError, match=r"--port takes another one"):
        make_server(Live(run), "127.0.0.1", ask.port)


def test_ctrl_c_ends_it(run, spawn):
    process = spawn("watch", run, "--port", "0")
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
