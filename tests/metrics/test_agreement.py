"""Agreement of scores with what people said: SciPy's and scikit-learn's figures, and intervals that know speakers."""

import numpy as np
import pytest
from scipy import stats

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.metrics.agreement import (
    _weighted,
    agree,
    agreement,
    agreement_difference,
    agreement_intervals,
    read_rows,
)

FELT = ("angry", "sad", "fear")
RNG = np.random.default_rng(0)


def test_agreement_is_that_of_scipy_and_scikit_learn():
    from sklearn.metrics import roc_auc_score

    score = RNG.integers(0, 6, 80).astype(float)  # many ties
    label = (score + RNG.normal(0, 3, 80) > 3).astype(float)
    found = agreement(score, label)
    assert found["auc"] == pytest.approx(roc_auc_score(label, score))
    assert found["spearman"] == pytest.approx(stats.spearmanr(score, label).statistic)
    numbers = RNG.normal(0, 1, 80)
    assert agreement(score, numbers)["spearman"] == pytest.approx(stats.spearmanr(score, numbers).statistic)
    assert np.isnan(agreement(score, numbers)["auc"])
    assert np.isnan(agreement(np.ones(80), label)["spearman"])
    assert agreement(np.ones(80), label)["auc"] == 0.5


def test_within_strata_a_loud_emotion_is_no_agreement():
    """One emotion scores higher and is labelled strong more often; within each, the score is noise."""
    rng = np.random.default_rng(2)
    loud = np.repeat([0, 1], 200)
    label = rng.random(400) < np.where(loud, 0.9, 0.1)
    score = 5.0 * loud + rng.normal(0, 1, 400)
    people = [f"s{k % 10}" for k in range(400)]
    pooled = agreement_intervals(score, label, people)
    within = agreement_intervals(score, label, people, strata=[str(e) for e in loud])
    assert pooled["auc"]["value"] > 0.85
    assert within["auc"]["value"] == pytest.approx(0.5, abs=0.1)


def test_intervals_come_from_speakers_not_from_utterances():
    """Every utterance said twenty times tells no more than once."""
    rng = np.random.default_rng(3)
    score, label = rng.normal(0, 1, 60), np.tile([0, 1], 30)
    people = [f"s{k // 6}" for k in range(60)]
    once = agreement_intervals(score, label, people)
    often = agreement_intervals(np.repeat(score, 20), np.repeat(label, 20), list(np.repeat(people, 20)))
    assert once["auc"] == pytest.approx(often["auc"])
    assert once["auc"]["low"] < once["auc"]["value"] < once["auc"]["high"]
    rows = np.concatenate([np.flatnonzero(np.array(people) == f"s{k}") for k in (3, 3, 7, 1)])  # as if they were drawn
    counts = np.array([[people[k] in ("s7", "s1") or 2 * (people[k] == "s3") for k in range(60)]], dtype=float)
    drawn = {key: values[0] for key, values in _weighted(score, label, counts).items()}
    assert drawn == pytest.approx(agreement(score[rows], label[rows]))
    alone = agreement_intervals(score, label, ["s"] * 60)
    assert alone["auc"]["low"] is None


def test_a_difference_is_paired():
    """Two scores that err together: each interval is wide, that of the difference is not."""
    rng = np.random.default_rng(5)
    label, people = np.tile([0.0, 1.0], 120), [f"s{k // 24}" for k in range(240)]
    luck = np.repeat(rng.normal(0, 2, 10), 24) * label  # some speakers act, others do not
    a = luck + rng.normal(0, 1, 240)
    b = a + rng.normal(0, 0.05, 240)
    apart = agreement_difference(a, b, label, people)["auc"]
    alone = agreement_intervals(a, label, people)["auc"]
    assert apart["value"] == pytest.approx(agreement(a, label)["auc"] - agreement(b, label)["auc"])
    assert apart["high"] - apart["low"] < 0.2 * (alone["high"] - alone["low"])
    assert agreement_difference(label, a, label, people)["auc"]["p"] < 0.05
    assert agreement_difference(a, a, label, people)["auc"]["p"] == 1
    assert agreement_difference(a, b, label, ["s"] * 240)["auc"]["p"] is None


# ---------------------------------------------------------------------------------------------- tables


def table(part="test", people=6, **more):
    """Ranks that know strength, energy that knows nothing; angry is loud, whatever its strength."""
    rng = np.random.default_rng(4)
    rows = []
    for k in range(people * 20):
        emotion, strong = ("neutral", "angry", "sad", "fear")[k % 4], k // 4 % 2
        rows.append(
            {
                "fold": "fold1", "part": part, "corpus": "toy", "id": f"u{k}", "person": f"toy/s{k % people}",
                "emotion": emotion, "neutral": emotion == "neutral",
                "intensity": None if emotion == "neutral" else float(strong),
                "strength": 0.2 * rng.normal() + strong, "energy": 5.0 * (emotion == "angry") + rng.normal(),
                "follows_energy": 0.3, "moves": 0.01 * k,
                **{f"rank_{e}": (emotion != "neutral") * (2 + strong) + 0.3 * rng.normal() for e in FELT},
            }
            | more
        )  # fmt: skip
    return rows


def test_a_report_tells_ranks_that_know_from_energy_that_does_not():
    found = agree(table() + table("heldout", energy=9.0))
    assert found["part"] == "test"
    intensity, neutral = found["intensity"], found["neutral"]
    assert (intensity["n"], intensity["speakers"], neutral["n"]) == (90, 6, 120)
    assert intensity["scores"]["rank"]["auc"]["value"] > 0.95
    assert intensity["scores"]["energy"]["auc"]["value"] == pytest.approx(0.5, abs=0.15)  # though angry is loud
    assert intensity["ahead"]["rank"]["auc"]["low"] > 0.2
    assert neutral["scores"]["rank"]["auc"]["value"] > 0.95
    assert neutral["by_emotion"]["angry"]["energy"] > 0.95
    assert neutral["by_emotion"]["sad"]["energy"] < 0.7
    assert found["follows_energy"]["value"] == 0.3


def test_without_tested_people_those_held_out_are_read_and_without_labels_nothing_is_made_up():
    found = agree(table("heldout", intensity=None))
    assert found["part"] == "heldout"
    assert found["intensity"] is None
    assert found["neutral"]["speakers"] == 6
    assert agree([row for row in table() if not row["neutral"]])["neutral"] is None


def test_labels_that_are_numbers_have_a_rank_correlation_and_no_auc():
    rows = [row | {"intensity": k / 7 % 1} for k, row in enumerate(table())]
    found = agree(rows)["intensity"]
    assert found["key"] == "spearman"
    assert found["scores"]["rank"]["spearman"]["low"] is not None
    assert np.isnan(found["scores"]["rank"]["auc"]["value"])


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = table()
    files.write_csv(tmp_path / "a.csv", rows)
    assert read_rows(tmp_path / "a.csv") == rows
    with pytest.raises(InputError, match=r"b\.csv: no such file"):
        read_rows(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("id,strength\nu0,loud\n")
    with pytest.raises(InputError, match=r"c\.csv: no table of agreement"):
        read_rows(tmp_path / "c.csv")
