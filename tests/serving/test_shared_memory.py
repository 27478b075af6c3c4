"""Workers share what an artefact holds: its files are mapped, and no worker has a copy of their pages."""

import re
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from shop_server import Server, store_in

from recsys_lib.serving import artefact
from recsys_lib.serving.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc of Linux"),
]


def mappings(process, folder):
    """kB by field of ``smaps``, summed over the mappings of each file below ``folder``."""
    found, name = {}, None
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) == 6 else ""
            name = path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None
        elif name and line.endswith(" kB"):
            field, size = line.split(":")
            own = found.setdefault(name, {})
            own[field] = own.get(field, 0) + int(size.split()[0])
    return found


def test_the_weights_of_two_workers_are_the_same_pages(tmp_path):
    store = store_in(tmp_path)
    folder = (store / artefact.VERSIONS / artefact.current(store)).resolve()
    server = Server(store, "--workers", "2").wait()
    try:
        children = psutil.Process(server.process.pid).children()
        workers = [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        for _ in range(300):  # the kernel gives each connection to either worker
            server.ask("POST", "/recommend", {"history": ["i0", "i3"]}, timeout=60)
            server.ask("POST", "/similar", {"item": "i3"}, timeout=60)
            found = [mappings(worker, folder) for worker in workers]
            read = [{name[:5] for name, own in one.items() if own["Rss"]} for one in found]
            if all({"recom", "raw.n", "vecto"} <= names for names in read):
                break
        else:
            pytest.fail(f"one worker answered nothing: {found}")
        for one in found:
            names = {name.partition("/")[0].partition("-")[0] for name in one}
            assert {"recommender", "cold_map", "interactions", "raw.npy", "vectors.npy"} <= names
            for name, own in one.items():
                assert own["Private_Dirty"] == 0, f"{name}: a worker has a copy"
        # Pages that several processes map count in parts: together at most the file, were it read whole.
        for name in {name for one in found for name in one}:
            together = sum(one[name]["Pss"] for one in found if name in one)
            pages = -(-(folder / name).stat().st_size // 4096)
            assert together <= 4 * pages + len(found), f"{name}: held more than once"
    finally:
        server.stop()


def test_a_search_goes_over_the_mapped_rows(tmp_path):
    loaded = artefact.load(store_in(tmp_path))
    rows = Served(loaded).index._state.index.certificate.rows
    assert np.shares_memory(rows, loaded.vectors)
    assert not np.shares_memory(
        Served(loaded, deleted=frozenset(f"i{n}" for n in range(20))).index.items()[1], rows
    )
