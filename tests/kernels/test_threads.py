"""The pool of threads that both kernels share: all work is done once, threads stay, forks begin anew."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recsys_lib.kernels import compiler

pytestmark = pytest.mark.skipif(compiler.command() is None, reason="no C compiler")

# Adds 1 to every of n numbers, 0.1 ms each; -1 is a part that failed.
SOURCE = """
#define _GNU_SOURCE
#include "threads.h"
#include <stdatomic.h>
#include <unistd.h>
typedef struct { atomic_long *next; int64_t n; int32_t *out; int64_t wrong; } Task;
static int work(const void *argument, void *nothing) {
  const Task *task = argument;
  (void)nothing;
  for (int64_t i; (i = atomic_fetch_add(task->next, 1)) < task->n;) {
    if (i == task->wrong) return 7;
    usleep(100);
    task->out[i]++;
  }
  return 0;
}
int add(int32_t *out, int64_t n, int64_t threads, int64_t wrong) {
  atomic_long next = 0;
  Task task = {&next, n, out, wrong};
  return in_parallel(&task, NULL, 0, threads, work);
}
int threads_started(void) { return pool.started; }
"""
KERNELS = Path(compiler.__file__).parent


def load(path):
    library = ctypes.CDLL(str(path))
    library.add.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3]
    return library


def add(library, n=50, threads=4, wrong=-1):
    out = (ctypes.c_int32 * n)()
    code = library.add(out, n, threads, wrong)
    return code, list(out)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    (folder / "pool.c").write_text(SOURCE)
    flags = ("-O1", "-std=c11", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror", f"-I{KERNELS}")
    compiler.compile_to(folder / "pool.so", folder / "pool.c", flags)
    return folder / "pool.so"


def test_threads_stay_for_the_next_call(path):
    library = load(path)
    assert library.threads_started() == 0
    for _ in range(20):
        assert add(library) == (0, [1] * 50)
    assert 1 <= library.threads_started() <= 3
    assert add(library, threads=10**6) == (0, [1] * 50)
    assert library.threads_started() <= 64


def test_a_part_that_fails_is_told(path):
    assert add(load(path), wrong=20)[0] == 7


def test_several_callers_at_once(path):
    library, found = load(path), []
    callers = [
        threading.Thread(target=lambda: found.extend(add(library) for _ in range(20))) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert found == [(0, [1] * 50)] * 160


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_begins_with_an_empty_pool_and_a_process_ends_while_others_sleep(path):
    code = (
        "import os, sys, threading; sys.path.insert(0, sys.argv[2]); import test_threads as t; "
        "library = t.load(sys.argv[1]); t.add(library); "
        "busy = threading.Thread(target=lambda: [t.add(library) for _ in range(30)]); busy.start(); "
        "children = []\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(library.threads_started() * 10 + (t.add(library) != (0, [1] * 50)))\n"
        "    children.append(child)\n"
        "assert [os.waitpid(child, 0)[1] for child in children] == [0] * 10\n"
        "busy.join(); assert t.add(library) == (0, [1] * 50)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
