"""The service of ``recsys_lib.serving`` as replicas of Ray Serve: one address, as many replicas as the load
asks for, and another one where one dies.

Every replica opens the same artefacts and the same database, which all machines must see: for several
machines a shared folder and PostgreSQL.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.distributed.cluster import cluster, ray_module
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving.http_app import Settings, create
from recsys_lib.serving.server import Address, check_token, listening

# Requests that a replica answers at once before another is started, and how many may wait for each.
ONGOING, WAITING = 16, 256


@contextlib.contextmanager
def serving(
    store: Path,
    database: str,
    listen: Address,
    settings: Settings,
    replicas: int = 0,
    token: str | None = None,
    address: str | None = None,
) -> Iterator[str]:
    """Serve inside ``with``; yields the URL. Between one and ``replicas`` (0: one per core of the cluster)
    answer, as the number of waiting requests asks for.

    Raises:
        InputError: as ``serving.server.run`` and ``cluster``.
    """
    check_token(listen.host, token)
    artefacts.load(store)
    with listening(listen) as bound:
        port = bound.getsockname()[1]
    with cluster(address, replicas) as cores:
        ray_module()
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        options = {"host": listen.host, "port": port}
        try:
            serve.start(http_options=options, logging_config={"log_level": "ERROR"})
            serve.run(
                _deployment(store.resolve(), database, settings, token, replicas or cores),
                name="recsys_lib",
                route_prefix="/",
            )
            yield f"http://{listen.host}:{port}"
        except RuntimeError as error:
            first = (str(error).splitlines() or ["no details"])[0]
            raise InputError(f"Ray Serve did not start: {first}") from error
        finally:
            serve.shutdown()


def _deployment(store: Path, database: str, settings: Settings, token: str | None, replicas: int) -> Any:
    from ray import serve

    def build() -> Any:
        return create(store, database, settings, token)

    scaling = {"min_replicas": 1, "max_replicas": replicas, "target_ongoing_requests": ONGOING // 2}
    return serve.deployment(
        name="recommender",
        autoscaling_config=scaling,
        max_ongoing_requests=ONGOING,
        max_queued_requests=WAITING,
        ray_actor_options={"num_cpus": 0.5},
    )(serve.ingress(build)()).bind()


def run(
    store: Path,
    database: str,
    listen: Address,
    settings: Settings,
    replicas: int,
    token: str | None,
    address: str | None,
) -> None:
    """Serve until interrupted.

    Raises:
        InputError: as ``serving``.
    """
    with serving(store, database, listen, settings, replicas, token, address) as url:
        print(f"serving {artefacts.current(store)} on {url} by Ray Serve", flush=True)
        threading.Event().wait()
