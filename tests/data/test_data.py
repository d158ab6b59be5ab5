"""From track frames to batches: nothing is lost, invented, or seen by a neighbour."""

import numpy as np
import pytest
import torch
from covarep_voice import voice
from toys import ToyStore, steps_of, waves

from sottovoce import plugins
from sottovoce.data.batching import plan_epoch, row_seed, sequential
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Frontend, Steps
from sottovoce.data.frames import Statistics, loud_bounds, pool_frames, stretch
from sottovoce.data.store import Head
from sottovoce.data.track import Track
from sottovoce.errors import InputError

RNG = np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------- statistics


def test_statistics_of_blocks_are_those_of_the_whole():
    blocks = [RNG.normal(5, 3, (n, 7)).astype(np.float32) for n in (1, 50, 3, 400)]
    found, whole = Statistics.of(blocks), np.concatenate(blocks).astype(np.float64)
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, whole.std(0), rtol=1e-6)


def test_statistics_survive_a_large_offset():
    block = 1e5 + RNG.normal(0, 1, (3000, 2))
    np.testing.assert_allclose(Statistics.of(np.split(block, 30)).std, block.std(0), rtol=1e-5)


def test_all_zero_frames_are_left_out_of_statistics():
    block = RNG.normal(5, 3, (100, 4))
    holes = np.insert(block, [0, 10, 10, 99], 0.0, axis=0)
    for gaps in ([holes], [holes[:12], np.zeros((9, 4)), holes[12:]]):
        found, wanted = Statistics.of(gaps), Statistics.of([block])
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-6)
        np.testing.assert_allclose(found.std, wanted.std, rtol=1e-6)
    with pytest.raises(ValueError, match="no frames"):
        Statistics.of([np.zeros((9, 4))])


def test_a_constant_feature_becomes_zero_not_infinite():
    block = np.stack([np.full(50, 123.4), RNG.normal(0, 1, 50)], axis=1).astype(np.float32)
    statistics = Statistics.of([block])
    assert statistics.std[0] == 1
    np.testing.assert_allclose(statistics.apply(block)[:, 0], 0, atol=1e-4)


# ---------------------------------------------------------------------------------------------- frames to steps


@pytest.mark.parametrize("frames", [1, 3, 4, 11, 12])
@pytest.mark.parametrize("how", ["stack", "mean"])
def test_pooling_equals_a_loop_and_the_last_short_step_repeats_the_last_frame(frames, how):
    frontend, x = Frontend(subsampling=4, subsample=how), RNG.standard_normal((frames, 3))
    filled = np.ones(frames, dtype=bool)
    filled[frames // 2] = False
    steps, ok = pool_frames(x, filled, frontend)
    assert len(steps) == len(ok) == frontend.steps(frames)
    for s, (step, good) in enumerate(zip(steps, ok, strict=True)):
        members = [min(t, frames - 1) for t in range(4 * s, 4 * s + 4)]
        wanted = np.concatenate([x[t] for t in members]) if how == "stack" else np.mean([x[t] for t in members], axis=0)
        np.testing.assert_allclose(step, wanted, rtol=1e-12)
        assert good == all(filled[t] for t in members)
    assert steps.shape[1] == frontend.dim(3)


QUIET, LOUD = np.full((1, 8), -12.0), np.zeros((1, 8))  # natural log: 12 is 52 dB


def frames_of(*parts):
    return np.concatenate([np.repeat(level, count, axis=0) for level, count in parts])


def test_planted_silence_is_trimmed_and_pauses_stay():
    track = frames_of((QUIET, 37), (LOUD, 20), (QUIET * 2, 5), (LOUD, 25), (QUIET, 29))
    assert loud_bounds(track, 35.0, smooth=1, margin=0) == (37, 87)
    assert loud_bounds(track, 60.0, smooth=1, margin=0) == (0, 116)
    assert loud_bounds(track, 35.0) == (37 - 7, 87 + 7)  # two frames of the moving average, five of margin
    steps = steps_of(ToyStore({"u0": track}), subsampling=4, trim_db=35.0)
    assert steps.lengths.tolist() == [16]
    np.testing.assert_array_equal(steps.raw(0), track[30:94].astype(np.float32))


def test_a_click_does_not_make_the_speech_around_it_silence():
    speech = frames_of((QUIET, 50), (LOUD, 200), (QUIET, 50))
    clicked = speech.copy()
    clicked[150] = 14.0  # 61 dB above
    assert loud_bounds(clicked, 35.0) == loud_bounds(speech, 35.0)


def test_levels_are_in_decibel_of_the_summed_energy():
    """One band in eight carries all the energy: 10 log10 of the sum, not of the mean of the logs."""
    track = np.full((101, 8), -30.0)
    track[:100, 3], track[100, 5] = 0.0, -35 * np.log(10) / 10 - 0.01
    assert loud_bounds(track, 35.0, smooth=1, margin=0) == (0, 100)
    assert loud_bounds(track, 35.1, smooth=1, margin=0) == (0, 101)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_what_is_shorter_than_the_margins_is_kept_whole(frames):
    assert loud_bounds(np.zeros((frames, 8)), 35.0) == (0, frames)


def test_normalised_features_have_no_mean_and_unit_deviation_over_the_training_part():
    steps = steps_of(waves(20))
    values = np.concatenate([steps[i][0] for i in range(len(steps))])
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_statistics_of_others_are_used_as_they_are():
    given = Statistics(np.full(6, 2.0), np.full(6, 4.0))
    store = waves()
    np.testing.assert_allclose(steps_of(store, given)[0][0], (store["u0"] - 2) / 4, rtol=1e-6)


@pytest.mark.parametrize(("normalise", "groups"), [("speaker", 2), ("utterance", 8)])
def test_own_statistics_leave_no_mean_in_a_speaker_or_an_utterance(normalise, groups):
    store = waves(8)
    for k, key in enumerate(store):
        dict.__getitem__(store, key)[:] += 10 * (k % 2) + k
    steps = steps_of(store, normalise=normalise)
    parts = {}
    for i, u in enumerate(steps.utterances):
        parts.setdefault(u.speaker if normalise == "speaker" else u.id, []).append(steps[i][0])
    assert len(parts) == groups
    for part in parts.values():
        values = np.concatenate(part)
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_an_unknown_speaker_is_not_mixed_with_other_unknown_speakers():
    store = ToyStore({"a": RNG.normal(0, 1, (30, 2)), "b": RNG.normal(50, 9, (30, 2))})
    nobody = [Utterance(k, "toy", "") for k in store]
    steps = Steps([(store, nobody)], Frontend(subsampling=1, normalise="speaker"))
    np.testing.assert_allclose(steps[1][0].mean(0), 0, atol=1e-4)


@pytest.mark.parametrize("normalise", ["corpus", "utterance", "speaker", "none"])
def test_an_utterance_or_a_speaker_without_any_data_is_all_zero_and_not_scored(normalise):
    store = ToyStore({"u0": RNG.normal(5, 1, (10, 3)), "u1": np.zeros((8, 3))})  # u1 is all that s1 said
    x, scored = steps_of(store, normalise=normalise)[1]
    assert not x.any()
    assert not scored.any()


def test_missing_frames_stay_zero_and_are_not_scored():
    block = RNG.normal(5, 1, (40, 3)).astype(np.float32)
    block[[4, 21, 22]] = 0
    x, scored = steps_of(ToyStore({"u0": block}))[0]
    assert np.flatnonzero(~scored).tolist() == [4, 21, 22]
    assert not x[~scored].any()
    assert (
        steps_of(ToyStore({"u0": block}), subsampling=4)[0][1].tolist()
        == [True, False] + [True] * 3 + [False] + [True] * 4
    )


def test_extreme_values_are_held_within_the_clip():
    block = RNG.standard_normal((500, 2)).astype(np.float32)
    block[7] = [1e9, -1e9]
    x, _ = steps_of(ToyStore({"u0": block}), Statistics(np.zeros(2), np.ones(2)), clip=5.0)[0]
    assert x[7].tolist() == [5, -5]


@pytest.mark.parametrize(
    "frontend",
    [{}, {"subsampling": 3}, {"subsampling": 5, "subsample": "mean"}, {"subsampling": 2, "normalise": "utterance"}],
)
def test_a_window_is_a_slice_of_the_whole(frontend):
    steps = steps_of(waves(shortest=31, longest=31), **frontend)
    x, scored = steps[3]
    assert len(x) == steps.lengths[3] == -(-31 // steps.frontend.subsampling)
    for start in range(len(x)):
        for end in range(start + 1, len(x) + 1):
            part, ok = steps.window(3, start, end)
            np.testing.assert_array_equal(part, x[start:end])
            np.testing.assert_array_equal(ok, scored[start:end])


# ---------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("time", [0.8, 1.0, 1.3])
def test_stretching_in_time_is_numpys_interpolation(time):
    x = RNG.standard_normal((50, 3))
    fast = stretch(x, time, 1.0)
    assert len(fast) == round(50 / time)
    at = np.minimum(np.arange(len(fast)) * time, 49)
    for column in range(3):
        np.testing.assert_allclose(fast[:, column], np.interp(at, np.arange(50), x[:, column]), atol=1e-12)


@pytest.mark.parametrize("features", [0.9, 1.1])
def test_stretching_the_mel_axis_moves_a_formant_and_keeps_the_clock(features):
    band = np.exp(-0.5 * ((np.arange(80) - 40) / 4) ** 2)
    moved = stretch(np.tile(band, (6, 1)), 1.0, features)
    assert moved.shape == (6, 80)
    wanted = (40 + 10) / features - 10
    assert abs(moved[0].argmax() - wanted) <= 0.5
    np.testing.assert_array_equal(stretch(moved, 1.0, 1.0), moved)


def test_batches_are_stretched_by_each_rows_seed_and_single_utterances_never():
    plain = steps_of(waves(8, longest=40, shortest=40))
    steps = plain.stretched(0.2, 0.0)
    np.testing.assert_array_equal(steps[2][0], plain[2][0])
    together, alone = steps.batch([2, 5, 7], seed=3), steps.batch([5], seed=3)
    length = int(alone.lengths[0])
    assert together.x[1, :length].equal(alone.x[0])
    lengths = {int(n) for s in range(20) for n in steps.batch([2], seed=s).lengths}
    assert 40 * np.exp(-0.2) - 1 <= min(lengths) < 38 < 42 < max(lengths) <= 40 * np.exp(0.2) + 1
    assert plain.batch([2, 5], seed=3).lengths.tolist() == [40, 40]
    assert plain.stretched(0.0, 0.0).batch([2, 5], seed=3).lengths.tolist() == [40, 40]


def test_no_missing_frame_leaks_into_what_is_scored():
    """Planted: data is 1 everywhere, so that every scored value that is not 1 was mixed with a missing frame."""
    block = np.ones((200, 2), dtype=np.float32)
    block[RNG.choice(200, 20, replace=False)] = 0
    steps = steps_of(ToyStore({"u0": block}), Statistics(np.zeros(2), np.ones(2))).stretched(0.3, 0.0)
    for seed in range(20):
        batch = steps.batch([0], seed=seed)
        np.testing.assert_allclose(batch.x[batch.scored], 1, atol=1e-6)
        assert not batch.x[~batch.scored].any()
        assert 0.6 < batch.scored.float().mean() < 0.95


# ---------------------------------------------------------------------------------------------- batches


def test_a_batch_is_padded_with_zeros_and_its_rows_are_the_utterances():
    steps, target = steps_of(waves(), subsampling=2), np.arange(8) * 10
    batch = steps.batch([5, 0, 3], target=target)
    assert batch.ids == ["u5", "u0", "u3"]
    assert batch.target.tolist() == [50, 0, 30]
    assert batch.lengths.tolist() == [int(steps.lengths[i]) for i in (5, 0, 3)]
    assert batch.x.shape == (3, int(batch.lengths.max()), 12)
    for row, i in enumerate([5, 0, 3]):
        length = int(batch.lengths[row])
        np.testing.assert_array_equal(batch.x[row, :length], steps[i][0])
        assert not batch.x[row, length:].any()
        assert batch.scored[row, :length].all()
        assert not batch.scored[row, length:].any()


def test_crops_follow_the_seed_and_the_utterance_and_nothing_else():
    steps = steps_of(waves(longest=40, shortest=30))
    together = steps.batch([4, 1, 2], seed=3, most=10)
    assert together.lengths.tolist() == [10, 10, 10]
    whole = steps[1][0]
    starts = [s for s in range(len(whole) - 9) if np.array_equal(whole[s : s + 10], together.x[1])]
    assert len(starts) == 1
    alone = steps.batch([1], seed=3, most=10)
    assert alone.x[0].equal(together.x[1])
    assert alone.seeds == together.seeds[1:2]
    places = {steps.batch([1], seed=s, most=10).x[0].numpy().tobytes() for s in range(30)}
    assert len(places) > 10  # elsewhere every epoch


def test_row_seeds_are_stable_and_distinct():
    assert row_seed(0, "u0") == 6956080452169305716  # on every machine and in every version: masks hang on it
    seeds = {row_seed(s, f"u{k}") for s in range(20) for k in range(200)}
    assert len(seeds) == 4000


def test_a_batch_reads_its_own_rows_only():
    store = waves(50)
    steps = steps_of(store)
    store.read.clear()
    steps.batch([3, 17])
    assert sorted(set(store.read)) == ["u17", "u3"]


@pytest.mark.parametrize("name", ["covarep", "egemaps"])
def test_silence_is_found_in_tracks_that_are_no_log_energies(name):
    if name == "egemaps":
        pytest.importorskip("opensmile")
    maker = plugins.load("tracks", name)
    samples = 1e-4 * np.random.default_rng(0).normal(size=32_000)
    samples[9600:22_400] += voice(seconds=0.8).samples[:12_800]
    track = maker.make(Track(samples.astype(np.float32), 16_000.0), maker.Config())
    store = ToyStore({"u0": track.values}, rate_hz=100.0, offset_s=track.offset_s)
    store.head = Head(name, {}, 100.0, track.offset_s, track.values.shape[1])
    first, last = steps_of(store, subsampling=1, trim_db=25.0).bounds[0]
    assert 48 <= first <= 60
    assert 140 <= last <= 152


def test_making_steps_reads_no_frames_unless_they_are_to_be_trimmed():
    store = waves(50)
    Steps([(store, store.utterances)], Frontend(), Statistics(np.zeros(6), np.ones(6)))
    assert store.read == []


def test_sources_are_counted_through_in_order():
    a, b = waves(3), waves(2, seed=1)
    steps = Steps([(a, a.utterances), (b, b.utterances)], Frontend(subsampling=1, normalise="utterance"))
    assert len(steps) == 5
    np.testing.assert_array_equal(steps.raw(3), b["u0"])
    np.testing.assert_array_equal(steps.raw(2), a["u2"])


@pytest.mark.parametrize("normalise", ["corpus", "speaker", "utterance", "none"])
def test_a_subset_holds_the_same_steps_normalised_by_everybody(normalise):
    """Of its speakers' other recordings too: labels are few, speech is not."""
    whole = steps_of(waves(8), normalise=normalise)
    part = whole.subset([6, 1]).subset([1, 0])
    assert [u.id for u in part.utterances] == ["u1", "u6"]
    assert part.lengths.tolist() == whole.lengths[[1, 6]].tolist()
    for i, k in enumerate([1, 6]):
        np.testing.assert_array_equal(part[i][0], whole[k][0])
    assert part.batch([1], seed=3).x.equal(whole.batch([6], seed=3).x)
    assert len(whole.subset([])) == 0


def test_tracks_of_different_width_and_missing_ones_are_refused():
    a, b = waves(2, features=6), waves(2, features=7)
    with pytest.raises(InputError, match=r"different width. Found \[6, 7\]"):
        Steps([(a, a.utterances), (b, b.utterances)], Frontend())
    with pytest.raises(InputError, match="no frames for utterance 'u9'"):
        Steps([(a, [Utterance("u9", "toy", "")])], Frontend())


def test_a_corpus_of_missing_frames_is_refused():
    nothing = ToyStore({"u0": np.zeros((5, 3))})
    with pytest.raises(InputError, match="Every frame of 1 utterances is all zero"):
        Steps([(nothing, nothing.utterances)], Frontend()).fit_statistics()


@pytest.mark.parametrize(
    "wrong", [{"subsampling": 0}, {"subsample": "max"}, {"normalise": "everything"}, {"clip": -1.0}]
)
def test_impossible_frontends_are_refused(wrong):
    with pytest.raises(InputError, match=f"frontend.{next(iter(wrong))}"):
        Frontend(**wrong)


# ---------------------------------------------------------------------------------------------- epochs

LENGTHS = np.random.default_rng(1).lognormal(5, 0.6, 2000).astype(int) + 1


@pytest.mark.parametrize("most", [None, 150])
def test_an_epoch_holds_every_utterance_once_within_the_limits(most):
    plan = plan_epoch(LENGTHS, batch_steps=4000, batch_rows=32, seed=0, epoch=0, most=most)
    assert sorted(np.concatenate(plan).tolist()) == list(range(2000))
    cost = np.minimum(LENGTHS, most or 10**9)
    for rows in plan:
        assert len(rows) <= 32
        assert len(rows) == 1 or len(rows) * cost[rows].max() <= 4000


def test_an_utterance_longer_than_a_batch_is_a_batch_of_its_own():
    plan = plan_epoch(np.array([5, 900, 7]), batch_steps=20, batch_rows=8, seed=0, epoch=0)
    assert sorted(sorted(rows.tolist()) for rows in plan) == [[0, 2], [1]]


def test_epochs_repeat_by_seed_and_number_and_differ_otherwise():
    def plan(seed, epoch):
        return [rows.tolist() for rows in plan_epoch(LENGTHS, batch_steps=4000, batch_rows=32, seed=seed, epoch=epoch)]

    assert plan(0, 3) == plan(0, 3)
    assert plan(0, 3) != plan(0, 4)
    assert plan(0, 3) != plan(1, 3)
    assert {frozenset(rows) for rows in plan(0, 3)} != {frozenset(rows) for rows in plan(0, 4)}  # other company too


@pytest.mark.parametrize("epoch", range(3))
def test_a_balanced_epoch_has_as_many_of_every_class_and_repeats_nobody_twice_as_often(epoch):
    classes = np.repeat([0, 1, 4], [1500, 480, 20])
    plan = plan_epoch(LENGTHS, batch_steps=4000, batch_rows=32, seed=0, epoch=epoch, classes=classes)
    drawn = np.concatenate(plan)
    assert len(drawn) == 2000
    assert sorted(np.bincount(classes[drawn], minlength=5)[[0, 1, 4]].tolist()) == [666, 667, 667]
    times = np.bincount(drawn, minlength=2000)
    for name in (0, 1, 4):
        assert np.ptp(times[classes == name]) <= 1
    for rows in plan:
        assert len(rows) == 1 or len(rows) * LENGTHS[rows].max() <= 4000


def test_balanced_epochs_take_turns_with_a_large_class():
    classes = np.repeat([0, 1], [1500, 500])
    plans = [
        np.concatenate(plan_epoch(LENGTHS, batch_steps=4000, batch_rows=32, seed=0, epoch=e, classes=classes))
        for e in (0, 0, 1)
    ]
    assert plans[0].tolist() == plans[1].tolist()
    assert set(plans[0][plans[0] < 1500].tolist()) != set(plans[2][plans[2] < 1500].tolist())


def test_little_of_a_batch_is_padding_and_batches_come_in_no_order_of_length():
    plan = plan_epoch(LENGTHS, batch_steps=8000, batch_rows=32, seed=0, epoch=0)
    padded = sum(len(rows) * LENGTHS[rows].max() for rows in plan)
    assert 1 - LENGTHS.sum() / padded < 0.10
    longest = [LENGTHS[rows].max() for rows in plan]
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.3


def test_evaluation_reads_every_utterance_once_shortest_first():
    batches = list(sequential(LENGTHS, batch_steps=4000, batch_rows=16))
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(2000))
    assert (np.diff(LENGTHS[order]) >= 0).all()
    assert all(len(b) == 1 or len(b) * LENGTHS[b].max() <= 4000 for b in batches)
    assert all(LENGTHS[rows].max() <= 1.2 * LENGTHS[rows].min() for rows in batches)  # hardly any padding
    assert list(sequential(np.zeros(0, dtype=int), batch_steps=10)) == []


def test_a_batch_moves_to_a_device_with_all_its_parts():
    batch = steps_of(waves()).batch([0, 1], target=np.arange(8.0))
    batch.tracks["more"] = torch.ones(2, 3)
    moved = batch.to("meta")
    assert {t.device.type for t in (moved.x, moved.lengths, moved.scored, moved.target, moved.tracks["more"])} == {
        "meta"
    }
    assert moved.ids == batch.ids


# ---------------------------------------------------------------------------------------------- auxiliary tracks

UNIT = Statistics(np.zeros(2, np.float32), np.ones(2, np.float32))


def clocks(seconds=(3.0, 1.37, 0.2), rate_hz=62.5, offset_s=0.0):
    """Features whose first column is the time of the frame, and a companion whose only column is its own time."""
    ours, theirs = {}, {}
    for k, s in enumerate(seconds):
        t = 0.0125 + np.arange(round(s * 100)) / 100
        ours[f"u{k}"] = np.stack([t, np.where((t > 0.4) & (t < s - 0.3), 5.0, -5.0)], axis=1)  # loud in the middle
        theirs[f"u{k}"] = (offset_s + np.arange(round(s * rate_hz)) / rate_hz)[:, None]
    return ToyStore(ours, 100.0, 0.0125), ToyStore(theirs, rate_hz, offset_s)


def same_ramp(batch, ends):
    """The companion tells the time of every step: a ramp on its own frames, held at the ends of its clock."""
    for k, length in enumerate(batch.lengths.tolist()):
        now, found = batch.x[k, :length, 0].numpy(), batch.tracks["intensity"][k, :length].numpy()
        first, last = ends[batch.ids[k]]
        inside = (now > first + 0.03) & (now < last - 0.03)  # a step at the edge is partly held
        np.testing.assert_allclose(found[inside], now[inside], atol=1e-3)
        np.testing.assert_allclose(found, now.clip(first, last), atol=0.02)
        assert not batch.tracks["intensity"][k, length:].any()


@pytest.mark.parametrize("offset_s", [0.0, 0.03])
@pytest.mark.parametrize("rate_hz", [62.5, 100.0, 333.0])
@pytest.mark.parametrize("how", ["plain", "pooled", "trimmed", "cropped", "stretched", "all of it"])
def test_a_ramp_stays_a_ramp_on_its_frames_through_trimming_cropping_pooling_and_stretching(how, rate_hz, offset_s):
    ours, theirs = clocks(rate_hz=rate_hz, offset_s=offset_s)
    pool = 3 if how in ("pooled", "all of it") else 1
    trim = 10.0 if how in ("trimmed", "all of it") else 0.0
    crop = 20 if how in ("cropped", "all of it") else None
    steps = steps_of(ours, UNIT, {"intensity": (theirs, "linear")}, subsampling=pool, subsample="mean", trim_db=trim)
    if how in ("stretched", "all of it"):
        steps = steps.stretched(0.2, 0.0)
    ends = {k: (v[0, 0], v[-1, 0]) for k, v in theirs.items()}
    for seed in range(5):
        batch = steps.batch([2, 0, 1], seed=seed, most=crop)
        assert batch.tracks["intensity"].shape == batch.x.shape[:2]
        same_ramp(batch, ends)
    same_ramp(steps.subset([1, 2]).batch([0, 1]), ends)


def test_held_edges_leave_no_zeros_in_the_tail():
    ours, theirs = clocks()
    batch = steps_of(ours, UNIT, {"intensity": (theirs, "linear")}).batch([0])
    assert batch.tracks["intensity"][0, -1] == theirs["u0"][-1, 0]


def test_padding_as_released_leaves_the_last_third_without_intensity():
    ours, theirs = clocks()
    for pool in (1, 4):
        batch = steps_of(ours, UNIT, {"intensity": (theirs, "pad")}, subsampling=pool).batch([0, 1])
        for k, (key, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True)):
            padded = np.zeros(length * pool)
            kept = theirs[key][: len(padded), 0]
            padded[: len(kept)] = kept
            wanted = padded.reshape(-1, pool).mean(1)
            np.testing.assert_allclose(batch.tracks["intensity"][k, :length], wanted, atol=1e-6)
    dense = {k: np.arange(900.0)[:, None] for k in ours}
    many = ToyStore(dense, 900 / 3.0)
    few = ToyStore({"u0": ours["u0"]}, 100.0, 0.0125)
    batch = steps_of(few, UNIT, {"intensity": (many, "pad")}).batch([0], most=50)
    assert (batch.tracks["intensity"][0].diff() == 1).all()  # cut where the features end, and with them
    assert batch.tracks["intensity"][0, 0] == round(float(batch.x[0, 0, 0]) * 100 - 1.25)


def test_a_wide_companion_is_pooled_like_the_features():
    store = waves(4, features=3)
    batch = steps_of(store, aux={"target": (store, "linear")}, subsampling=4).batch(range(4))
    assert batch.tracks["target"].shape == batch.x.shape
    raw = steps_of(store, Statistics(np.zeros(3), np.ones(3)), subsampling=4).batch(range(4))
    torch.testing.assert_close(batch.tracks["target"], raw.x)
    with pytest.raises(InputError, match=r"training.feature_stretch: 0.1 would move the features away from the target"):
        steps_of(store, aux={"target": (store, "linear")}).stretched(0.0, 0.1)


def test_a_companion_of_other_audio_is_refused():
    ours, theirs = clocks()
    for store, said in [
        (ToyStore({k: v[:-30] for k, v in theirs.items() if k != "u2"} | {"u2": theirs["u2"]}, 62.5),
         "of utterance 'u0' belongs to other audio.*2.51 s at 62.5 Hz and 3.00 s"),
        (ToyStore(theirs, 100.0), "of utterance 'u0' belongs to other audio, or its rate is wrong"),
        (ToyStore({"v0": theirs["u0"], "u1": theirs["u1"]}, 62.5),
         "no intensity for utterance 'u0'. Found it for 1 of 3"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=said):
            steps_of(ours, UNIT, {"intensity": (store, "linear")})


# ---------------------------------------------------------------------------------------------- as they are


def test_without_normalisation_and_clipping_frames_come_as_they_are():
    """Magnitudes of a model that was trained on magnitudes; missing frames and padding stay zero."""
    store = waves(5, longest=30)
    for values in store.values():
        values *= 400
        values[3] = 0
    steps = steps_of(store, Statistics(np.full(6, 7.0), np.full(6, 9.0)), normalise="none", clip=0)
    batch = steps.batch(range(5))
    for k, (id, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True)):
        np.testing.assert_array_equal(batch.x[k, :length], store[id])
        assert not batch.x[k, length:].any()
        assert batch.scored[k, :length].tolist() == [t != 3 for t in range(length)]
    assert np.abs(store["u0"]).max() > 400
    held = steps_of(store, normalise="none", clip=25).batch(range(5))
    np.testing.assert_array_equal(held.x, batch.x.clip(-25, 25))
