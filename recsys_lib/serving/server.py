"""Runs the application with uvicorn: on loopback, or elsewhere with a token; one process or several."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.serving import arrivals
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving.http_app import Settings, as_json, create, settings_from

# Where worker processes find what to serve; the token has a variable of its own.
SERVING, TOKEN = "RECSYS_SERVING", "RECSYS_TOKEN"
MIN_TOKEN = 16
# Copies of the listening socket. libuv accepts one connection of each in a turn of its loop; where a turn is
# long, because many ask, those of one socket would wait for seconds before anything sees them.
ACCEPTED = 32
# Seconds that a worker has for what it has begun when its parent is gone.
GRACE_S = 1.0


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8000


def run(
    store: Path,
    database: str,
    address: Address,
    settings: Settings,
    workers: int = 1,
    token: str | None = None,
) -> None:
    """Serve until interrupted.

    Raises:
        InputError: an address that is taken or not this machine's, one beyond loopback without a token, no
            artefact, no database.
    """
    import uvicorn

    check_token(address.host, token)
    artefacts.current(store)
    app: Any = "recsys_lib.serving.server:application"
    if workers > 1:
        artefacts.load(store)  # a damaged one is said once, not by every worker
    else:
        app = create(store, database, settings, token)
        collect_rarely()
    os.environ[SERVING] = json.dumps(
        {"store": str(store.absolute()), "database": database, "settings": as_json(settings)}
    )
    os.environ.pop(TOKEN, None)
    if token is not None:
        os.environ[TOKEN] = token
    with listening(address) as bound, contextlib.ExitStack() as copies:
        config = uvicorn.Config(
            app, factory=workers > 1, workers=workers, log_level="warning", access_log=False,
            server_header=False, timeout_graceful_shutdown=10, http=arrivals.protocol(), ws="none",
        )  # fmt: skip
        host, port = bound.getsockname()[:2]
        print(
            f"serving {artefacts.current(store)} on http://{host}:{port}, {workers} process(es)", flush=True
        )
        sockets = [bound, *(copies.enter_context(bound.dup()) for _ in range(ACCEPTED - 1))]
        if workers > 1:
            from uvicorn.supervisors import Multiprocess

            Multiprocess(config, sockets=sockets).run()
        else:
            uvicorn.Server(config).run(sockets=sockets)


def application() -> Any:
    """What uvicorn calls in each process."""
    end_with_parent()
    content = json.loads(os.environ[SERVING])
    settings = settings_from(content["settings"])
    app = create(Path(content["store"]), content["database"], settings, os.environ.get(TOKEN))
    collect_rarely()
    return app


def collect_rarely() -> None:
    """Let garbage collection leave out what is there now, and look at the rest every 50,000 new objects: an
    answer leaves hardly any cycles, and by default looking for them takes a tenth of a list's time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def end_with_parent() -> threading.Thread | None:
    """In a worker process: a thread that ends it when the process that started it is gone, even by kill -9.

    The worker gets ``GRACE_S`` to answer what it has begun. None in a process that ``multiprocessing`` did
    not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(1)

    thread = threading.Thread(target=watch, name="end with parent", daemon=True)
    thread.start()
    return thread


def check_token(host: str, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token, and a token that can be guessed.

    Raises:
        InputError: either.
    """
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(
            f"the token has {len(token)} characters: expected at least {MIN_TOKEN} printable ones"
        )
    if token is None and not _loopback(host):
        raise InputError(
            f"host {host!r} is beyond this machine: expected --token-file with a secret, or 127.0.0.1"
        )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """A socket bound to the address.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise InputError(f"{address.host}:{address.port}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((address.host, address.port))
            bound.listen(2048)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{address.host}:{address.port}: {reason}; choose another --port") from error
        bound.set_inheritable(True)
        yield bound
    finally:
        bound.close()
