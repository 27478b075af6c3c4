"""The memory of a step: what is counted, what is refused, and the estimate beside the measured peak."""

import os
import subprocess
import sys
import textwrap

import pytest
from training_cases import trainer_of

from recsys_lib.core import memory
from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune import memory_estimate

pytestmark = pytest.mark.slow
PROGRAM = """
    import sys
    import torch
    torch.set_num_threads(1)
    from training_cases import tiny_bert, trainer_of
    from recsys_lib.llm.finetune import memory_estimate
    folder = tiny_bert(sys.argv[1], hidden_size=256, intermediate_size=1024, num_hidden_layers=4)
    for options in ({}, {"checkpointing": True}, {"trained": "last 2"}):
        trainer = trainer_of(folder, size=40, repeat=3, **options)
        found = memory_estimate.estimate(trainer)
        print(found.added / memory_estimate.measured(trainer))
        del trainer
"""


def test_the_parts_follow_from_what_is_trained(bert):
    full, last = (
        memory_estimate.estimate(trainer_of(bert, trained=trained)) for trained in ("full", "last 1")
    )
    count = sum(p.numel() for p in trainer_of(bert).trained.values())
    assert (full.weights, full.gradients, full.moments) == (4 * count, 4 * count, 8 * count)
    assert last.weights == full.weights and last.moments < full.moments / 2
    assert last.activations < 0.7 * full.activations
    cut = memory_estimate.estimate(trainer_of(bert, per_pass=4))
    assert cut.activations == pytest.approx(full.activations / 3, rel=0.2)
    again = memory_estimate.estimate(trainer_of(bert, checkpointing=True))
    assert again.activations < full.activations
    assert full.total == full.weights + full.added


def test_what_will_not_fit_is_refused_before_the_first_step(bert, monkeypatch):
    trainer = trainer_of(bert)
    assert memory_estimate.check_fits(trainer).added > 0
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(
        InputError, match=r"training 'full' weights with 64 texts a pass needs .*\(lora\)"
    ) as caught:
        memory_estimate.check_fits(trainer)
    assert "\n" not in str(caught.value) and trainer.step_number == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is measured on Linux")
def test_the_estimate_is_within_15_percent_of_the_measured_peak(tmp_path):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "bert")]
    found = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=True, timeout=300,
    )  # fmt: skip
    ratios = [float(line) for line in found.stdout.split()]
    assert ratios == pytest.approx([1.0] * 3, abs=0.15)
