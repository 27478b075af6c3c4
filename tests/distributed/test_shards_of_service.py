"""Shards answer together as one index does, whatever they have read of the log; no cluster is started."""

import asyncio
import types

import numpy as np
import pytest
from shop_server import store_in

from recsys_lib.distributed.shards_of_service import SearchShard, sharded_search
from recsys_lib.serving import artefact
from recsys_lib.serving.events import EventLog, NewItem
from recsys_lib.serving.service import Service

ray = pytest.importorskip("ray")


class Local:
    """A shard as its handle is asked, in this process; it dies so many times before it answers."""

    def __init__(self, shard, deaths=0):
        self.shard, self.deaths = shard, deaths
        self.top_k = types.SimpleNamespace(remote=self._ask)

    async def _ask(self, *asked):
        if self.deaths:
            self.deaths -= 1
            raise ray.exceptions.RayActorError()
        return self.shard.top_k(*asked)


@pytest.fixture
def store(tmp_path):
    return store_in(tmp_path)


@pytest.fixture
def service(store):
    return Service(store, EventLog(store / "e.sqlite"))


def shards_of(store, n):
    return [SearchShard(str(store), str(store / "e.sqlite"), shard, n) for shard in range(n)]


def compared(search, served, probe, k=100):
    """Places found by both, which are equal, as are the cosines to the last bit."""
    left_out = np.array([3, 8])
    found = asyncio.run(search(served, probe, k, left_out))
    mapped = served.artefact.geometry.apply(probe)
    ids, cosines = (expected[0] for expected in served.index.top_k(mapped, k, [left_out.tolist()]))
    assert found[0].tolist() == ids[ids >= 0].tolist()
    assert np.array_equal(found[1], cosines[ids >= 0])
    return found[0]


@pytest.mark.parametrize("n", [1, 3, 70])
def test_merged_shards_are_the_one_index_while_items_come_and_go(store, service, n):
    handles = [Local(shard) for shard in shards_of(store, n)]
    search, probe = sharded_search(lambda: handles), service.encode(["oak spade scarf"])
    assert len(compared(search, service.state.served, probe)) == 58
    early = service.state.served
    for step in range(6):
        texts = [f"oak {step}", f"wool scarf {step}"]
        vectors = service.encode(texts)
        service.add_items([NewItem(t, t, (), t, v) for t, v in zip(texts, vectors, strict=True)])
        # Of these six i8 was left out before; the first "oak" of all is nobody.
        service.delete_items([f"i{7 * step + 1}", f"oak {step - 1}"])
        compared(search, service.state.served, probe, k=5)
    assert len(compared(search, service.state.served, probe)) == 58 + 12 - 5 - 5
    late = asyncio.run(search(early, probe, 100, np.array([3, 8])))[0]
    assert late.max() < 60, "a request that began before sees no later item"


def test_a_swap_is_followed_and_the_old_version_still_answered(store, service):
    handles = [Local(shard) for shard in shards_of(store, 2)]
    search, probe = sharded_search(lambda: handles), service.encode(["oak"])
    service.add_items([NewItem("n", "oak", (), "oak", service.encode(["oak"])[0])])
    old = service.state.served
    compared(search, old, probe)
    artefact.put_in_place(store, artefact.write(artefact.load(store), store))
    assert service.follow()
    for served in (service.state.served, old):
        compared(search, served, probe)
    assert all(len(handle.shard.parts) == 2 for handle in handles)


def test_a_shard_that_died_is_asked_again_and_no_more_than_thrice(store, service):
    probe, shards = service.encode(["oak"]), shards_of(store, 2)
    compared(sharded_search(lambda: [Local(shards[0], 2), Local(shards[1])]), service.state.served, probe)
    with pytest.raises(ray.exceptions.RayActorError):
        compared(sharded_search(lambda: [Local(shards[0], 3), Local(shards[1])]), service.state.served, probe)
