"""A wheel, installed where there is no repository, fetches, encodes and searches."""

import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from recsys_lib.core import paths

pytestmark = pytest.mark.slow

PROGRAM = """
import numpy as np
import recsys_lib
from recsys_lib.core import paths
from recsys_lib.vectors import quantization, search
assert not paths.IS_CHECKOUT, recsys_lib.__file__
vectors = np.load("out/vectors.npy")
index = search.Index.build(quantization.quantize(vectors, "int8"), vectors)
print(vectors.shape, index.exact_top_k(vectors[:1], 1).ids.tolist())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    # A copy of what git knows: building writes beside the sources.
    source = tmp_path_factory.mktemp("source")
    names = subprocess.run(
        ["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in names.splitlines():
        if name.startswith(("recsys_lib/", "data/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((paths.ROOT / name).read_bytes())
    subprocess.run(command, cwd=source, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_sources_and_tables(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for ending in (
        ".c",
        ".js",
        ".html",
        ".css",
        "tables/assets.toml",
        "tables/claims.csv",
        "measurements/search-bench.json",
        "templates/en/pointwise.txt",
    ):
        assert any(name.endswith(ending) for name in names), ending
    assert not any("cache" in name.split("/") for name in names)


def test_the_wheel_works_in_an_empty_folder(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    # The pinned requirements are those of the tests; the library itself comes from the wheel alone.
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(command, check=True)
    work = tmp_path / "work"
    work.mkdir()
    (work / "titles.txt").write_text("Toy Story\nHeat\nCasino\n", encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    kept["RECSYS_CACHE"] = str(paths.cache_dir())

    def run(*arguments):
        done = subprocess.run(
            [python, *arguments], cwd=work, env=kept, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "wordllama" in run("-m", "recsys_lib", "fetch", "wordllama")
    run("-m", "recsys_lib", "encode", "titles.txt", "out", "--encoder", "wordllama")
    assert run("-c", PROGRAM).strip() == "(3, 256) [[0]]"
