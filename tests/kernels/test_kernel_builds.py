"""All kernels, built in several ways, return the same: compilers, instruction sets, sanitizers, fillings of
memory.

Where there is no compiler these tests are skipped; where there is one, a kernel that does not build fails
them.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys_lib.encoders import native
from recsys_lib.kernels import compiler
from recsys_lib.recommenders import column_neighbours
from recsys_lib.vectors.search import kernel

EXERCISE = Path(__file__).with_name("kernel_exercise.py")
SANITIZE = (
    "-g",
    "-O1",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)

pytestmark = pytest.mark.skipif(compiler.command() is None, reason="no C compiler")


def build(
    folder: Path, extra: tuple[str, ...] = (), sources: Path = compiler.SEARCH_SOURCE.parent
) -> list[Path]:
    """All libraries, compiled for ``$RECSYS_ISA`` by ``$CC`` into ``folder``."""
    libraries = []
    for source, flags in (
        (compiler.SEARCH_SOURCE, kernel.FLAGS),
        (compiler.ENCODER_SOURCE, native.FLAGS),
        (compiler.NEIGHBOURS_SOURCE, column_neighbours.FLAGS),
    ):
        library = folder / f"{source.stem}.so"
        compiler.compile_to(library, sources / source.name, (*flags, *compiler.isa_flags(), *extra))
        libraries.append(library)
    return libraries


def exercise(libraries: Sequence[Path | str], out: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(EXERCISE), *map(str, libraries), str(out)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )


def results(folder: Path, libraries: list[Path], **environment: str) -> dict[str, np.ndarray]:
    run = exercise(libraries, folder / "out.npz", **environment)
    assert run.returncode == 0, run.stderr[-3000:]
    with np.load(folder / "out.npz") as found:
        return dict(found)


@pytest.fixture(scope="module")
def native_build(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def native_results(native_build, tmp_path_factory):
    return results(tmp_path_factory.mktemp("results"), native_build)


def assert_agree(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Exact search and neighbours to the last bit; encoder vectors within what one activation on the next
    code can do.
    """
    assert found.keys() == expected.keys()
    for name, vectors in expected.items():
        if " exact_" in name or name.startswith("neighbours"):
            assert np.array_equal(found[name], vectors), name
        elif name.endswith("near_scores"):
            assert np.allclose(found[name], vectors, atol=1e-5), name
        elif name.startswith("encoder"):
            distance = 1 - np.sum(found[name] * vectors, axis=1) / (
                np.linalg.norm(found[name], axis=1) * np.linalg.norm(vectors, axis=1)
            )
            assert distance.max(initial=0) <= (1e-5 if "float32" in name else 1e-3), name


def test_all_kernels_load():
    for module in (kernel, native, column_neighbours):
        assert module.load() is not None


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["avx512", "avxvnni", "avx2", "portable"])
def test_every_instruction_set_gives_the_same(native_results, isa, tmp_path, monkeypatch):
    if isa not in compiler.instruction_sets():
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("RECSYS_ISA", isa)
    assert_agree(results(tmp_path, build(tmp_path)), native_results)


@pytest.mark.slow
def test_clang_gives_the_same(native_results, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "clang")
    if compiler.command() is None and "CI" not in os.environ:
        pytest.skip("no clang")
    assert_agree(results(tmp_path, build(tmp_path)), native_results)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc fills memory")
@pytest.mark.parametrize("filling", ["128", "255"])
def test_what_memory_held_before_changes_nothing(native_build, native_results, filling, tmp_path):
    """``MALLOC_PERTURB_`` fills what is allocated and freed: 128 with 0x7f7f7f7f (3.4e38, products overflow)
    and 0x80.
    """
    found = results(tmp_path, native_build, MALLOC_PERTURB_=filling)
    for name, expected in native_results.items():
        assert np.array_equal(found[name], expected), name


def preload() -> dict[str, str]:
    """The environment in which a library built with ``SANITIZE`` can be loaded by Python."""
    command = [*(compiler.command() or []), "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        if "CI" in os.environ:
            pytest.fail("the compiler has no AddressSanitizer")
        pytest.skip("the compiler has no AddressSanitizer")
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are preloaded on Linux")
@pytest.mark.parametrize("isa", ["native", "avx2", "portable"])
def test_sanitizers_find_nothing(isa, tmp_path, monkeypatch):
    if isa not in compiler.instruction_sets():
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("RECSYS_ISA", isa)
    run = exercise(build(tmp_path, SANITIZE), tmp_path / "out.npz", **preload())
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are preloaded on Linux")
def test_sanitizers_find_a_planted_fault(tmp_path):
    """Without the check of ids, the row after the table's last is read."""
    guard, planted = "b->ids[t] >= m->n_words", 0
    for source in compiler.ENCODER_SOURCE.parent.glob("*.[ch]"):
        text = source.read_text(encoding="utf-8")
        planted += text.count(guard)
        (tmp_path / source.name).write_text(text.replace(guard, "0"), encoding="utf-8")
    assert planted == 1, "the check of ids stands elsewhere now"
    _, encoder, _ = build(tmp_path, SANITIZE, sources=tmp_path)
    run = exercise(["none", encoder, "none"], tmp_path / "out.npz", **preload())
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr
