"""The files that start real clusters: read by YAML and held against what they start."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"


def ray_options(command):
    """Options of the ``ray start`` in a shell command."""
    words = shlex.split(command.replace("&&", " && ").replace("$$", "$"))
    at = next(i for i in range(len(words) - 1) if Path(words[i]).name == "ray" and words[i + 1] == "start")
    return [word.partition("=")[0].removeprefix("--") for word in words[at + 2 :] if word.startswith("--")]


def start_commands():
    cluster = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DEPLOY / "ray-compose.yaml").read_text(encoding="utf-8"))
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    commands += [service["command"][2] for service in compose["services"].values()]
    return [command for command in commands if " start " in command]


def test_every_start_bounds_the_object_store_and_has_options_that_ray_knows():
    scripts = pytest.importorskip("ray.scripts.scripts")
    known = {option.removeprefix("--") for p in scripts.start.params for option in p.opts}
    commands = start_commands()
    assert len(commands) == 4
    for command in commands:
        options = ray_options(command)
        assert "object-store-memory" in options
        assert set(options) <= known, command
        assert ("head" in options) != ("address" in options)


def test_the_cluster_file_is_one_that_ray_accepts():
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(config))
    with pytest.raises(Exception, match="provider"):
        util.validate_config({name: value for name, value in config.items() if name != "provider"})


def test_clusters_ask_for_a_token_and_send_no_statistics():
    for name in ("ray-cluster.yaml", "ray-compose.yaml"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        assert re.search(r"RAY_AUTH_MODE[=:] ?token", text)
        assert re.search(r"RAY_USAGE_STATS_ENABLED[=:] ?\"?0", text)


def test_what_they_install_is_there():
    compose = yaml.safe_load((DEPLOY / "ray-compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert services["head"]["image"] == services["worker"]["image"]
    for service in services.values():
        assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
        for file in re.findall(r"-r (\S+)", service["environment"]["SETUP"]):
            assert (ROOT / file).is_file()
