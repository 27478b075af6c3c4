"""The service of ``recsys_lib.serving`` as replicas of Ray Serve: one address, as many replicas as the load
asks for, and another one where one dies; the search for similar items in shards, if asked for.

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
from recsys_lib.distributed.shards_of_service import SearchShard, sharded_search
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving.http_app import Settings, create
from recsys_lib.serving.server import Address, check_token, listening

# Requests that a replica answers at once before another is started, and how many may wait for each.
ONGOING, WAITING = 16, 256
# Of a core that is reserved for a replica, and for a shard.
CPUS, SHARD_CPUS = 0.5, 0.25


@contextlib.contextmanager
def serving(
    store: Path,
    database: str,
    listen: Address,
    settings: Settings,
    replicas: int = 0,
    token: str | None = None,
    address: str | None = None,
    shards: int = 0,
) -> Iterator[str]:
    """Serve inside ``with``; yields the URL. Between one and ``replicas`` (0: one per core of the cluster)
    answer, as the number of waiting requests asks for. With ``shards`` the vectors that ``/similar`` searches
    are divided among so many deployments, each again with one to ``replicas`` replicas; lists need no search,
    and every replica makes them itself.

    Raises:
        InputError: as ``serving.server.run`` and ``cluster``, or more shards than the cores carry.
    """
    check_token(listen.host, token)
    artefacts.load(store)
    with listening(listen) as bound:
        port = bound.getsockname()[1]
    with cluster(address, replicas) as cores:
        if CPUS + shards * SHARD_CPUS > cores:
            most = int((cores - CPUS) / SHARD_CPUS)
            raise InputError(f"--shards {shards}: {cores} cores carry at most {most}; give fewer")
        ray_module()
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        options = {"host": listen.host, "port": port}
        try:
            serve.start(http_options=options, logging_config={"log_level": "ERROR"})
            most = replicas or cores
            for shard in range(shards):
                bound_shard = _shard(store.resolve(), database, shard, shards, most)
                serve.run(bound_shard, name=shard_name(shard), route_prefix=None)
            serve.run(
                _deployment(store.resolve(), database, settings, token, most, shards),
                name="recsys_lib",
                route_prefix="/",
            )
            yield f"http://{listen.host}:{port}"
        except RuntimeError as error:
            first = (str(error).splitlines() or ["no details"])[0]
            raise InputError(f"Ray Serve did not start: {first}") from error
        finally:
            serve.shutdown()


def shard_name(shard: int) -> str:
    """What the application of a shard is called."""
    return f"recsys_lib_shard_{shard}"


def _options(name: str, replicas: int, cpus: float) -> dict[str, Any]:
    """Of a deployment: between one and ``replicas``, by the number of requests that each has."""
    scaling = {"min_replicas": 1, "max_replicas": replicas, "target_ongoing_requests": ONGOING // 2}
    return {
        "name": name, "autoscaling_config": scaling, "max_ongoing_requests": ONGOING,
        "max_queued_requests": WAITING, "ray_actor_options": {"num_cpus": cpus},
    }  # fmt: skip


def _deployment(
    store: Path, database: str, settings: Settings, token: str | None, replicas: int, shards: int
) -> Any:
    from ray import serve

    def handles() -> list[Any]:
        return [serve.get_app_handle(shard_name(shard)) for shard in range(shards)]

    def build() -> Any:
        search = sharded_search(handles) if shards else None
        return create(store, database, settings, token, search)

    return serve.deployment(**_options("recommender", replicas, CPUS))(serve.ingress(build)()).bind()


def _shard(store: Path, database: str, shard: int, shards: int, replicas: int) -> Any:
    from ray import serve

    options = _options("search", replicas, SHARD_CPUS)
    return serve.deployment(**options)(SearchShard).bind(str(store), database, shard, shards)


def run(
    store: Path,
    database: str,
    listen: Address,
    settings: Settings,
    replicas: int,
    token: str | None,
    address: str | None,
    shards: int = 0,
) -> None:
    """Serve until interrupted.

    Raises:
        InputError: as ``serving``.
    """
    with serving(store, database, listen, settings, replicas, token, address, shards) as url:
        print(f"serving {artefacts.current(store)} on {url} by Ray Serve", flush=True)
        threading.Event().wait()
