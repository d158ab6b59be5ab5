"""`compare`: paired by utterance, honest about speakers and seeds, and a refusal where runs cannot be compared."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from sottovoce import files
from sottovoce.commands import compare as compare_command
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import compare
from sottovoce.metrics import scores, statistics

EMOTIONS = ("neutral", "happy", "sad")
TASK = Task("class", ("emotion",), EMOTIONS)
NUMBERS = Task("number", ("valence", "arousal"), ranges=((0.0, 1.0),) * 2)
PHONES = Task("phones", ("phones",), ("AA", "B"))


def draw(rng, *, speakers=12, each=30, seeds=1, gap=0.0, seed_spread=0.0):
    """Target (N,), two systems' answers (S, N) and clusters: who is easy to hear depends on the speaker."""
    target = np.tile(np.arange(3), speakers * each // 3)
    clusters = np.repeat(np.arange(speakers), each)
    easy = rng.normal(0, 0.6, speakers)
    systems = []
    for better in (0.0, gap):
        own = rng.normal(0, 0.3, speakers)
        logit = 0.3 + (easy + own)[clusters] + better + rng.normal(0, seed_spread, (seeds, 1))
        hit = rng.random((seeds, len(target))) < 1 / (1 + np.exp(-logit))
        wrong = (target + rng.integers(1, 3, (seeds, len(target)))) % 3
        systems.append(np.where(hit, target, wrong))
    return target, *systems, clusters


def write(folder, target, predicted, clusters, *, task=TASK, seed=0, names=None, **config):
    """A run folder as `evaluate` leaves it, one fold."""
    inner = folder / "fold1"
    inner.mkdir(parents=True)
    (inner / "model.safetensors").write_bytes(b"")
    head = {"kind": "finetune", "identity": "x", "settings": {"track": "fbank"}, "fold": "fold1", "features": 3}
    head |= {"seen_speakers": [], "corpus": "data/toy", "seed": seed, "labels": 9}
    head |= {"task": {"kind": task.kind, "target": task.target, "classes": task.classes, "ranges": task.ranges}}
    (inner / "config.json").write_text(json.dumps(head | config))
    rows = []
    for k, (y, p, c) in enumerate(zip(target, predicted, clusters, strict=True)):
        row = {"id": f"u{k}", "fold": "fold1", "speaker": f"s{c}", "session": "", "gender": ""}
        if task.kind == "class":
            row |= {"target": task.classes[y], "predicted": task.classes[p]}
        elif task.kind == "number":
            row |= {f"target_{n}": v for n, v in zip(task.target, y, strict=True)}
            row |= {f"predicted_{n}": v for n, v in zip(task.target, p, strict=True)}
        else:
            row |= {"phones": y, "edits": p}
        rows.append(row)
    files.write_csv(folder / "predictions.csv", rows if names is None else [rows[k] for k in names])
    return folder


@pytest.fixture
def two(tmp_path):
    """Two runs of twelve speakers, the second clearly better."""
    target, a, b, clusters = draw(np.random.default_rng(0), gap=1.0)
    return write(tmp_path / "a", target, a[0], clusters), write(tmp_path / "b", target, b[0], clusters)


def read(folder):
    with open(folder, newline="") as lines:
        return list(csv.DictReader(lines))


def result_of(*systems, **options):
    return compare.compare([compare.load(str(s)) for s in systems], **options)


# ---------------------------------------------------------------------------------------------- figures


def test_differences_are_those_of_the_slow_way(two):
    """Written out: score both systems without one speaker after the other, a t test on what each contributes."""
    (first, second) = result_of(*two)["systems"]
    rows = [read(folder / "predictions.csv") for folder in two]
    place = {name: k for k, name in enumerate(EMOTIONS)}
    target = np.array([place[row["target"]] for row in rows[0]])
    answer = [np.array([place[row["predicted"]] for row in own]) for own in rows]
    speakers = np.array([row["speaker"] for row in rows[0]])

    def ua(predicted, own):
        return np.mean([np.mean(predicted[own & (target == k)] == k) for k in range(3)])

    everybody = np.ones(len(target), bool)
    for entry, predicted in zip((first, second), answer, strict=True):
        assert entry["metrics"]["ua"]["value"] == pytest.approx(ua(predicted, everybody))
    gap = ua(answer[1], everybody) - ua(answer[0], everybody)
    without = [ua(answer[1], speakers != s) - ua(answer[0], speakers != s) for s in np.unique(speakers)]
    contributes = gap - 11 * (np.array(without) - np.mean(without))
    test = ttest_1samp(contributes, 0)
    found = second["difference"]["ua"]
    assert found["value"] == pytest.approx(gap)
    assert [found["low"], found["high"]] == pytest.approx(list(test.confidence_interval(0.95)))
    assert found["p"] == pytest.approx(test.pvalue, rel=1e-6)
    half = (found["high"] - found["low"]) / 2
    assert second["detectable"] == pytest.approx(half / t.ppf(0.975, 11) * (t.ppf(0.975, 11) + t.ppf(0.8, 11)))


def test_the_detectable_difference_is_corrected_as_p_is(two, tmp_path):
    for k in range(2):
        shutil.copytree(two[1], tmp_path / f"c{k}")
    alone = result_of(*two)["systems"][1]
    (found, *_) = result_of(*two, tmp_path / "c0", tmp_path / "c1")["systems"][1:]
    gap = found["difference"]["ua"]
    assert gap["p_holm"] == pytest.approx(3 * gap["p"])
    outer, wanted, inner = (t.ppf(share, 11) for share in (0.975, 1 - 0.025 / 3, 0.8))
    expected = (gap["high"] - gap["low"]) / 2 / outer * (wanted + inner)
    assert found["detectable"] == pytest.approx(expected)
    assert found["detectable"] > 1.1 * alone["detectable"]


def test_equal_runs_differ_by_nothing_and_a_better_one_is_found(two, tmp_path):
    shutil.copytree(two[0], tmp_path / "copy")
    result = result_of(two[0], tmp_path / "copy", two[1])
    same, better = (entry["difference"]["ua"] for entry in result["systems"][1:])
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    assert same["p_holm"] == 1
    assert better["value"] > 0.1
    assert better["p_holm"] < 0.05
    assert better["low"] > 0
    assert better["p_holm"] == pytest.approx(min(1, 2 * better["p"]))


def test_rows_may_come_in_any_order(two, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(two[1], mixed)
    rows = read(mixed / "predictions.csv")
    order = np.random.default_rng(1).permutation(len(rows))
    files.write_csv(mixed / "predictions.csv", [rows[k] for k in order])
    straight, shuffled = (result_of(two[0], b)["systems"][1] for b in (two[1], mixed))
    assert straight["difference"] == shuffled["difference"]


@pytest.mark.parametrize(("seeds", "seed_spread"), [(1, 0.0), (2, 0.15), (3, 0.15), (5, 0.0)])
def test_two_equal_systems_are_told_apart_in_one_of_twenty_comparisons(seeds, seed_spread):
    """The level of the test, also where seeds differ; sign flips over speakers, which take the trainings as given,
    reject up to five times as often there."""
    found, flipped = [], []
    for trial in range(200):
        rng = np.random.default_rng(trial)
        target, a, b, clusters = draw(rng, speakers=16, seeds=seeds, seed_spread=seed_spread)
        gap = statistics.differences(TASK, target, a, b, clusters)["ua"]
        found.append(abs(gap.value) > gap.half_width())
        sums = [np.mean([scores.terms(TASK, target, run) for run in runs], axis=0) for runs in (a, b)]
        by = [np.stack([own[clusters == c].sum(0) for c in range(16)]) for own in sums]
        swap = rng.integers(0, 2, (300, 16)).astype(float)
        sides = [scores.from_sums(TASK, (1 - swap) @ x + swap @ y)["ua"] for x, y in (by, by[::-1])]
        real = scores.from_sums(TASK, by[0].sum(0))["ua"] - scores.from_sums(TASK, by[1].sum(0))["ua"]
        flipped.append((1 + np.sum(np.abs(sides[0] - sides[1]) >= abs(real) - 1e-12)) / 301 < 0.05)
    level, of_flips = np.mean(found), np.mean(flipped)
    assert 0.01 <= level <= 0.085
    if seed_spread:
        assert of_flips > level + 0.04
    else:
        assert abs(level - of_flips) < 0.04  # exact where trainings have no luck: both agree


# ---------------------------------------------------------------------------------------------- seeds


def test_seeds_of_a_system_are_averaged_and_drawn_too(tmp_path):
    target, a, b, clusters = draw(np.random.default_rng(3), seeds=3, seed_spread=0.4)
    for k in range(3):
        write(tmp_path / f"many/s{k}", target, a[k], clusters, seed=k)
        write(tmp_path / f"b{k}", target, b[k], clusters, seed=k)
    commas = "joined=" + ",".join(str(tmp_path / f"b{k}") for k in range(3))
    result = result_of(tmp_path / "many", commas)
    first, second = result["systems"]
    assert (first["name"], second["name"]) == ("many", "joined")
    assert (first["seeds"], second["seeds"]) == ((0, 1, 2), (0, 1, 2))
    each = [float(scores.scores(TASK, target, run)["ua"]) for run in a]
    assert first["by_seed"] == pytest.approx(each)
    assert first["metrics"]["ua"]["value"] == pytest.approx(np.mean(each))
    assert second["difference"]["ua"] == pytest.approx(
        statistics.difference_entry(statistics.differences(TASK, target, b, a, [f"s{c}" for c in clusters])["ua"])
        | {"p_holm": second["difference"]["ua"]["p"]}
    )
    assert second["seeds_paired"]


def test_seeds_belong_together_only_where_they_are_the_same(tmp_path):
    """In another order they still do; other seeds, or more of them, are drawn on their own."""
    target, a, b, clusters = draw(np.random.default_rng(4), seeds=3, seed_spread=0.4)
    names = [f"s{c}" for c in clusters]
    for k in range(3):
        write(tmp_path / f"a/{k}", target, a[k], clusters, seed=k)
        write(tmp_path / f"turned/{k}", target, b[k], clusters, seed=2 - k)
        write(tmp_path / f"other/{k}", target, b[k], clusters, seed=7 + k)
    turned = result_of(tmp_path / "a", tmp_path / "turned")["systems"][1]
    expected = statistics.difference_entry(statistics.differences(TASK, target, b[::-1], a, names)["ua"])
    assert turned["seeds_paired"]
    assert turned["difference"]["ua"]["low"] == pytest.approx(expected["low"])
    other = result_of(tmp_path / "a", tmp_path / "other")["systems"][1]
    assert not other["seeds_paired"]
    assert other["difference"]["ua"]["value"] == pytest.approx(turned["difference"]["ua"]["value"])
    one = result_of(tmp_path / "a", tmp_path / "other/0")["systems"][1]
    assert not one["seeds_paired"]
    assert len(one["seeds"]) == 1


# ---------------------------------------------------------------------------------------------- tasks


def test_numbers_and_phones_are_compared_too(tmp_path):
    rng = np.random.default_rng(5)
    target, clusters = rng.uniform(0, 1, (120, 2)).round(6), np.repeat(np.arange(12), 10)
    near, far = ((target + rng.normal(0, s, target.shape)).clip(0, 1).round(6) for s in (0.05, 0.3))
    a = write(tmp_path / "far", target, far, clusters, task=NUMBERS)
    b = write(tmp_path / "near", target, near, clusters, task=NUMBERS)
    result = result_of(a, b)
    assert result["metric"] == "ccc"
    assert result["higher_is_better"]
    gap = result["systems"][1]["difference"]["mae"]
    assert gap["value"] == pytest.approx(np.abs(near - target).mean() - np.abs(far - target).mean())
    assert gap["high"] < 0

    length = rng.integers(5, 40, 120)
    edits = [rng.binomial(length, share) for share in (0.5, 0.2)]
    a, b = (
        write(tmp_path / n, length, e, clusters, task=PHONES, kind="phoneme") for n, e in zip("ab", edits, strict=True)
    )
    result = result_of(a, b)
    assert result["metric"] == "per"
    values = [entry["metrics"]["per"]["value"] for entry in result["systems"]]
    assert values == pytest.approx([e.sum() / length.sum() for e in edits])
    assert result["systems"][1]["difference"]["per"]["p_holm"] < 0.05
    compare.save(tmp_path / "out", result)
    assert "PER" in (tmp_path / "out/compare.html").read_text()


# ---------------------------------------------------------------------------------------------- from run to page


def test_everything_is_written_and_the_page_claims_no_more_than_the_interval(sottovoce, two, tmp_path):
    found = sottovoce("compare", f"plain={two[0]}", f"ems={two[1]}", "-o", tmp_path / "out")
    assert found.code == 0, found.err
    assert "ems" in found.out
    assert "detectable" in found.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *(f"compare.{end}" for end in ("csv", "html", "json", "png", "svg")), "protocol.json",
    ]  # fmt: skip
    rows = read(tmp_path / "out/compare.csv")
    (main,) = [row for row in rows if (row["system"], row["metric"]) == ("ems", "ua")]
    result = json.loads((tmp_path / "out/compare.json").read_text())
    gap = result["systems"][1]["difference"]["ua"]
    assert float(main["difference"]) == pytest.approx(gap["value"])
    assert float(main["p_holm"]) == pytest.approx(gap["p_holm"])
    assert {row["metric"] for row in rows} >= {"ua", "wa", "recall_happy"}
    page = (tmp_path / "out/compare.html").read_text()
    assert "ems is better than plain" in page
    assert "Emotion by emotion" in page
    turned = result_of(two[1], two[0])
    compare.save(tmp_path / "turned", turned)
    assert "a is worse than b" in (tmp_path / "turned/compare.html").read_text()
    same = tmp_path / "same"
    shutil.copytree(two[0], same)
    compare.save(tmp_path / "equal", result_of(two[0], same))
    assert "same cannot be told from a" in (tmp_path / "equal/compare.html").read_text()


def test_runs_without_predictions_are_evaluated_and_their_folder_left_alone(corpus, pretrained, tmp_path, capsys):
    few = ["finetune.updates=20", "finetune.readings=2", "finetune.lrs=0.01"]
    options = {"init": str(pretrained), "recipe": "frozen_probe", "settings": few, "quiet": True, "fold": "fold1,fold2"}
    finetune_command.main(corpus, tmp_path / "probe", **options)
    finetune_command.main(corpus, tmp_path / "scratch", scratch=True, **options)
    evaluate_command.main(tmp_path / "scratch", opensmile=False, quiet=True)
    compare_command.main([str(tmp_path / "scratch"), str(tmp_path / "probe")], tmp_path / "out")
    assert "probe: no predictions of fold1, fold2 yet" in capsys.readouterr().err
    assert not (tmp_path / "probe/predictions.csv").exists()
    result = json.loads((tmp_path / "out/compare.json").read_text())
    assert (result["n"], result["speakers"]) == (40, 4)
    evaluate_command.main(tmp_path / "probe", opensmile=False, quiet=True)
    again = result_of(tmp_path / "scratch", tmp_path / "probe")
    assert json.loads(json.dumps(again["systems"][1]["difference"])) == result["systems"][1]["difference"]
    assert set(result["differs"]) == {"init"}  # the arm "scratch" differs in nothing else


def test_answers_of_weights_that_are_gone_are_not_used(corpus, pretrained, tmp_path, capsys):
    few = ["finetune.updates=20", "finetune.readings=2", "finetune.lrs=0.01"]
    options = {"init": str(pretrained), "recipe": "frozen_probe", "settings": few, "quiet": True, "fold": "fold1"}
    finetune_command.main(corpus, tmp_path / "a", **options)
    evaluate_command.main(tmp_path / "a", opensmile=False, quiet=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b/fold1")
    finetune_command.main(corpus, tmp_path / "b", scratch=True, **options)
    stale, capsys_of = read(tmp_path / "b/predictions.csv"), capsys.readouterr()
    assert "b: no predictions of fold1 yet" not in capsys_of.err
    loaded = compare.load(str(tmp_path / "b"), quiet=False)
    assert "b: no predictions of fold1 yet" in capsys.readouterr().err
    assert [row["predicted"] for row in loaded.tables[0].values()] != [row["predicted"] for row in stale]
    evaluate_command.main(tmp_path / "b", opensmile=False, quiet=True)
    fresh = read(tmp_path / "b/predictions.csv")
    assert [row["predicted"] for row in loaded.tables[0].values()] == [row["predicted"] for row in fresh]


def test_folds_that_share_speakers_are_said_first_and_other_folds_differ(two):
    for folder, apart in zip(two, ("speaker", "none"), strict=True):
        files.write_json(folder / "protocol.json", {"split": {"apart": [apart], "hash": apart}, "weights": ["x"]})
    result = result_of(*two)
    assert result["protocol"]["first_line"] == (
        "Leaky: the folds share speakers between training and test; the figures flatter. (b)"
    )
    assert result["differs"]["folds"] == {"a": "speaker", "b": "none"}


def test_a_run_named_twice_is_no_second_training(two):
    with pytest.raises(InputError, match="the same run twice"):
        compare.load(f"{two[0]},{two[0]}")


def test_the_page_tells_which_settings_differ(two, tmp_path):
    config = json.loads((two[1] / "fold1/config.json").read_text())
    config["settings"] = {"track": "mfcc", "training": {"seed": 5, "lr": 0.1}}
    (two[1] / "fold1/config.json").write_text(json.dumps(config))
    assert result_of(*two)["differs"] == {
        "track": {"a": "fbank", "b": "mfcc"},
        "training.lr": {"a": None, "b": 0.1},
    }


def test_one_speaker_allows_no_interval(tmp_path):
    target, a, b, _ = draw(np.random.default_rng(6))
    alone = np.zeros(len(target), int)
    result = result_of(write(tmp_path / "a", target, a[0], alone), write(tmp_path / "b", target, b[0], alone))
    second = result["systems"][1]
    assert second["difference"]["ua"]["p"] is None
    assert second["detectable"] is None
    compare.save(tmp_path / "out", result)
    assert "too few speakers to say anything" in (tmp_path / "out/compare.html").read_text()


def test_three_speakers_allow_none_either_and_four_agree_with_their_p(tmp_path):
    for count in (2, 3, 4):
        target, a, b, clusters = draw(np.random.default_rng(count), speakers=count, gap=1.5)
        home = tmp_path / str(count)
        result = result_of(write(home / "a", target, a[0], clusters), write(home / "b", target, b[0], clusters))
        gap, said = result["systems"][1]["difference"]["ua"], result["protocol"]["intervals"]
        if count < 4:
            assert (gap["low"], gap["p"], result["systems"][1]["detectable"]) == (None, None, None)
            assert said == f"none: {count} speakers; fewer than 4 tell nothing about the next one"
        else:
            assert (gap["p"] < 0.05) == (not gap["low"] <= 0 <= gap["high"])
            assert said == "95 %, over whole speakers"
        compare.save(home / "out", result)
        assert ("too few speakers" in (home / "out/compare.html").read_text()) == (count < 4)


def test_what_stands_for_a_speaker_is_said(tmp_path):
    """Unknown speakers are one an utterance, videos are videos, and no page speaks of speakers there."""
    target, a, b, clusters = draw(np.random.default_rng(9))
    folders = [write(tmp_path / n, target, x[0], clusters) for n, x in (("a", a), ("b", b))]
    for session, said in (
        (True, "95 %, over whole sessions (videos)"),
        (False, "95 %, over single utterances; speakers are unknown, for a new one they are too narrow"),
    ):
        for folder in folders:
            rows = [row | {"speaker": "", "session": f"v{k % 9}" * session}
                    for k, row in enumerate(read(folder / "predictions.csv"))]  # fmt: skip
            files.write_csv(folder / "predictions.csv", rows)
        result = result_of(*folders)
        assert (result["protocol"]["intervals"], result["speakers"]) == (said, None)
        compare.save(tmp_path / "out", result)
        page = (tmp_path / "out/compare.html").read_text()
        assert "speakers unknown" in page
        assert "these speakers" not in page


def test_a_single_training_says_that_it_knows_of_no_other(two, tmp_path):
    result = result_of(*two)
    assert result["systems"][1]["trainings_counted"] is False
    assert "nothing is known of the luck of a training" in result["protocol"]["trainings"]
    compare.save(tmp_path / "out", result)
    assert "One training each tells nothing of the next training" in (tmp_path / "out/compare.html").read_text()


def test_where_p_cannot_fall_far_enough_a_warning_says_so(tmp_path):
    target, clusters = np.zeros(60, int), np.repeat(np.arange(6), 10)
    worse = target.copy()
    worse[::10] = 1  # one error a speaker
    a, *others = (write(tmp_path / n, target, x, clusters) for n, x in (("a", worse), ("b", target), ("c", target)))
    one, both = result_of(a, others[0]), result_of(a, *others)
    assert one["systems"][1]["difference"]["wa"]["p"] == 2**-5
    assert result_of(a, others[0], metric="wa")["warnings"] == []
    (line,) = result_of(a, *others, metric="wa")["warnings"]
    assert "no p below 0.0312; corrected for 2 it is above 0.05" in line
    assert both["systems"][1]["difference"]["wa"]["p_floor"] == 2**-5


# ---------------------------------------------------------------------------------------------- bad input


def test_runs_on_other_utterances_are_refused_or_cut_to_what_they_share(sottovoce, tmp_path):
    target, a, b, clusters = draw(np.random.default_rng(7))
    write(tmp_path / "a", target, a[0], clusters)
    write(tmp_path / "b", target, b[0], clusters, names=range(100))
    line = sottovoce("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out").complaint
    assert "b: other utterances than a. Found 100, there 360, 100 in both. Compare these with --common" in line
    assert not (tmp_path / "out").exists()
    for order in (("a", "b"), ("b", "a")):
        result = result_of(*(tmp_path / name for name in order), common=True)
        assert (result["n"], result["left_out"]) == (100, 260)
    compare.save(tmp_path / "out", result)
    assert "260 utterances left out" in (tmp_path / "out/compare.html").read_text()
    rows = read(tmp_path / "b/predictions.csv")
    files.write_csv(tmp_path / "b/predictions.csv", [row | {"id": f"other{k}"} for k, row in enumerate(rows)])
    with pytest.raises(InputError, match="no utterance in common"):
        result_of(tmp_path / "a", tmp_path / "b", common=True)


def test_what_cannot_be_compared_is_one_line(sottovoce, two, tmp_path):
    a, b = two
    target, answer, _, clusters = draw(np.random.default_rng(8))
    other = Task("class", ("emotion",), ("neutral", "happy", "angry"))
    write(tmp_path / "task", target, answer[0], clusters, task=other)
    write(tmp_path / "labels", (target + (np.arange(len(target)) == 7)) % 3, answer[0], clusters)
    write(tmp_path / "pre", target, answer[0], clusters, kind="pretrain")
    write(tmp_path / "twice", target, answer[0], clusters, names=[0, 1, 1])
    write(tmp_path / "cut", target, answer[0], clusters)
    text = (tmp_path / "cut/predictions.csv").read_text()
    (tmp_path / "cut/predictions.csv").write_text(text[: len(text) - 20])
    write(tmp_path / "odd", target, answer[0], clusters)
    (tmp_path / "odd/predictions.csv").write_text(text.replace(",happy\n", ",joyful\n"))
    write(tmp_path / "bare", target, answer[0], clusters)
    (tmp_path / "bare/predictions.csv").write_text(text.replace("predicted", "guess"))
    for words, said in (
        ([a], "one system alone"),
        ([a, a], "two systems called a"),
        ([a, tmp_path / "nowhere"], "no such run folder"),
        ([a, tmp_path / "pre"], "a pretrain run, which predicts nothing"),
        ([a, tmp_path / "task"], "another task than a"),
        ([a, f"x={b},{tmp_path / 'task'}"], "Seeds of one system share their task"),
        ([a, tmp_path / "labels"], "other targets than a for 1 of 360 utterances, e.g. u7"),
        ([a, tmp_path / "twice"], "1 utterances are in it twice"),
        ([a, tmp_path / "cut"], "predictions.csv: damaged"),
        ([a, tmp_path / "odd"], "a predicted that is none. 'joyful'"),
        ([a, tmp_path / "bare"], "no column predicted"),
        ([a, b, "--metric", "uar"], "unknown --metric 'uar'"),
        ([a, "x="], "names no run"),
    ):
        line = sottovoce("compare", *words, "-o", tmp_path / "out").complaint
        assert said in line, line
    assert not (tmp_path / "out").exists()
