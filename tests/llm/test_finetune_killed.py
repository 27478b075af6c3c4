"""A training run that is killed goes on from its state and ends with the weights of the uninterrupted one."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from training_cases import same, tiny_bert, trainer_of, weights

pytestmark = pytest.mark.slow

PROGRAM = """
    import sys, time
    from training_cases import trainer_of
    trainer = trainer_of(sys.argv[1], per_pass=5)
    trainer.fit(lambda vectors: time.sleep(float(sys.argv[3])) or float(vectors[0, 0]), every=1, patience=99,
                folder=sys.argv[2])
"""


def _start(folder, state, pause):
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.pathsep.join([os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(state), str(pause)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def test_a_run_killed_at_any_moment_goes_on_and_ends_with_the_same_weights(tmp_path):
    folder = tiny_bert(tmp_path / "bert")
    whole = trainer_of(folder, per_pass=5)
    value = lambda vectors: float(vectors[0, 0])  # noqa: E731
    torch.set_num_threads(1)
    whole.fit(value, every=1, patience=99, folder=tmp_path / "whole")
    state = tmp_path / "killed"
    running = _start(folder, state, 0.05)
    seen = 0
    deadline = time.monotonic() + 60
    last = None
    while seen < 3 and time.monotonic() < deadline:
        try:
            now = (state / "meta.json").stat().st_mtime_ns
        except FileNotFoundError:
            now = last
        seen, last = seen + (now != last), now
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    resumed = trainer_of(folder, per_pass=5)
    resumed.resume(state)
    assert 0 < resumed.step_number < 8
    resumed.fit(value, every=1, patience=99, folder=state)
    assert resumed.progress.validated == whole.progress.validated
    same(weights(whole), weights(resumed))
