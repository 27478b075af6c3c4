"""Work on a Ray cluster of two nodes on this machine: results are those without it, also when workers die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.distributed import (
    cluster,
    encode_on_cluster,
    search_on_cluster,
    sweep_on_cluster,
    train_on_cluster,
)
from recsys_lib.encoders import shards, stream
from recsys_lib.experiments import sweeps
from recsys_lib.vectors.search.updatable import UpdatableIndex

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = """
import sys
from recsys_lib.distributed import encode_on_cluster
from recsys_lib.encoders import shards
encode_on_cluster.encode_sharded.__kwdefaults__["rows"] = 20
from recsys_lib.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def nodes():
    """A connection to a cluster of two nodes of one core each."""
    pytest.importorskip("ray")
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with cluster.several_nodes(2) as address, cluster.cluster(address) as cores:
        assert cores == 2
        assert len([n for n in ray.nodes() if n["Alive"]]) == 2
        assert ray.cluster_resources()["object_store_memory"] <= 160 * 2**20
        yield address


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "titles.csv"
    rows = "".join(f'{i},"{i} the book\nof {i * 7 % 13} stars"\n' for i in range(1030))
    path.write_text("\ufeffid,title\n" + rows, encoding="utf-8")
    return path


class DiesOnce(encode_on_cluster.ShardEncoder):
    """Notes every shard it begins, and is killed in the middle of shard 5 the first time."""

    def __call__(self, row):
        folder = Path(self.job.folder).parent
        with (folder / "begun").open("a") as file:
            file.write(f"{row['shard']}\n")
        if row["shard"] == 5 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)


def test_a_killed_worker_is_replaced_and_no_shard_is_encoded_twice(nodes, catalogue, tmp_path, monkeypatch):
    encoder, folder = encoders.load("wordllama"), tmp_path / "out"
    job = shards.begin(encoder, str(catalogue), folder, rows=50)
    for number in (0, 3):  # as a run that was stopped has left them
        shards.encode_shard(encoder, job, number)
    monkeypatch.setattr(encode_on_cluster, "ShardEncoder", DiesOnce)
    found = encode_on_cluster.encode_sharded(encoder, str(catalogue), folder, rows=50, progress=False)
    assert found == (1030, 0)
    begun = [int(line) for line in (tmp_path / "begun").read_text().split()]
    assert (tmp_path / "died").exists()
    assert set(begun) == set(range(21)) - {0, 3}
    # The worker that died may have held one more shard that it had not begun to write.
    assert len(begun) - len(set(begun)) in (1, 2)
    assert begun.count(5) == 2
    whole = np.load(stream.encode_to_disk(encoder, str(catalogue), tmp_path / "plain", progress=False))
    assert np.array_equal(shards.vectors(folder), whole)
    assert encode_on_cluster.encode_sharded(encoder, str(catalogue), folder, rows=50, progress=False) == found
    assert len((tmp_path / "begun").read_text().split()) == len(begun)


def test_a_sweep_leaves_what_a_local_one_leaves(nodes, tmp_path):
    cells = [
        new_code_cell("k = 2  # a number", metadata={"tags": ["parameters"]}),
        new_code_cell("assert k != 3, 'three is refused'"),
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path, folder = tmp_path / "98_square.ipynb", tmp_path / "out"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    runs = sweep_on_cluster.sweep(path, [{"k": 2}, {"k": 3}], folder, progress=False)
    assert [run.status for run in runs] == ["finished", "failed"]
    assert (runs[1].cell, runs[1].error) == (3, "AssertionError: three is refused")
    kept = (folder / f"{runs[0].id}.ipynb").stat().st_mtime_ns
    again = sweeps.sweep(path, [{"k": 2}], folder, progress=False)  # finished there is finished here
    assert again == runs[:1]
    assert (folder / f"{runs[0].id}.ipynb").stat().st_mtime_ns == kept


def test_sharded_search_is_the_unsharded_one_and_keeps_updates_when_workers_die(nodes, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(-1, 2, (500, 6)).astype(np.float32)  # many ties
    queries, ids = rng.integers(-1, 2, (8, 6)).astype(np.float32), rng.permutation(1000)[:500]
    whole = UpdatableIndex(ids, rows)
    search_on_cluster.save_shards(tmp_path / "shards", ids, rows, 3)
    sharded = search_on_cluster.ShardedIndex(tmp_path / "shards", cpus=0.2)
    exclude = [rng.permutation(ids)[:40].tolist() for _ in queries]

    def compare():
        for k in (1, 10, 700):
            found, expected = sharded.top_k(queries, k, exclude), whole.top_k(queries, k, exclude)
            assert np.array_equal(found[0], expected[0])
            assert np.array_equal(found[1], expected[1])
        assert len(sharded) == len(whole)

    compare()
    new, gone = np.arange(990, 1010), ids[:25]
    for index in (whole, sharded):
        index.insert(new, rows[:20] * 2)
        index.delete(gone)
    compare()
    before = sharded.processes()
    for process in before[:2]:
        os.kill(process, signal.SIGKILL)
    compare()
    with pytest.raises(InputError, match="queries have 2 numbers, items 6"):
        sharded.top_k(queries[:, :2], 5)
    after = sharded.processes()
    assert set(after).isdisjoint(before[:2])
    assert after[2] == before[2]
    sharded.close()


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_finished_shards_and_no_cluster(nodes, catalogue, tmp_path):
    folder, home = tmp_path / "out", tmp_path / "file" / "home"
    (tmp_path / "file").touch()  # a home that cannot be written
    options = ["--engine", "ray", "--encoder", "wordllama", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "encode", str(catalogue), str(folder), *options],
        cwd=ROOT, env=os.environ | {"HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts,
    )  # fmt: skip
    while not list(folder.glob("vectors-*.json")) and process.poll() is None:
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert error.strip().splitlines()[-1] == "recsys_lib encode: interrupted; what had finished is kept"
    assert "Traceback" not in error
    assert out == ""
    assert len(started) > 3
    assert not psutil.wait_procs(started, timeout=30)[1]
    left = sorted(path.name for path in folder.glob("vectors-*.json"))
    assert 1 <= len(left) < 52
    times = [(folder / name).stat().st_mtime_ns for name in left]
    encoder = encoders.load("wordllama")
    # What is left needs no second cluster; that a cluster goes on too is the first test's.
    job = shards.begin(encoder, str(catalogue), folder, rows=20)
    for number in set(range(52)) - set(job.finished()):
        shards.encode_shard(encoder, job, number)
    assert shards.finish(job) == (1030, 0)
    assert [(folder / name).stat().st_mtime_ns for name in left] == times
    assert np.array_equal(shards.vectors(folder), encoder.encode(list(stream.texts_of(str(catalogue)))))


def killed_once(marker):
    """A report that kills one worker after its 5th step, the first time."""

    def report(trainer):
        if trainer.workers.rank == 1 and trainer.step_number == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return report


def test_two_workers_have_the_losses_of_one_also_when_one_is_killed(nodes, tmp_path):
    import training_cases

    sys.modules["ray"].cloudpickle.register_pickle_by_value(training_cases)
    sys.modules["ray"].cloudpickle.register_pickle_by_value(sys.modules["tiny_models"])
    bert, folder = training_cases.tiny_bert(tmp_path / "bert"), tmp_path / "state"

    def make(workers):
        return training_cases.trainer_of(bert, workers, per_pass=5)

    alone = make(None)
    alone.fit()
    trained = train_on_cluster.fit(make, folder, 2, every=2, report=killed_once(tmp_path / "killed"))
    assert (tmp_path / "killed").exists()
    assert trained.step_number == alone.step_number == 8
    np.testing.assert_allclose(trained.progress.losses, alone.progress.losses, rtol=1e-4)
    assert len(set(np.round(alone.progress.losses, 3))) > 4  # they differ by more than what is compared
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "killed", "state"]


def test_replicas_answer_as_one_server_does(nodes, tmp_path):
    import httpx
    from fastapi.testclient import TestClient

    sys.path.insert(0, str(ROOT / "tests" / "serving"))
    shop_server = pytest.importorskip("shop_server")
    from recsys_lib.distributed.serve_on_cluster import serving
    from recsys_lib.serving.http_app import Settings, create
    from recsys_lib.serving.server import Address
    from recsys_lib.serving.slate import Rule

    store, settings = shop_server.store_in(tmp_path), Settings(rule=Rule(quota=0), seed=0)
    database, question = str(tmp_path / "events.sqlite"), {"user": "u1", "k": 5}
    with TestClient(create(store, database, settings)) as one:
        expected = one.post("/recommend", json=question).json()["items"]
    with serving(store, database, Address("127.0.0.1", 0), settings, replicas=2) as url:
        assert httpx.get(f"{url}/ready", timeout=300).json()["status"] == "ready"
        answer = httpx.post(f"{url}/recommend", json=question, timeout=300)
        assert answer.status_code == 200
        assert answer.json()["items"] == expected
        assert httpx.post(f"{url}/recommend", json={"k": -1}, timeout=300).status_code == 422


def test_a_sharded_search_behind_the_service_is_that_of_one_server(nodes, tmp_path, monkeypatch):
    import httpx
    from fastapi.testclient import TestClient

    sys.path.insert(0, str(ROOT / "tests" / "serving"))
    shop_server = pytest.importorskip("shop_server")
    from recsys_lib.distributed.serve_on_cluster import serving
    from recsys_lib.serving import served
    from recsys_lib.serving.http_app import Settings, create
    from recsys_lib.serving.server import Address

    monkeypatch.setattr(served, "PLAIN_ITEMS", 0)  # as for a large catalogue: exact to the last bit
    store, settings = shop_server.store_in(tmp_path), Settings(seed=0)
    database = str(tmp_path / "events.sqlite")
    asked = [{"text": text, "k": 100} for text in shop_server.WORDS] + [{"item": "i7", "k": 9}]

    def answers(client, base=""):
        return [client.post(f"{base}/similar", json=body).json()["items"] for body in asked]

    with (
        httpx.Client(timeout=300) as client,
        serving(store, database, Address("127.0.0.1", 0), settings, replicas=2, shards=3) as url,
    ):
        for change in range(3):
            if change == 1:
                new = {"items": [{"id": f"n{n}", "title": f"oak spade {n}"} for n in range(5)]}
                assert client.put(f"{url}/items", json=new).json()["added"] == 5
                assert client.delete(f"{url}/items/i7").json()["deleted"] == 1
                assert client.delete(f"{url}/items/n3").json()["deleted"] == 1
            if change == 2:
                replicas = [p for p in psutil.process_iter(["cmdline"]) if _is_shard(p, os.getpid())]
                assert len(replicas) == 3
                replicas[0].kill()
            with TestClient(create(store, database, settings)) as one:
                assert answers(client, url) == answers(one)
                assert len(answers(one)[0]) == (60, 63, 63)[change]


def _is_shard(process, ancestor):
    """Whether it is a replica of a shard that this process has started."""
    if not process.info["cmdline"] or "recsys_lib_shard_" not in process.info["cmdline"][0]:
        return False
    return ancestor in {parent.pid for parent in process.parents()}


def test_more_shards_than_the_cores_carry_are_refused(nodes, tmp_path):
    sys.path.insert(0, str(ROOT / "tests" / "serving"))
    shop_server = pytest.importorskip("shop_server")
    from recsys_lib.distributed.serve_on_cluster import serving
    from recsys_lib.serving.http_app import Settings
    from recsys_lib.serving.server import Address

    store = shop_server.store_in(tmp_path)
    with (
        pytest.raises(InputError, match="--shards 7: 2 cores carry at most 6"),
        serving(store, str(tmp_path / "e.sqlite"), Address("127.0.0.1", 0), Settings(), shards=7),
    ):
        pass
