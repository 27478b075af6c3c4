"""``serve``: a recommender that answers over HTTP, fitted first where there is none."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_lib.cli.arguments import Address, Engine, check_engine, whole_number
from recsys_lib.core.errors import InputError

EVENTS = "events.sqlite"


def default_store() -> Path:
    """Where the artefacts lie if nothing is said."""
    from recsys_lib.core.paths import cache_dir

    return cache_dir() / "serving"


def _number(about: str, minimum: int = 0) -> Any:
    return typer.Option(metavar="N", help=about, parser=whole_number(minimum))


Store = Annotated[
    Path | None, typer.Argument(metavar="ARTEFACT", help="Folder (default: serving/ in the cache).")
]
Database = Annotated[
    str | None, typer.Option(metavar="DB", help="SQLite file or postgresql://... (default: in ARTEFACT).")
]


def serve(
    artefact: Store = None,
    interactions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV to fit on: user, item; timestamp if known.")
    ] = None,
    items: Annotated[Path | None, typer.Option(metavar="FILE", help="CSV: id, title, anything else.")] = None,
    encoder: Annotated[str, typer.Option(metavar="NAME", help="Of the item texts, when fitting.")] = "minilm",
    events: Database = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Beyond 127.0.0.1 a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, _number("Port to listen on; 0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the bearer token (or set RECSYS_TOKEN).")
    ] = None,
    workers: Annotated[int, _number("Processes that answer; with --engine ray at most.", 1)] = 1,
    quota: Annotated[int, _number("Places of a list for items with few choices.")] = 1,
    max_batch: Annotated[int, _number("Requests that are scored at once.", 1)] = 64,
    deadline_ms: Annotated[
        float, typer.Option(metavar="MS", help="A request waits so long for others.")
    ] = 0.0,
    engine: Engine = "local",
    address: Address = None,
    shards: Annotated[int, _number("With --engine ray: parts of the vectors of /similar.")] = 0,
) -> int:
    """Serve recommendations over HTTP: POST /recommend /similar /events, PUT /items, DELETE /items/ID, GET
    /health /ready /metrics.

    Without an artefact a model is fitted first, on --interactions and --items or else on MovieLens-100K. With
    one, --interactions fits a new version.

    Example: python -m recsys_lib serve --interactions sales.csv --items products.csv --port 8080
    """
    server = _server()
    from recsys_lib.serving.http_app import Settings
    from recsys_lib.serving.slate import Rule

    store, token = artefact or default_store(), _token(token_file)
    server.check_token(host, token)
    for name, value, most in (("--port", port, 65535), ("--deadline-ms", deadline_ms, 1000)):
        if not 0 <= value <= most:
            raise InputError(f"{name} {value}: expected from 0 to {most}")
    settings = Settings(rule=Rule(quota=quota), max_batch=max_batch, deadline_ms=deadline_ms,
                        max_waiting=max(256, max_batch))  # fmt: skip
    start = _with_ray(address, shards) if check_engine(engine, 0, address) else server.run
    if shards and engine != "ray":
        raise InputError(f"--shards {shards}: is for --engine ray; add it, or leave --shards out")
    _prepared(store, interactions, items, encoder)
    start(store, events or str(store / EVENTS), server.Address(host, port), settings, workers, token)
    return 0


def _server() -> Any:
    """The module ``serving.server``. Imports make many objects and leave nothing to collect."""
    gc.disable()
    try:
        from recsys_lib.serving import server
    finally:
        gc.enable()
    return server


def _with_ray(address: str | None, shards: int) -> Callable[..., None]:
    """As ``server.run``, by replicas on a Ray cluster."""
    from recsys_lib.distributed import serve_on_cluster as replicas

    return functools.partial(replicas.run, address=address, shards=shards)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("RECSYS_TOKEN") or None
    try:
        return file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"--token-file {file}: cannot be read ({error})") from error


def _prepared(store: Path, interactions: Path | None, items: Path | None, encoder: str) -> None:
    """Fit a first version where there is none, or one on the files that were given."""
    from recsys_lib.serving import artefact as artefacts

    if (interactions is None) != (items is None):
        raise InputError("--interactions and --items: expected both or none")
    if interactions is None and (store / artefacts.CURRENT).exists():
        return
    from recsys_lib.data import datasets
    from recsys_lib.serving import fitting

    if interactions is not None and items is not None:
        data = datasets.from_csv(interactions, items, duplicates="last")
    else:
        data = datasets.load("ml-100k")
    print(f"fitting on {data.name}: {data.n_users:,} users, {data.n_items:,} items", flush=True)
    with artefacts.refitting(store):
        version = artefacts.write(fitting.from_dataset(data, encoder), store)
        artefacts.put_in_place(store, version)


def refit(
    artefact: Store = None,
    events: Database = None,
    margin: Annotated[
        float, typer.Option(metavar="FRACTION", help="How much worse, relatively, the new NDCG@10 may be.")
    ] = 0.02,
    holdout: Annotated[
        float, typer.Option(metavar="FRACTION", help="Newest part of the new events that decides.")
    ] = 0.2,
    min_events: Annotated[int, _number("Fewer new events wait for the next refit.", 1)] = 100,
    interleave: Annotated[
        bool, typer.Option("--trial", help="Interleave the new version with the running one; see trial.")
    ] = False,
) -> int:
    """Fit on what was chosen since the last fit, and swap the running version if the new one is not worse.

    A running server follows by itself within a second. With --trial it shows both versions in one list, and
    the command trial says which one people choose from.

    Example: python -m recsys_lib refit --margin 0.01
    """
    from recsys_lib.serving.events import EventLog
    from recsys_lib.serving.refit import Policy
    from recsys_lib.serving.refit import refit as run_refit

    store = artefact or default_store()
    policy = Policy(margin, holdout, min_events)
    from recsys_lib.serving import artefact as artefacts

    artefacts.current(store)
    log = EventLog(events or str(store / EVENTS))
    try:
        print(run_refit(store, log, policy, trial=interleave).sentence())
    finally:
        log.close()
    return 0


def trial(
    artefact: Store = None,
    events: Database = None,
    accept: Annotated[bool, typer.Option("--accept", help="Put the version on trial in place.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the trial; the running version stays.")] = False,
) -> int:
    """Say which of two interleaved versions people choose from, and end the trial if asked to.

    The p-value is of a sign test over users. Looked at again and again until it is small, it is too small:
    decide beforehand how many users the trial takes.

    Example: python -m recsys_lib trial --accept
    """
    from recsys_lib.serving import artefact as artefacts
    from recsys_lib.serving.events import EventLog
    from recsys_lib.serving.trial import outcome

    if accept and stop:
        raise InputError("--accept and --stop: expected one of them")
    store = artefact or default_store()
    running, candidate = artefacts.current(store), artefacts.on_trial(store)
    if candidate is None:
        raise InputError(f"{store}: no version is on trial; begin with python -m recsys_lib refit --trial")
    log = EventLog(events or str(store / EVENTS))
    try:
        found = outcome(log, running, candidate)
    finally:
        log.close()
    print(
        f"{found.second:,} users chose more from {candidate}, {found.first:,} from {running} (running), "
        f"{found.ties:,} from both alike or from none; sign test p = {found.p_value:.2g}"
    )
    if accept or stop:
        with artefacts.refitting(store):
            if accept:
                artefacts.put_in_place(store, candidate)
            else:
                artefacts.end_trial(store)
        print(f"{candidate} is in place" if accept else f"the trial has ended, {running} stays")
    return 0
