"""Against peers: the same work, the same threads, in turns, in one run; every row says what the machine could do at best."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from pathlib import Path

from recsys_lib import experiments, machine
from recsys_lib.bench.encode import encode_rows
from recsys_lib.bench.recommend import recommend_rows
from recsys_lib.bench.search import search_rows
from recsys_lib.bench.similarity import similarity_rows
from recsys_lib.errors import InputError

BENCHES = {"similarity": similarity_rows, "encode": encode_rows, "recommend": recommend_rows, "search": search_rows}


def run(name: str, json_file: Path | None = None) -> str:
    """Run one bench and return its table; optionally write rows and environment as JSON.

    Raises:
        InputError: an unknown name, or a peer that is not installed.
    """
    if name not in BENCHES:
        raise InputError(f"bench {name!r} is unknown: choose from {', '.join(BENCHES)}")
    try:
        rows = BENCHES[name]()
    except ModuleNotFoundError as error:
        raise InputError(f"peer {error.name!r} is not installed: run pip install -r requirements.txt") from error
    if json_file:
        content = {
            "bench": name,
            "date": f"{datetime.date.today()}",
            "rows": [asdict(r) for r in rows],
            "environment": machine.describe(),
        }
        experiments.write_atomically(json_file, json.dumps(content, indent=1))
    head = f"{'work':13} {'size':40} {'ours ms':>9} {'peer':22} {'peer ms':>9} {'ratio':>6} {'of limit':>8}  quality"
    lines = [
        f"{r.work:13} {r.size:40} {r.ours_s * 1e3:9.2f} {r.peer:22} {r.peer_s * 1e3:9.2f} {r.ratio:6.2f} "
        f"{r.share_of_limit:8.0%}  {r.quality}"
        for r in rows
    ]
    return "\n".join([machine.summary(), head, *lines])
