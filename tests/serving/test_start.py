"""What a server imports before its first answer: nothing that only fitting, encoding or evaluating need."""

import os
import subprocess
import sys

import pytest
from shop_server import ROOT, Server, events

from recsys_lib.core.errors import InputError
from recsys_lib.serving import artefact, server
from recsys_lib.serving.http_app import Settings

SLOW = ("pandas", "torch", "transformers", "sklearn", "scipy.stats", "matplotlib", "datasets", "ray")


def test_a_start_imports_nothing_that_the_first_list_does_not_need():
    code = (
        "import sys\n"
        "from recsys_lib.cli import app, serve\n"
        "import recsys_lib.serving.server, recsys_lib.serving.http_app, uvicorn\n"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert said.stdout.strip() == "[]", said.stderr


def test_a_missing_and_a_damaged_artefact_are_said_before_the_port_is_taken(store, tmp_path):
    address = server.Address("127.0.0.1", 0)
    with pytest.raises(InputError, match="no artefact there"):
        server.run(tmp_path / "none", str(tmp_path / "e.sqlite"), address, Settings())
    weights = next((store / artefact.VERSIONS / artefact.current(store) / "recommender").glob("arrays-*"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="damaged, its checksum differs"):
        server.run(store, str(tmp_path / "e.sqlite"), address, Settings())


def test_a_file_that_is_no_database_is_said_in_one_line(store, tmp_path):
    (tmp_path / "e.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        server.run(store, str(tmp_path / "e.sqlite"), server.Address("127.0.0.1", 0), Settings())


@pytest.mark.slow
def test_the_first_requests_of_a_server_are_answered(store):
    running = Server(store)
    try:
        status, answer = running.wait().ask("POST", "/recommend", {"user": "u0"})
        assert status == 200 and len(answer["items"]) == 10
        assert running.ask("POST", "/events", events(["k"]))[0] == 202
        assert running.ask("GET", "/openapi.json")[0] == 200
    finally:
        running.stop()
