"""Finding, fetching and reading files of data, with a real server."""

import gzip
import hashlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import build_opener

import pytest

from dlrun.data import files, packed
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.files import SAMPLES, fetch, locate, locate_file, settings_read_back
from dlrun.data.images.folder import labelled_images
from dlrun.data.kinds import read_inputs
from dlrun.data.text_files import read_text
from dlrun.errors import ConfigError

CONTENT = b"sepal,petal\n5.1,1.4\n"
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """The address of a server that counts what it was asked for and answers with CONTENT, or with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            time.sleep(0.2 if self.path == "/slow" else 0)
            self.send_response(404 if self.path == "/missing" else 200)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    monkeypatch.setattr(files, "_OPENER", build_opener())  # this server has no certificate
    asked = []
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.asked = asked
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def address(server, path="/data.csv"):
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_a_missing_file_of_a_named_data_set_is_fetched_once(server, tmp_path, capsys):
    for _ in range(2):
        found = fetch(str(tmp_path), "tabular/data.csv", url=address(server), md5=MD5)
        assert found == tmp_path / "tabular/data.csv"
        assert found.read_bytes() == CONTENT
    assert server.asked == ["/data.csv"]
    assert "downloading" in capsys.readouterr().out


def test_several_that_miss_a_file_at_the_same_moment_fetch_it_once(server, tmp_path, capsys):
    arguments = {"url": address(server, "/slow"), "md5": MD5}
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(fetch, str(tmp_path), "data.csv", **arguments) for _ in range(4)]
    assert {one.result().read_bytes() for one in found} == {CONTENT}
    assert server.asked == ["/slow"]
    said = capsys.readouterr()
    assert said.out.count("downloading") == 1
    assert f"another process downloads {tmp_path / 'data.csv'}: waiting" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_what_arrives_with_another_checksum_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(ConfigError, match="what arrived has the checksum") as caught:
        fetch(str(tmp_path), "tabular/data.csv", url=address(server), md5="0" * 32)
    assert "tabular/data.csv" in str(caught.value) and "DLRUN_DATA" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["/missing", None])
def test_without_the_file_or_a_network_one_line_says_what_to_put_where(server, tmp_path, path):
    url = address(server, path) if path else "http://127.0.0.1:9/data.csv"
    with pytest.raises(ConfigError) as caught:
        fetch(str(tmp_path), "data.csv", url=url, md5=MD5)
    message = str(caught.value)
    assert message.startswith(f"dataset.root is {tmp_path}, which does not hold data.csv")
    assert "put the file there" in message and "\n" not in message


@pytest.mark.parametrize(
    "scheme", ["http://127.0.0.1:9", "file:///etc/passwd", "ftp://127.0.0.1", "data:,x"]
)
def test_only_https_is_opened(scheme, tmp_path):
    with pytest.raises(ConfigError, match="unknown url type"):
        fetch(str(tmp_path), "data.csv", url=scheme, md5=MD5)


@pytest.mark.parametrize("name", ["../data.csv", "a/../../data.csv", "/tmp/data.csv"])
def test_a_file_of_a_data_set_does_not_leave_its_folder(server, tmp_path, name):
    with pytest.raises(ConfigError, match=r"no file below dataset\.root"):
        fetch(str(tmp_path / "root"), name, url=address(server), md5=MD5)
    assert not server.asked and not list(tmp_path.rglob("*"))


def test_with_settings_read_back_only_the_users_own_folder_is_filled(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "own"))
    with settings_read_back():
        with pytest.raises(
            ConfigError, match=r"which does not hold data\.csv, and nothing is downloaded"
        ):
            fetch(str(tmp_path / "theirs"), "data.csv", url=address(server), md5=MD5)
        assert not server.asked
        assert fetch(str(tmp_path / "own"), "data.csv", url=address(server), md5=MD5).is_file()
    assert fetch(str(tmp_path / "theirs"), "data.csv", url=address(server), md5=MD5).is_file()


def test_a_path_is_from_the_working_folder_and_packaged_ones_ship(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("a")
    assert locate("dataset.path", "mine.csv").read_text() == "a"
    assert locate("dataset.path", "packaged:shakespeare.txt.gz").parent == SAMPLES


def test_a_wrong_path_answers_with_the_nearest_name(tmp_path):
    (tmp_path / "prices.csv").write_text("a")
    with pytest.raises(ConfigError, match=r"does not exist; did you mean prices\.csv\?$"):
        locate("dataset.path", str(tmp_path / "price.csv"))
    with pytest.raises(ConfigError, match=r"dataset\.path is empty"):
        locate("dataset.path", " ")


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks_are_no_part_of_a_text(tmp_path, ends):
    file = tmp_path / "a.txt"
    file.write_bytes(f"\ufeffä{ends}b".encode())
    assert read_text(file, "utf-8") == "ä\nb"


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_byte_order_mark_of_another_encoding_is_named(tmp_path, order):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffab".encode(f"utf-16-{order}"))
    assert read_text(file, "utf-16") == "ab"
    for encoding in ("utf-8", "latin-1"):
        with pytest.raises(
            ConfigError, match=r"of utf-16, but is read as .*; set dataset\.encoding=utf-16"
        ):
            read_text(file, encoding)


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device"])
def test_what_is_neither_file_nor_folder_is_refused_and_not_waited_for(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    path = Path("thing.csv")
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    else:
        path.symlink_to(os.devnull)
    with pytest.raises(ConfigError, match=rf"^dataset\.path is thing\.csv, {kind}; give a file"):
        locate("dataset.path", "thing.csv")
    spec, scaling = Spec("regression", "features", (2,), 1), Scaling([0, 0], [1, 1], [0], [1], 0)
    with pytest.raises(ConfigError, match=rf"^thing\.csv is not a file, but {kind}; give a file$"):
        read_inputs(path, spec, scaling)


def test_a_pipe_among_the_images_of_a_class_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / "1.png")
    with pytest.raises(ConfigError, match=r"a/1\.png is a pipe, and no image; take it away$"):
        labelled_images("dataset.test_path", tmp_path, ("a", "b"))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.path is .*, a folder; give one file"):
        locate_file("dataset.path", str(tmp_path))


def test_a_packed_text_is_unpacked(tmp_path):
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress("é".encode("latin-1")))
    assert read_text(file, "latin-1") == "é"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"one\ntwo\xff", "utf-8", r"line 2, byte 4: 0xff is not utf-8; set dataset\.encoding"),
        (b"", "utf-8", "is empty"),
        (b" \n\n", "utf-8", "is empty"),
        (b"a", "utf-9", r"dataset\.encoding is utf-9, which is not known"),
    ],
)
def test_a_text_that_cannot_be_read_says_where(tmp_path, content, encoding, message):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_text(file, encoding)
    assert "\n" not in str(caught.value)


def test_a_packed_file_that_unfolds_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST", 10_000)
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(gzip.compress(b"1\n" * 5000)))
    assert len(read_text(file, "utf-8")) == 10_000
    file.write_bytes(gzip.compress(b"1\n" * 5001))
    with pytest.raises(ConfigError, match=r"a\.csv\.gz unpacks to more than .*gunzip"):
        read_text(file, "utf-8")
