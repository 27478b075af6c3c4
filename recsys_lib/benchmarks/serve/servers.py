"""Servers in processes of their own, pinned to one core, so that the client has the other."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import ROOT

START_S = 120.0


@contextlib.contextmanager
def pinned() -> Iterator[list[int]]:
    """This process on the last core that it may use; gives the cores that are left for a server.

    On a machine with one core, or where cores cannot be chosen, all share all.
    """
    process = psutil.Process()
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else []
    if len(cores) < 2:
        yield cores
        return
    process.cpu_affinity(cores[-1:])
    try:
        yield cores[:1]
    finally:
        process.cpu_affinity(cores)


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """This process on all cores again, within ``pinned``."""
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        yield
        return
    before = process.cpu_affinity()
    process.cpu_affinity(list(range(psutil.cpu_count() or 1)))
    try:
        yield
    finally:
        process.cpu_affinity(before)


class Running:
    """A server that prints its port; ended with the block."""

    def __init__(self, arguments: list[str], cores: list[int], **environment: str):
        variables = {**os.environ, **environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        variables["PYTHONPATH"] = str(ROOT)
        # As wherever a server is restarted, Python finds the bytecode of its first start.
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=variables,
        )  # fmt: skip
        if cores:
            psutil.Process(self.process.pid).cpu_affinity(cores)
        assert self.process.stdout is not None
        line = next((one for one in self.process.stdout if "http://" in one), "")
        if not line:
            assert self.process.stderr is not None
            raise InputError(f"{arguments[0]}: did not start ({self.process.stderr.read()[-300:]})")
        self.port = int(line.split("http://")[1].split(",")[0].rsplit(":", 1)[1])

    def wait(self, path: str, method: str = "GET", body: bytes | None = None) -> float:
        """Seconds from the start until ``path`` is answered with 2xx."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request(method, path, body, {"Content-Type": "application/json"})
                if connection.getresponse().status < 300:
                    return time.perf_counter() - self.started
            if time.perf_counter() - self.started > START_S:
                raise InputError(f"the server on port {self.port} does not answer")
            time.sleep(0.005)

    def cpu_s(self) -> float:
        """Processor seconds that the server and its workers have used."""
        own = psutil.Process(self.process.pid)
        used = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return sum(times.user + times.system for times in used)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        # Workers live a moment longer than a killed parent, and would keep its pipes open.
        for worker in psutil.Process(self.process.pid).children(recursive=True):
            worker.kill()
        self.process.kill()
        self.process.communicate()


def ours(store: Path, cores: list[int], *options: str) -> Running:
    """Our service on one process."""
    return Running(["recsys_lib", "serve", str(store), "--port", "0", *options], cores)


def baseline(name: str, cores: list[int]) -> Running:
    """The baseline ``factors`` or ``texts``."""
    return Running(["recsys_lib.benchmarks.serve.baseline"], cores, RECSYS_BASELINE=name)
