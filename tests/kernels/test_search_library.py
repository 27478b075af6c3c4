"""The compiled search kernel: absent without a compiler, nothing left by a compilation that fails, and the
same structures in Python and in C.
"""

import numpy as np
import pytest

from recsys_lib.kernels import compiler
from recsys_lib.vectors import quantization, search
from recsys_lib.vectors.search import kernel

ITEMS = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
CODES = quantization.quantize(ITEMS, "int8")


def test_without_a_compiler_there_is_no_kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    kernel.load.cache_clear()
    try:
        assert kernel.load() is None
        assert search.Index.build(CODES, ITEMS).form is None
    finally:
        kernel.load.cache_clear()


def test_a_compilation_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(Exception, match="exit status"):
        compiler.compile_to(tmp_path / "scan.so", compiler.SEARCH_SOURCE, (*kernel.FLAGS, "-no-such-flag"))
    assert not list(tmp_path.iterdir())


def test_the_arrays_of_python_and_c_agree():
    """One field too many or in another order would read another array."""
    files = sorted(compiler.SEARCH_SOURCE.parent.glob("search*.[ch]"))
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    for name in ("Scan", "Found", "Tables", "Ranking", "Nearest", "Rescore"):
        body = source[: source.index(f"}} {name};")].rpartition("typedef struct {")[2]
        lines = [line.partition("/*")[0].strip() for line in body.splitlines()]
        declared = [
            part.split()[-1].lstrip("*")
            for line in lines
            for part in line.rstrip(";").split(",")
            if part.strip()
        ]
        assert declared == [field for field, _ in getattr(kernel, name)._fields_]
