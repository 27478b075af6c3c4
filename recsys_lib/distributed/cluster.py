"""A Ray cluster for the time of one task: started on this machine, or found at an address, and always left.

A local cluster writes nothing to the home folder, sends no usage statistics, listens on this machine only and
to holders of its token, and its object store is bounded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError

# Bytes of the object store. Texts and vectors go through files, so only results of a few kB pass through it.
STORE_BYTES = 128 * 2**20
# Bytes of Ray's own processes, and of one idle worker with this library and torch; measured, rounded up.
SYSTEM_BYTES, WORKER_BYTES = 600 * 2**20, 350 * 2**20
INSTALL = "python -m pip install 'recsys_lib[distributed]'"
# Of this process: Ray reads it once.
TOKEN = secrets.token_hex(32)
# Seconds to wait for the first answer of a cluster's address.
CONNECT_S = 5.0
# Ray gives up after 30 s, which a busy machine may take.
ATTEMPTS = 3
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Otherwise a node gives up when its agent takes 15 s to start, as it does on a busy machine.
    "RAY_agent_register_timeout_ms": "100000",
}


def ray_module() -> Any:
    """The package ``ray``.

    Raises:
        InputError: it is not installed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise InputError(f"engine 'ray': package ray is not installed; run {INSTALL}") from error
    return ray


def check_address(address: str) -> None:
    """Refuse an address that is none, or at which nothing answers, before Ray waits a minute for it.

    ``address``: ``host:port`` of the head node (Ray's default port is 6379), or ``ray://host:port`` for its
    client server.

    Raises:
        InputError: another form, an unknown host, or nobody who listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"address {address!r}: expected host:port of a Ray head node, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"address {address!r}: no Ray cluster answers there ({reason}); start one with ray start --head"
        ) from error


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int = 0, store_bytes: int = STORE_BYTES) -> Iterator[int]:
    """Connect to a Ray cluster inside ``with``; yields how many cores it has.

    Without ``address`` it is started on this machine with ``workers`` cores (0: all) and ended with the
    block, whatever ended it; inside another ``cluster`` that one is used and stays.

    Raises:
        InputError: Ray is not installed, a wrong address, too little memory, or a cluster that did not start.
    """
    ray = ray_module()
    if ray.is_initialized():
        yield int(ray.cluster_resources().get("CPU", 0))
        return
    options: dict[str, Any] = {"logging_level": "FATAL", "log_to_driver": False, "configure_logging": False}
    with contextlib.ExitStack() as stack:
        if address is not None:
            check_address(address)
            options |= {"address": address}
        else:
            options |= stack.enter_context(_local(workers, store_bytes))
        stack.callback(ray.shutdown)
        stack.enter_context(_silent_deaths())
        _start(ray, options, f"address {address!r}" if address else "a local Ray cluster")
        yield int(ray.cluster_resources().get("CPU", 0))


def _start(ray: Any, options: dict[str, Any], what: str) -> None:
    """``ray.init``, again where a busy machine took longer than Ray waits.

    Raises:
        InputError: it did not start.
    """
    attempts = 1 if options["address"] != "local" else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            with _silent_start():
                ray.init(**options)
            return
        except Exception as error:  # Ray raises plain ones, too
            ray.shutdown()
            if attempt == attempts:
                raise InputError(f"{what}: did not start ({_first_line(error)})") from error


@contextlib.contextmanager
def _local(workers: int, store_bytes: int) -> Iterator[dict[str, Any]]:
    """Options of a cluster on this machine, with a folder of its own that is removed afterwards."""
    workers = workers or os.cpu_count() or 1
    memory.require(
        SYSTEM_BYTES + workers * WORKER_BYTES + store_bytes,
        f"a local Ray cluster of {workers} workers",
        "give fewer --workers, or leave --engine ray out",
    )
    # Paths of Unix sockets hold at most 107 bytes, so the folder lies directly in the temporary one.
    base = tempfile.gettempdir() if len(tempfile.gettempdir()) < 26 else "/tmp"
    own_base = tempfile.mkdtemp(prefix="rl-", dir=base)
    folder = os.path.join(own_base, "ray")
    os.mkdir(folder)
    # Ray writes the newest cluster's address below RAY_TMPDIR, whose folder ``ray`` nobody else makes.
    own = {"RAY_TMPDIR": own_base}
    # A token of its own keeps other users of this machine out, and spares Ray a file in the home folder.
    if "RAY_AUTH_MODE" not in os.environ:
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    before = {name: os.environ.get(name) for name in own}
    _set_environment(own)
    try:
        yield {
            "address": "local",
            "num_cpus": workers,
            "object_store_memory": store_bytes,
            "include_dashboard": False,
            "_temp_dir": folder,
            "_node_ip_address": "127.0.0.1",
        }
    finally:
        _set_environment(before)
        shutil.rmtree(own_base, ignore_errors=True)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    """Set or remove variables, and have Ray read its settings again."""
    from ray._raylet import Config  # type: ignore[attr-defined]

    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    Config.initialize("")


@contextlib.contextmanager
def _silent_deaths() -> Iterator[None]:
    """Ray says on stdout, amid the results, that a worker died and is replaced; here it does not."""
    from ray._private import worker

    said = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *arguments, **options: None
    try:
        yield
    finally:
        worker.print_to_stdstream = said


@contextlib.contextmanager
def _silent_start() -> Iterator[None]:
    """What Ray's processes write to stderr while they start goes nowhere, and its loggers keep to errors;
    failures are exceptions.
    """
    for name in ("ray", "ray.data", "ray.train", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def errors_in_one_line(what: str) -> Iterator[None]:
    """Turn what Ray raises of its workers inside into what they raised, or into one line.

    Raises:
        InputError: a worker raised it, or workers died more often than they are replaced.
    """
    ray = ray_module()
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise InputError(
            f"{what}: the workers died ({_first_line(error)}); give fewer --workers, or more memory"
        ) from error


@contextlib.contextmanager
def several_nodes(nodes: int = 2, cores: int = 1, store_bytes: int = 80 * 2**20) -> Iterator[str]:
    """Ray nodes of ``cores`` cores each, all on this machine, in place of machines; yields the address of
    the first. Each has its own scheduler and object store, as machines have; disk and network are shared.

    Raises:
        InputError: as ``cluster``.
    """
    ray_module()
    from ray.cluster_utils import Cluster

    with contextlib.ExitStack() as stack:
        options = stack.enter_context(_local(nodes * cores, nodes * store_bytes))
        node: dict[str, Any] = {
            "num_cpus": cores,
            "object_store_memory": store_bytes,
            "include_dashboard": False,
        }
        for attempt in range(1, ATTEMPTS + 1):
            started = Cluster(shutdown_at_exit=True)
            try:
                with _silent_start():
                    for _ in range(nodes):
                        started.add_node(**node, temp_dir=options["_temp_dir"])
                break
            except Exception as error:  # as in ``_start``
                started.shutdown()
                if attempt == ATTEMPTS:
                    raise InputError(f"{nodes} Ray nodes: did not start ({_first_line(error)})") from error
        stack.callback(started.shutdown)
        yield started.address
