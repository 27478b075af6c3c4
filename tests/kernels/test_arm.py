"""Kernels for ARM, cross-compiled and run under qemu: what is whole numbers, bit for bit as in portable C.

Skipped without ``aarch64-linux-gnu-gcc`` and ``qemu-aarch64``, which ``.ci/run`` installs.
"""

import ctypes
import shutil
import subprocess

import emulated
import kernel_exercise
import numpy as np
import pytest

from recsys_lib.encoders.native import FLAGS
from recsys_lib.kernels import compiler
from recsys_lib.recommenders import column_neighbours
from recsys_lib.vectors.search import kernel, query

CROSS, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CROSS and EMULATOR and compiler.command()), reason="no cross-compiler or no qemu"
    ),
]

EMULATE = (EMULATOR, "-cpu", "max", "-L", "/usr/aarch64-linux-gnu")
NOT_OF_PROGRAMS = ("-shared", "-fPIC")

# Products of 37 rows of 100 numbers with 64 columns in every precision; some codes are the largest.
SOURCE = """
#define _GNU_SOURCE
#include "encoder_attention.h"
#include "encoder_products.h"
#include "encoder_rows.h"
#include <stdio.h>
enum { M = 37, N = 64, K = 100 };
static uint32_t state = 1;
static uint32_t draw(void) { return state = state * 1664525u + 1013904223u; }
int main(void) {
  static uint8_t a[(M + SPARE) * 448], w[N * 448];
  static float step[M], min[M], scale[N], shift[N], bias[N], out[M * N];
  for (int i = 0; i < M; i++) step[i] = 1, min[i] = 0;
  for (int i = 0; i < N; i++) scale[i] = 1, shift[i] = 0, bias[i] = 0;
  for (int precision = 0; precision < 3; precision++) {
    for (size_t i = 0; i < sizeof a; i++) a[i] = draw() >> 24 > 40 ? draw() >> 24 : 255;
    for (size_t i = 0; i < sizeof w; i++) w[i] = draw() >> 24 > 40 ? draw() >> 24 : 127;
    if (precision == FLOAT32)
      for (size_t i = 0; i < sizeof a / 4; i++) ((float *)a)[i] = (int32_t)draw() * 1e-9f;
    if (precision == FLOAT32)
      for (size_t i = 0; i < sizeof w / 4; i++) ((float *)w)[i] = (int32_t)draw() * 1e-9f;
    if (precision == BFLOAT16) // numbers of about 1
      for (size_t i = 0; i < sizeof a / 2; i++) ((uint16_t *)a)[i] = 0x3f00 | (draw() >> 16 & 0x80ff);
    if (precision == BFLOAT16)
      for (size_t i = 0; i < sizeof w / 2; i++) ((uint16_t *)w)[i] = 0x3f00 | (draw() >> 16 & 0x80ff);
    Linear linear = {N, K, w, scale, shift, bias};
    int coded = precision == INT8;
    product(precision, 0, a, M, coded ? step : NULL, coded ? min : NULL, &linear, out);
    fwrite(out, 1, sizeof out, stdout);
  }
  (void)attend, (void)gelu, (void)add_and_norm, (void)code_row, (void)in_parallel;
  return 0;
}
"""


def products(command, run, folder, name):
    """The outputs of a program, float32 ``[3, 37 * 64]``: float32, bfloat16, int8."""
    (folder / "products.c").write_text(SOURCE)
    flags = [flag for flag in FLAGS if flag not in NOT_OF_PROGRAMS]
    program = folder / name
    source = folder / "products.c"
    headers = f"-I{compiler.ENCODER_SOURCE.parent}"
    subprocess.run([*command, *flags, headers, "-o", program, source, "-lm"], check=True, timeout=120)
    found = subprocess.run([*run, program], check=True, capture_output=True, timeout=120).stdout
    return np.frombuffer(found, dtype=np.float32).reshape(3, -1)


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    command = [*(compiler.command() or []), "-DPORTABLE"]
    return products(command, [], tmp_path_factory.mktemp("portable"), "portable")


@pytest.mark.parametrize("isa", list(compiler._ARM_ISAS))
def test_products_on_arm(isa, portable, tmp_path):
    flags, _ = compiler._ARM_ISAS[isa]
    found = products([CROSS, *flags], EMULATE, tmp_path, isa)
    assert np.abs(portable).min(axis=1).max() > 0
    assert np.array_equal(found[2], portable[2])
    # Floats are added in another order, and bfloat16's instruction rounds in its own way: 100 products of
    # numbers of about 1.
    np.testing.assert_allclose(found[0], portable[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[1], portable[1], rtol=0, atol=1e-3)


# ---------------------------------------------------------------- search


# Few and small: each call sends all its arrays to the emulator and back.
CASES = [kernel_exercise.CASES[i] for i in (1, 2, 3, 5)]


def searches(library):
    """What the binding finds with ``library``, by name."""
    with pytest.MonkeyPatch.context() as patch:
        emulated.put_in_place(library, kernel, patch)
        patch.setattr(kernel, "threads", lambda: 3)
        patch.setattr(query, "BLOCK_BYTES", 2**16)
        return {
            f"{scheme} {case} {name}": found
            for scheme in kernel_exercise.SCHEMES
            for case in CASES
            for name, found in kernel_exercise.search_case(scheme, *case).items()
        }


def neighbours(library):
    with pytest.MonkeyPatch.context() as patch:
        emulated.put_in_place(library, column_neighbours, patch)
        patch.setattr(column_neighbours, "_threads", lambda n: 3)
        return dict(kernel_exercise.neighbour_cases())


@pytest.fixture(scope="module")
def portable_results(tmp_path_factory):
    """Of searches and of neighbours, in portable C."""
    folder = tmp_path_factory.mktemp("portable")
    for source, flags in (
        (compiler.SEARCH_SOURCE, kernel.FLAGS),
        (compiler.NEIGHBOURS_SOURCE, column_neighbours.FLAGS),
    ):
        compiler.compile_to(folder / f"{source.stem}.so", source, (*flags, "-DPORTABLE"))
    search, near = (ctypes.CDLL(str(folder / f"{name}.so")) for name in ("search", "neighbours"))
    assert search.max_code() == 0
    return searches(search), neighbours(near)


# These kernels have no i8mm instruction.
@pytest.fixture(params=["dotprod", "portable"])
def arm(request, tmp_path):
    """Both kernels for one of ARM's instruction sets, emulated."""
    source, program = tmp_path / "emulated.c", tmp_path / "emulated"
    source.write_text(emulated.SOURCE)
    flags = [flag for flag in column_neighbours.FLAGS if flag not in NOT_OF_PROGRAMS]
    flags += ["-O1", *compiler._ARM_ISAS[request.param][0], "-Wall", f"-I{compiler.SEARCH_SOURCE.parent}"]
    subprocess.run([CROSS, *flags, "-o", program, source, "-lm"], check=True, timeout=120)
    library = emulated.Emulated([*EMULATE, program])
    yield library
    library.close()


def test_search_and_neighbours_on_arm(arm, portable_results):
    """Ids and scores of exact search, of codes that are whole numbers, and of neighbours: to the last bit."""
    assert kernel.INSTRUCTIONS[arm.instructions()] == "NEON"
    assert (arm.max_code(), arm.matrix_units()) == (127, 0)
    expected, expected_neighbours = portable_results
    found = searches(arm)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        floats = name.startswith(("float", "bfloat"))
        if floats and name.endswith("near_scores"):  # added in another order
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5, err_msg=name)
        elif not (floats and name.endswith("near_ids")):
            assert np.array_equal(found[name], array), name
    for name, weights in neighbours(arm).items():
        assert np.array_equal(weights, expected_neighbours[name]), name
