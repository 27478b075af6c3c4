"""Assets arrive whole or not at all: a local package index plays every accident through the real pip."""

import dataclasses
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data import assets
from recsys_lib.data.assets import download

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENT = {
    "toy/data/a.txt": b"alpha" * 1000,
    "toy/data/sub/b.txt": "Ünïcode 中".encode(),
    "toy/secret.py": b"boom",
}


def member(path, content=CONTENT, name=""):
    """The row of the table for one file of a toy wheel."""
    data = content[f"toy/data/{path}"]
    return assets.Member(path, len(data), hashlib.sha256(data).hexdigest(), name)


def make_wheel(folder, content=CONTENT):
    """A minimal wheel with a few files; returns its path."""
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return path


class Index(http.server.BaseHTTPRequestHandler):
    """A simple package index of one wheel; ``stall`` sends half of it and waits. ``downloads`` counts."""

    wheel: Path
    stall = False
    slow_s = 0.0
    downloads: list[str]

    def do_GET(self):
        if self.path.endswith(".whl"):
            self.downloads.append(self.path)
            time.sleep(self.slow_s)
            data = self.wheel.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.stall:
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                time.sleep(20)
            else:
                self.wfile.write(data)
            return
        body = f'<!doctype html><a href="/files/{self.wheel.name}">{self.wheel.name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The asset ``toy`` in a table of its own, an index that serves it, and an empty cache."""
    wheel = make_wheel(tmp_path)
    handler = type("Handler", (Index,), {"wheel": wheel, "downloads": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    row = assets.Asset(
        name="toy", kind="data", about="", package="toy", version="1.0", root="toy/data", licence="none",
        citation="",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), bytes=wheel.stat().st_size, source="",
        members=(member("a.txt"), member("sub/b.txt", name="b.txt")),
    )  # fmt: skip
    table = {"toy": row}
    monkeypatch.setattr(assets, "table", lambda: table)
    yield table, handler
    server.shutdown()


def whole_folders():
    folder = assets.cache_dir() / "assets"
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.exists() else []


def test_fetch_unpacks_only_what_is_named(toy):
    folder = assets.fetch(["toy"], progress=False)["toy"]
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == ["a.txt", "b.txt", "manifest.json"]
    assert (folder / "b.txt").read_text(encoding="utf-8") == "Ünïcode 中"
    assert assets.locate("toy") == folder
    assert whole_folders() == ["toy"]


def test_a_second_fetch_downloads_nothing(toy, monkeypatch):
    assets.fetch(["toy"], progress=False)
    monkeypatch.setattr(download, "_download", lambda *a: pytest.fail("downloaded again"))
    assets.fetch(["toy"], progress=False)


def parts_of(row):
    """The toy asset as one file in two pieces, both in the one wheel that the toy index has."""
    pieces = [member("a.txt"), member("sub/b.txt")]
    whole = CONTENT["toy/data/a.txt"] + CONTENT["toy/data/sub/b.txt"]
    digest = hashlib.sha256(whole).hexdigest()
    parts = tuple(
        assets.Part("toy", row.sha256, row.bytes, f"toy/data/{p.path}", p.bytes, p.sha256) for p in pieces
    )
    joined = assets.Member("whole.bin", len(whole), digest)
    return dataclasses.replace(row, parts=parts, members=(joined,), sha256=digest, bytes=2 * row.bytes), whole


def test_parts_are_joined_in_order(toy):
    table, handler = toy
    table["toy"], whole = parts_of(table["toy"])
    folder = assets.fetch(["toy"], progress=False)["toy"]
    assert (folder / "whole.bin").read_bytes() == whole
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "whole.bin"]
    assert assets.locate("toy") and len(handler.downloads) == 2


def test_parts_in_another_order_keep_nothing(toy):
    table, _ = toy
    row, _ = parts_of(table["toy"])
    table["toy"] = dataclasses.replace(row, parts=row.parts[::-1])
    with pytest.raises(InputError, match="the joined file has another hash"):
        assets.fetch(["toy"], progress=False)
    assert whole_folders() == []


def test_optional_assets_come_by_name_only(toy):
    table, _ = toy
    table["more"] = dataclasses.replace(table["toy"], name="more", optional=True)
    assert list(assets.fetch(progress=False)) == ["toy"] and whole_folders() == ["toy"]
    assets.fetch(["more"], progress=False)
    assert whole_folders() == ["more", "toy"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "manifest"])
def test_damage_is_noticed_and_mended(toy, damage):
    folder = assets.fetch(["toy"], progress=False)["toy"]
    path = folder / "a.txt"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:10])
    elif damage == "changed":
        path.write_bytes(b"omega" * 1000)
    elif damage == "removed":
        path.unlink()
    else:
        (folder / "manifest.json").write_text("{")
    if damage != "changed":  # locate looks at sizes only
        with pytest.raises(InputError, match="damaged in the cache: run python -m recsys_lib fetch toy"):
            assets.locate("toy")
    assets.fetch(["toy"], progress=False)
    assert path.read_bytes() == CONTENT["toy/data/a.txt"]


def test_a_wrong_hash_keeps_nothing(toy):
    table, _ = toy
    table["toy"] = dataclasses.replace(table["toy"], sha256="0" * 64)
    with pytest.raises(
        InputError, match=r"does not match its pinned hash.*run python -m pip cache purge"
    ) as caught:
        assets.fetch(["toy"], progress=False)
    assert "\n" not in str(caught.value)
    assert whole_folders() == []


@pytest.mark.parametrize("path", ["../../evil.txt", "/etc/evil.txt", "sub/../../../evil.txt", "..\\evil.txt"])
def test_a_member_that_leads_out_is_refused(toy, tmp_path, path):
    table, _ = toy
    content = {f"toy/data/{path}": b"evil"}
    evil = make_wheel(tmp_path, content)
    row = dataclasses.replace(table["toy"], members=(member(path, content),))
    with pytest.raises(InputError, match="leads out of the asset's folder"):
        download.unpack(row, evil, tmp_path / "cache" / "out")
    assert not list(tmp_path.rglob("evil.txt"))
    row = dataclasses.replace(table["toy"], members=(member("a.txt", name=path),))
    with pytest.raises(InputError, match="leads out of the asset's folder"):
        download.unpack(row, make_wheel(tmp_path), tmp_path / "cache" / "out")


def test_a_member_that_is_not_the_pinned_one_is_refused(toy):
    table, _ = toy
    original = table["toy"]
    for change in ({"bytes": 4}, {"sha256": "0" * 64}):
        other = dataclasses.replace(original.members[0], **change)
        table["toy"] = dataclasses.replace(original, members=(other, original.members[1]))
        with pytest.raises(InputError, match=r"member 'toy/data/a.txt' .* has another size or hash"):
            assets.fetch(["toy"], progress=False)
        assert whole_folders() == []


def test_another_version_of_the_conversion_is_fetched_anew(toy):
    table, handler = toy
    assets.fetch(["toy"], progress=False)
    table["toy"] = dataclasses.replace(table["toy"], conversion=2)
    with pytest.raises(InputError, match="run python -m recsys_lib fetch toy"):
        assets.locate("toy")
    assets.fetch(["toy"], progress=False)
    assert assets.locate("toy") and len(handler.downloads) == 2


def test_a_missing_member_and_a_broken_archive_are_one_line(toy, tmp_path):
    table, _ = toy
    row = dataclasses.replace(table["toy"], members=(assets.Member("none.txt", 1, ""),))
    with pytest.raises(InputError, match="missing or damaged"):
        download.unpack(row, make_wheel(tmp_path), tmp_path / "out")
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"no zip")
    with pytest.raises(InputError, match="is not a wheel"):
        download.unpack(row, broken, tmp_path / "out")


def test_offline_is_one_line_with_the_mending_command(toy, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for retries, reason in (
        ("0", "no package index offered toy 1.0"),
        ("1", r"not reached \(no network\?\); connect"),
    ):
        monkeypatch.setenv("PIP_RETRIES", retries)
        with pytest.raises(InputError, match=rf"{reason}.*run python -m recsys_lib fetch toy again"):
            assets.fetch(["toy"], progress=False)
        assert whole_folders() == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "No module named pip",
            "this Python has no pip: run .* -m ensurepip, then run python -m recsys_lib fetch toy",
        ),
        ("OSError: [Errno 28] No space left on device", "no space left on the disk of the cache folder"),
        ("ERROR: Exception:\nTraceback\nKeyError: 'x'", r"could not download toy 1.0 \(KeyError: 'x'\)"),
        ("noise " * 100_000 + "\nERROR: no luck", r"could not download toy 1.0 \(ERROR: no luck\)"),
    ],
)
def test_what_pip_says_becomes_one_line(toy, tmp_path, monkeypatch, said, message):
    broken = tmp_path / "python"
    broken.write_text(f"#!{sys.executable}\nimport sys\nprint({said!r})\nsys.exit(1)\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(InputError, match=message) as caught:
        assets.fetch(["toy"], progress=False)
    assert "\n" not in str(caught.value)
    assert os.listdir(assets.cache_dir() / "assets") == [".toy.lock"]


def fetch_in_a_process(table):
    """A process that fetches the toy asset, started; its standard error is a pipe."""
    program = (
        "import sys, json; from recsys_lib.data import assets; from recsys_lib.data.assets import download, "
        "Member\n"
        "row = json.loads(sys.argv[1]); members = tuple(Member(**m) for m in row.pop('members'))\n"
        "t = {'toy': assets.Asset(members=members, **row)}\n"
        "assets.table = lambda: t; download.table = assets.table; assets.fetch(['toy'])"
    )
    arguments = [sys.executable, "-c", program, json.dumps(dataclasses.asdict(table["toy"]))]
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts():
    """A shell that starts the tests in the background has them ignore Ctrl-C, and so whatever they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_download(handler):
    end = time.monotonic() + 30
    while not handler.downloads and time.monotonic() < end:
        time.sleep(0.05)
    assert handler.downloads


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interruption_leaves_no_half_asset_and_is_mended(toy, how):
    table, handler = toy
    handler.stall = True
    process = fetch_in_a_process(table)
    folder = assets.cache_dir() / "assets"
    wait_for_download(handler)
    os.killpg(process.pid, how)
    _, error = process.communicate(timeout=30)
    # Ctrl-C cleans up at once, a kill cannot: the next fetch does.
    assert len(list(folder.glob(".toy.part-*"))) == (how == signal.SIGKILL)
    assert ("KeyboardInterrupt" in error) == (how == signal.SIGINT)
    with pytest.raises(InputError, match="not in the cache"):
        assets.locate("toy")
    handler.stall = False
    assets.fetch(["toy"], progress=False)
    assert whole_folders() == ["toy"]


@pytest.mark.slow
def test_two_processes_download_once(toy):
    table, handler = toy
    handler.slow_s = 1.0
    processes = [fetch_in_a_process(table) for _ in range(2)]
    assert [p.communicate(timeout=60)[1] and p.returncode for p in processes] == ["", ""]
    assert [p.returncode for p in processes] == [0, 0]
    assert len(handler.downloads) == 1
    assert whole_folders() == ["toy"]


def test_leftovers_go_though_the_asset_is_whole(toy):
    folder = assets.fetch(["toy"], progress=False)["toy"]
    (folder.parent / ".toy.part-old").mkdir()
    assets.fetch(["toy"], progress=False)
    assert whole_folders() == ["toy"]


def test_a_whole_asset_in_a_read_only_cache_is_enough(toy, monkeypatch):
    folder = assets.fetch(["toy"], progress=False)["toy"]
    monkeypatch.setattr(download, "_lock", lambda name: pytest.fail("wrote to the cache"))
    assert assets.fetch(["toy"], progress=False) == {"toy": folder}


def test_a_failing_conversion_is_one_line_and_keeps_nothing(toy, monkeypatch):
    from safetensors import SafetensorError

    from recsys_lib.data.assets import convert

    def failing(error):
        def convert(folder, name):
            raise error

        return convert

    table, _ = toy
    table["toy"] = dataclasses.replace(table["toy"], convert="e5")
    for error, message in (
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no space left on the disk"),
        (RuntimeError("two\nlines"), r"conversion failed \(RuntimeError: two lines\); run pip install"),
        (OSError("Can't load the configuration"), "conversion failed"),
    ):
        monkeypatch.setattr(convert, "packed_e5", failing(error))
        with pytest.raises(InputError, match=message) as caught:
            assets.fetch(["toy"], progress=False)
        assert "\n" not in str(caught.value)
        assert whole_folders() == []


def test_a_full_disk_and_a_cache_that_cannot_be_written(toy, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(
            download.shutil,
            "copyfileobj",
            lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        with pytest.raises(InputError, match="no space left on the disk"):
            assets.fetch(["toy"], progress=False)
    assert whole_folders() == []
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        with pytest.raises(InputError, match=r"no space left on the disk.*run python -m recsys_lib fetch"):
            assets.fetch(["toy"], progress=False)
    assert toy[1].downloads == ["/files/toy-1.0-py3-none-any.whl"]
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write to the cache folder \(set RECSYS_CACHE"):
        assets.fetch(["toy"], progress=False)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="'minilmm' is unknown: choose from minilm, e5"):
        assets.fetch(["minilmm"])


def test_resolve_model(tmp_path):
    assert Path(assets.resolve_model("minilm")).name == "minilm"
    assert assets.resolve_model("some-org/some-model") == "some-org/some-model"
    (tmp_path / "config.json").write_text("{}")
    assert assets.resolve_model(str(tmp_path)) == str(tmp_path)
    for bad in ("minilmm", "./nowhere", "a/b/c", ""):
        with pytest.raises(InputError, match="expected one of minilm"):
            assets.resolve_model(bad)


def test_make_run_fetches_no_optional_asset():
    optional = {"qwen-coder-0.5b", "qwen-coder-1.5b", "ms-marco"}
    assert optional <= set(assets.table()) and optional.isdisjoint(assets.default_names())


def test_the_table_is_complete():
    for name, a in assets.table().items():
        assert len(a.sha256) == 64, name
        assert a.licence and a.citation and a.source.startswith("http"), name
        assert a.members and not any(m.path.startswith("/") or ".." in m.path for m in a.members), name
        assert all(len(m.sha256) == 64 and m.bytes > 0 for m in a.members), name
        if a.parts:
            assert [a.sha256, a.bytes] == [a.members[0].sha256, sum(p.bytes for p in a.parts)], name
            assert len(a.members) == 1 and a.members[0].bytes == sum(p.member_bytes for p in a.parts), name


def test_fetched_files_are_the_pinned_ones():
    for name in assets.default_names():
        a = assets.asset(name)
        files = json.loads((assets.locate(name) / assets.MANIFEST).read_text(encoding="utf-8"))["files"]
        for m in a.members:
            kept = files.get(m.name or m.path)
            pinned = kept == {"bytes": m.bytes, "sha256": m.sha256}
            # A file that is converted is not kept beside what it became.
            assert pinned or (a.convert in ("e5", "tensors") and kept is None), (name, m.path)
