"""Yes-no answers of a tiny decoder: the logits of transformers, and adapters that learn a rule."""

import numpy as np
import pytest
from tiny_models import plain_logits, tiny_folder

from recsys_lib.core.errors import InputError
from recsys_lib.llm import language_model
from recsys_lib.llm.finetune.yes_no import Example, YesNoTuner
from recsys_lib.llm.prompts import Prompts

pytest.importorskip("peft")
EXAMPLES = [
    Example(("red house", "blue house"), f"{word} {i}", word == "red")
    for i in range(8)
    for word in ("red", "old")
]


@pytest.fixture
def tuner(tmp_path):
    folder = str(tiny_folder(tmp_path / "llama"))
    return YesNoTuner(Prompts(language_model.load(folder, device="cpu")), learning_rate=3e-3), folder


def test_untrained_scores_are_the_differences_of_the_models_own_logits(tuner):
    tuned, folder = tuner
    yes, no = tuned.tokens
    for example, score in zip(EXAMPLES[:3], tuned.scores(EXAMPLES[:3]), strict=True):
        logits = plain_logits(folder, tuned.ids(example))[-1]
        assert score == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)


def test_adapters_learn_a_rule_and_leave_the_weights_alone(tuner):
    tuned, _ = tuner
    frozen = {n: p.clone() for n, p in tuned.adapted.named_parameters() if not p.requires_grad}
    losses = tuned.fit(EXAMPLES, epochs=12)
    assert losses[-1] < 0.5 * losses[0]
    scores, liked = tuned.scores(EXAMPLES), np.array([e.liked for e in EXAMPLES])
    assert scores[liked].min() > scores[~liked].max()
    assert all((p == frozen[n]).all() for n, p in tuned.adapted.named_parameters() if n in frozen)


def test_a_rate_of_zero_is_refused(tuner):
    tuned, _ = tuner
    with pytest.raises(InputError, match=r"learning_rate=0.0"):
        YesNoTuner(tuned.prompts, learning_rate=0.0)
