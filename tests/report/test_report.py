"""Laws of the report pages: well formed, quiet on the network, deaf to hostile text, true to the numbers given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import Markup

from sottovoce import report
from sottovoce.report import charts, page

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]


def entry(value, half=0.03):
    return {"value": value, "low": value - half, "high": value + half}


def data_report():
    rng = np.random.default_rng(0)
    counts = {c: 96 if c == "neutral" else 192 for c in EMOTIONS}
    lengths = rng.normal(3.7, 0.35, 1440)
    bins, edges = np.histogram(lengths, 24)
    folds = []
    for k in range(6):
        classes = {
            side: {c: n * part // 24 for c, n in counts.items()}
            for side, part in [("train", 18), ("dev", 2), ("test", 4)]
        }
        folds.append(
            {"name": f"fold{k + 1}", "group": "speaker", "train": 1080, "dev": 120, "test": 240, "classes": classes}
        )
    return {
        **{"corpus": "ravdess", "source": "https://zenodo.org/record/1188976", "licence": "CC BY-NC-SA 4.0"},
        **{"utterances": 1440, "hours": 1.4803, "speakers": 24, "counts": {"emotion": counts}},
        "speakers_by": {f"Actor_{k:02d}": 60 for k in range(1, 25)},
        "genders": {"female": 720, "male": 720},
        "cross": {"emotion x gender": {c: {"female": n // 2, "male": n - n // 2} for c, n in counts.items()}},
        "durations_s": {
            **{"min": float(lengths.min()), "median": float(np.median(lengths)), "mean": float(lengths.mean())},
            **{"max": float(lengths.max()), "histogram": {"edges": edges.tolist(), "counts": bins.tolist()}},
        },
        **{"sample_rates": {48000: 1434, 16000: 6}, "channels": {1: 1435, 2: 5}},
        "problems": {
            "broken": [{"path": "Actor_05/03-01-02-01-01-01-05.wav", "why": "truncated: 12,044 of 180,224 samples"}],
            **{"silent": [], "duplicate": [["Actor_01/a.wav", "Actor_01/b.wav"]], "clipped": ["Actor_12/c.wav"] * 3},
        },
        **{"folds": folds, "warnings": ["6 files are not 48000 Hz; they are resampled."]},
    }


def pretrain_report():
    rng = np.random.default_rng(1)
    step = np.arange(0, 12000, 20)
    loss = 0.42 + 0.4 * np.exp(-step / 2500) + 0.02 * rng.standard_normal(len(step))
    held = np.arange(500, 12001, 500)
    panels = []
    for k in range(2):
        t, d = np.mgrid[0:320, 0:80]
        x = 2 * np.sin(t / 13 + k) * np.exp(-(((d - 30 - 12 * np.sin(t / 40)) / 14) ** 2)) + 0.3 * rng.standard_normal(
            t.shape
        )
        mask = np.zeros(320, dtype=bool)
        for start in rng.choice(300, 9, replace=False):
            mask[start : start + 14] = True
        y = np.where(mask[:, None], 0.75 * x + 0.1 * rng.standard_normal(x.shape), x)
        rules = {"random": mask, "ems_coverage": np.roll(mask, 20), "ems_released": np.zeros(320, dtype=bool)}
        panels.append(
            {"id": f"Actor_0{k + 1}/03-01-05", "rate_hz": 100.0, "original": x, "masked": mask, "reconstructed": y}
            | {"intensity": np.sin(t[:, 0] / 20), "rules": rules}
        )
    return {
        **{"title": "masked_timesteps on ravdess, librispeech", "objective": "masked_timesteps"},
        **{"backbone": "transformer, 4 x 128", "parameters": 1_243_712, "fold": "fold1", "seconds": 1834.2},
        "corpora": [
            {"name": "ravdess", "utterances": 1200, "hours": 1.21, "speakers": 20},
            {"name": "librispeech", "utterances": 620, "hours": 1.44, "speakers": 40},
        ],
        **{"exposure": "training and dev speakers of fold1; no test speaker was heard", "hardware": "2 CPU cores"},
        "curves": {
            **{"step": step, "loss": loss, "heldout_step": held, "heldout_loss": 0.44 + 0.4 * np.exp(-held / 2500)},
            **{"coverage": 0.4 + 0.01 * rng.standard_normal(len(held)), "trivial_loss": 0.81},
            **{"rank": 20 + 40 * (1 - np.exp(-held / 3000)), "probe_step": held[::4]},
            **{"hidden_step": held, "hidden_intensity": 0.6 + held / 1e5, "visible_intensity": 0.5 - held / 1e5},
            "probe_ua": 0.3 + 0.25 * (1 - np.exp(-held[::4] / 4000)),
        },
        "masking": {
            **{"rule": "ems_coverage", "ratio": 0.4, "span": 14, "intensity": "strength", "coverage": 0.397},
            **{"hidden_intensity": 0.72, "visible_intensity": 0.38},
        },
        **{
            "panels": panels,
            "config": {"training": {"lr": 2e-4, "steps": 12000}, "objective": {"span": 14, "ratio": 0.4}},
        },
    }


def strength_report():
    rng = np.random.default_rng(4)

    def question(*values):
        scores = {
            n: {"auc": entry(v), "spearman": entry(2 * v - 1)}
            for n, v in zip(("rank", "strength", "energy"), values, strict=True)
        }
        ahead = {"strength": {"auc": entry(values[1] - values[2]) | {"p": 0.0123}}}
        by_emotion = {
            e: {n: v + d for n, v in zip(scores, values, strict=True)} for e, d in (("happy", 0.02), ("sad", -0.03))
        }
        return {"n": 224, "speakers": 4, "key": "auc", "scores": scores, "ahead": ahead, "by_emotion": by_emotion}

    panels = []
    for k in range(2):
        frames = 0.5 + 0.2 * np.sin(np.arange(220) / 20 + k)
        panels.append(
            {"id": f"03-01-0{k}", "emotion": "happy", "said": "strong", "person": "ravdess/Actor_05", "rate_hz": 62.5,
             "features": np.abs(rng.standard_normal((220, 80))) - k, "frames": frames, "energy_frames": 3 * frames - 1,
             "target": 0.73, "follows_energy": 0.41}
        )  # fmt: skip
    held = 1.9 + 0.4 * np.exp(-np.arange(8) / 3)
    return {
        **{"title": "strengthnet, fold1", "first_line": "Split at random, as released: flattering.", "fold": "fold1"},
        "agreement": {
            **{"part": "test", "intensity": question(0.786, 0.804, 0.844), "neutral": question(0.884, 0.871, 0.863)},
            **{"follows_energy": entry(0.512), "moves": entry(0.047)},
        },
        "curves": {
            **{"step": np.arange(1, 9) * 16, "loss": held - 0.1, "heldout_step": np.arange(1, 9) * 16},
            **{"heldout_loss": held, "heldout_mae": held / 10, "heldout_ua": 1 - held / 3, "trivial_loss": 2.26},
        },
        **{"panels": panels, "parameters": 1_859_769, "emotions": ["happy", "sad"], "neutral": ["neutral"]},
        "corpora": [{"name": "ravdess", "utterances": 896, "speakers": 18}],
        **{"functionals": "eGeMAPSv02", "exposure": "20 people", "seconds": 1200.0, "hardware": "2 CPU cores"},
        **{"warnings": ["The dev loss is no better."], "config": {"training": {"lr": 1e-4}}},
    }


def label_report():
    rng, sets = np.random.default_rng(4), []
    for k in (64, 512):
        counts = rng.multinomial(60_000, rng.dirichlet(np.ones(k)))
        names = {
            "emotion": {"purity": 0.27, "chance": 0.15, "nmi": 0.065},
            "gender": {"purity": 0.76, "chance": 0.52, "nmi": 0.1},
        }
        side = {"distance": 3411.8, "explained": 0.64, "used": k, "empty": 0, "perplexity": 0.9 * k, "mean_ms": 69.6}
        side |= {"median_ms": 40.0, "p95_ms": 160.0, "single": 0.62, "names": names}
        entry = {"clusters": k, "units": k, "inertia": 1.8e8, "counts": counts, "train": side, "heldout": side}
        sets.append(entry | {"seeds": [{"seed": 1, "ari": 0.49, "nmi": 0.73}]})
    return {
        **{
            "title": "masked_timesteps, layer 2, fold1",
            "run": "runs/pre/fold1",
            "layer": 2,
            "fold": "fold1",
            "seed": 0,
        },
        **{"genders": [], "codebook": "54aad2f0c845ce6ba199948b17d48e68", "width": 128, "rate_hz": 25.0, "sets": sets},
        **{"frames": {"train": 54057, "heldout": 6245}, "exposure": ["ravdess/Actor_05"], "seconds": 58.0},
        "corpora": [{"name": "ravdess", "train": 1080, "heldout": 120}],
        "warnings": ["Leaky: clusters were fitted on all speakers, test speakers of every fold included."],
        **{"config": {"clustering": {"method": "nested", "tolerance": 5e-4}}, "hardware": "2 CPU cores"},
    }


def class_report():
    rng = np.random.default_rng(2)
    recall = dict(zip(EMOTIONS, rng.uniform(0.4, 0.85, 8), strict=True))
    counts = []
    for k, c in enumerate(EMOTIONS):
        n = 96 if c == "neutral" else 192
        row = rng.multinomial(n - int(recall[c] * n), np.ones(7) / 7)
        counts.append(np.insert(row, k, int(recall[c] * n)).tolist())
    metrics = {"wa": entry(0.6345), "ua": entry(0.6214), "macro_f1": entry(0.6178)}
    metrics |= {f"recall_{c}": entry(v, 0.07) for c, v in recall.items()}
    metrics |= {f"f1_{c}": entry(v - 0.03, 0.06) for c, v in recall.items()}

    def all_of(value):
        return {"metrics": {m: entry(value + d) for m, d in [("wa", 0.01), ("ua", 0), ("macro_f1", -0.01)]}}

    folds = []
    for k in range(6):
        near = {m: metrics[m]["value"] + 0.06 * rng.standard_normal() for m in ("wa", "ua", "macro_f1")}
        folds.append({"name": f"fold{k + 1}", "n": 240, "metrics": near})
    return {
        **{"title": "ravdess, 8 emotions", "n": 1440, "speakers": 24, "hardware": "2 CPU cores", "seconds": 412.0},
        "protocol": {
            "first_line": "Transductive: pre-training has seen the unlabelled audio of test speakers.",
            "folds": "6 x 4 actors, no actor on two sides",
            "normalisation": "corpus mean and deviation of the training part",
            "exposure": {"pre-training": "all 24 actors", "statistics": "training part of each fold"},
            **{"selection metric": "ua on dev", "interval": "bootstrap over speakers, 2000 draws"},
        },
        **{"task": {"kind": "class", "classes": EMOTIONS, "target": ["emotion"]}, "metrics": metrics, "folds": folds},
        "baselines": {
            **{"majority": all_of(0.125), "chance": all_of(0.125)},
            **{"egemaps_svm": all_of(0.48), "compare_svm": all_of(0.56)},
        },
        "confusion": {"classes": EMOTIONS, "counts": counts},
        "groups": {"gender": {"female": {m: entry(0.64) for m in ("wa", "ua", "macro_f1")},
                              "male": {m: entry(0.60) for m in ("wa", "ua", "macro_f1")}}},
        "config": {"init": "runs/pre", "training": {"lr": 1e-3, "epochs": 40}},
    }  # fmt: skip


def number_report():
    names = ["happy", "sad", "angry", "fear", "disgust", "surprise"]
    values = dict(zip(names, [0.52, 0.38, 0.31, 0.14, 0.24, 0.12], strict=True))
    metrics = {
        "mae": entry(0.285, 0.01),
        "acc4": entry(0.742, 0.012),
        "wacc": entry(0.612),
        "f1": entry(0.41),
        "ccc": entry(0.21),
    }
    metrics |= {f"mae_{c}": entry(v, 0.02) for c, v in values.items()}
    metrics |= {f"acc4_{c}": entry(1 - v, 0.02) for c, v in values.items()}
    median = {"mae": entry(0.31, 0.01), "acc4": entry(0.73, 0.01)} | {
        f"mae_{c}": entry(v + 0.03, 0.02) for c, v in values.items()
    }
    return {
        **{"title": "CMU-MOSEI, six intensities", "n": 4662, "speakers": 679, "metrics": metrics},
        "task": {"kind": "number", "classes": [], "target": names},
        "folds": [{"name": "official", "n": 4662, "metrics": {"mae": 0.285, "acc4": 0.742}}],
        "baselines": {
            "constant_0": {"metrics": {"mae": entry(0.33), "acc4": entry(0.72)}},
            "train_median": {"metrics": median},
        },
        "protocol": {"folds": "official, by video"},
    }


def study_report():
    ns, rng = [11, 54, 108, 270, 540, 1080], np.random.default_rng(3)
    top = {"pretrained": (0.66, 110), "probe": (0.61, 70), "scratch": (0.585, 200)}

    def curve(limit, half, shift=0.0):
        points = []
        for n in ns:
            value = 0.125 + (limit - 0.125) * n / (n + half) + shift
            points.append(
                {
                    "n": n,
                    "value": value,
                    "low": value - 0.02 - 0.15 / np.sqrt(n),
                    "high": value + 0.02 + 0.15 / np.sqrt(n),
                }
            )
        return points

    arms = {arm: curve(*shape) for arm, shape in top.items()}
    paired = [
        {"n": a["n"], "value": a["value"] - b["value"], "low": a["value"] - b["value"] - 0.025 - 0.12 / np.sqrt(a["n"]),
         "high": a["value"] - b["value"] + 0.025 + 0.12 / np.sqrt(a["n"]), "p": 0.0004 if a["n"] > 60 else 0.021}
        for a, b in zip(arms["pretrained"], arms["scratch"], strict=True)
    ]  # fmt: skip
    saved = []
    for n, factor in zip(ns, [1.6, 2.1, 2.4, 2.2, 2.0, 1.0], strict=True):
        never = n > 500
        high = None if never else factor * 1.4
        saved.append({"n": n, "factor": factor, "low": factor * 0.7, "high": high, "censored": never})
    per_class = {
        c: {arm: curve(limit + 0.1 * rng.standard_normal(), half) for arm, (limit, half) in top.items()}
        for c in EMOTIONS
    }
    return {
        **{"metric": "ua", "higher_is_better": True, "unit": "share", "ns": ns, "n_total": 1080, "arms": arms},
        **{
            "trivial": {"majority": 0.125, "chance": 0.125},
            "paired": paired,
            "per_class": per_class,
            "labels_saved": saved,
        },
        **{"meeting_point": None, "seeds": 5, "folds": 6, "speakers": 24, "config": {"lr": 1e-3}},
        "protocol": {"subsets": "nested, stratified by emotion", "selection": "ua on dev"},
    }


def prediction(seconds=24.0, hop=0.25):
    rng = np.random.default_rng(4)
    times = np.arange(0.5, seconds, hop)
    knots = np.linspace(0, seconds, max(int(seconds / 4), 3))
    logits = np.stack([np.interp(times, knots, rng.normal(0, 2, len(knots))) for _ in EMOTIONS], 1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    best, segments, start = p.argmax(1), [], 0.0
    for k in range(1, len(best) + 1):
        if k == len(best) or best[k] != best[k - 1]:
            end = seconds if k == len(best) else float(times[k] - hop / 2)
            segments.append(
                {"start": start, "end": end, "label": EMOTIONS[best[k - 1]], "confidence": float(p[k - 1].max())}
            )
            start = end
    clock = np.linspace(0, seconds, 1000)
    loud = 0.05 + np.abs(np.sin(clock * 1.7) * np.sin(clock * 0.4)) * rng.uniform(0.4, 0.9, 1000)
    return {
        **{
            "path": "recordings/interview_03.wav",
            "duration_s": seconds,
            "classes": EMOTIONS,
            "times_s": times.tolist(),
        },
        **{"probabilities": p.tolist(), "label": "happy", "confidence": 0.4312, "segments": segments},
        "waveform": {"times_s": clock.tolist(), "low": (-loud).tolist(), "high": loud.tolist()},
        **{"intensity": np.clip(p.max(1), 0, 1).tolist(), "model": {"run": "runs/ft", "window_s": 2.0}},
    }


def compare_report():
    """Two systems against a third: one clearly better, one that cannot be told from it."""

    def system(name, gain, low, high):
        values = {"ua": entry(0.55 + gain)} | {f"recall_{c}": entry(0.5 + gain, 0.06) for c in EMOTIONS}
        gap = {"value": gain, "low": low, "high": high, "p": 0.0123, "p_holm": 0.0246 if low > 0 else 0.41}
        gaps = {"ua": gap} | {f"recall_{c}": entry(gain, 0.05) for c in EMOTIONS}
        seeds = {"seeds": [0, 1], "by_seed": [0.54 + gain, 0.56 + gain], "detectable": 0.031}
        return {"name": name, "metrics": values, "difference": gaps if gain else None} | seeds

    systems = [system("egemaps_svm", 0.0, 0, 0), system("majority", 0.08, 0.05, 0.11), system("c", -0.01, -0.04, 0.02)]
    return {
        **{"title": "ravdess", "metric": "ua", "reference": "egemaps_svm", "systems": systems, "n": 1440},
        **{"speakers": 24, "left_out": 3, "task": {"kind": "class", "classes": EMOTIONS, "target": ["emotion"]}},
        "differs": {"training.lr": {"egemaps_svm": 2e-4, "majority": 1e-3, "c": "<b>"}},
        "protocol": {"folds": "6 x 4 actors", "first_line": "On the same utterances."},
    }


def index():
    items = [
        {"title": "Data", "href": "data/report.html", "summary": "640 utterances, 20 speakers, 4 emotions"},
        {"title": "Pre-training", "href": "runs/pre/report.html", "summary": "Held-out loss 0.412, trivial 0.803"},
        {"title": "Evaluation", "href": "runs/ft/report.html", "summary": "UA 0.612 [0.55, 0.66]; best baseline 0.53"},
    ]
    return report.index_page("Demo", items, "Synthetic voices, 2 CPU cores, 4 min 12 s")


PAGES = {
    "data": lambda: report.data_page(data_report()),
    "pretrain": lambda: report.pretrain_page(pretrain_report()),
    "strength": lambda: report.strength_page(strength_report()),
    "label": lambda: report.label_page(label_report()),
    "evaluate": lambda: report.evaluate_page(class_report()),
    "evaluate_number": lambda: report.evaluate_page(number_report()),
    "study": lambda: report.study_page(study_report()),
    "compare": lambda: report.compare_page(compare_report()),
    "index": index,
}


@pytest.fixture(scope="module")
def pages():
    return {name: make() for name, make in PAGES.items()}


VOID = {"br", "hr", "img", "input", "link", "meta"}


class Reader(HTMLParser):
    """A strict reader: every element closed in order; collects text, ids, references and attributes."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.text, self.ids, self.links, self.attributes, self.tags = [], [], [], [], [], set()
        self.feed(markup)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name, attributes):
        self.handle_startendtag(name, attributes)
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.tags.add(name)
        for key, value in attributes:
            self.attributes.append((name, key, value or ""))
            if key == "id":
                self.ids.append(value)
            if key in ("href", "src", "xlink:href", "action", "srcset", "poster"):
                self.links.append((name, value))
            self.links += [(name, target) for target in re.findall(r"url\(([^)]*)\)", value or "")]

    def handle_endtag(self, name):
        assert self.open.pop() == name, f"</{name}> does not close what was opened last"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(self.text)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_well_formed_and_loads_nothing(pages, name):
    reader = Reader(pages[name])
    assert not reader.tags & {"script", "iframe", "img", "object", "embed", "base"}
    assert len(reader.ids) == len(set(reader.ids))
    for element, target in reader.links:
        local = target.startswith(("data:", "#")) or (element == "a" and "//" not in target)
        assert local, f"<{element}> loads {target}"
        if target.startswith("#"):
            assert target[1:] in reader.ids
    assert not [key for _, key, _ in reader.attributes if key.startswith("on")]
    assert "@import" not in pages[name]
    assert "//" not in (page.TEMPLATES / "style.css").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_words_and_every_table_a_name(pages, name):
    reader = Reader(pages[name])
    for element, key in (("svg", "aria-label"), ("svg", "role")):
        count = pages[name].count(f"<{element} ")
        assert sum((e, k) == (element, key) and bool(v) for e, k, v in reader.attributes) == count
    assert pages[name].count('role="region"') == len(
        re.findall(r'role="region" tabindex="0" aria-label="[^"]+"', pages[name])
    )


@pytest.mark.parametrize("name", ["pretrain", "evaluate", "study"])
def test_same_report_gives_the_same_bytes(pages, name):
    assert PAGES[name]() == pages[name]


@pytest.mark.parametrize("name", [n for n in PAGES if n != "index"])
def test_pictures_follow_the_theme(pages, name):
    """Colours of figures are variables of the page, so that dark mode reaches them."""
    pictures = "".join(re.findall(r"<svg .*?</svg>", pages[name], flags=re.S))
    fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", pictures))
    assert "var(--ink)" in pictures
    assert not fixed


def luminance(colour):
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    """WCAG 2.2, success criterion 1.4.3."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [page.LIGHT, page.DARK], ids=["light", "dark"])
def test_text_and_data_stand_out(palette):
    for ground in ("paper", "panel"):
        assert min(contrast(palette[role], palette[ground]) for role in ("ink", "soft", "warn")) >= 4.5
    assert min(contrast(palette[f"c{k}"], palette["paper"]) for k in range(10)) >= 3
    assert page.LIGHT.keys() == page.DARK.keys()
    assert len(set(page.LIGHT.values())) == len(page.LIGHT)


HOSTILE = "<script>alert('x')</script>\"&amp;$\\frac$ \x00\udce9"


def replace(value, change):
    """The same nested dict with every string, key or value, put through `change`."""
    if isinstance(value, dict):
        return {replace(k, change): replace(v, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace(v, change) for v in value]
    return change(value) if isinstance(value, str) else value


def test_a_pre_training_page_says_what_was_asked_for_and_what_was_masked():
    words = Reader(report.pretrain_page(pretrain_report())).words.replace("\xa0", " ")
    assert "39.7 %" in words
    assert "ems_coverage, 40 % asked for" in words
    assert "strength where masked; 0.380 elsewhere" in words
    assert "What each rule masks" in words
    hidden = pretrain_report()["panels"][0]["rules"]["random"]
    assert f"random {100 * hidden.mean():.0f} %, ems_coverage" in report.pretrain_page(pretrain_report())


def test_a_picture_where_nothing_was_masked_has_no_masked_row():
    panel = pretrain_report()["panels"][0]
    nothing = panel | {"masked": np.zeros(320, dtype=bool), "reconstructed": panel["original"] * 0.5}
    rows = [len(report.pretrain.triptych(found, width=400).axes) for found in (panel, nothing)]
    assert rows[0] == rows[1] + 1
    assert "each predicted from its surroundings; mean absolute error" in report.pretrain._told(nothing)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (report.data_page, data_report()),
        (report.pretrain_page, pretrain_report() | {"panels": []}),
        (report.strength_page, strength_report()),
        (report.label_page, label_report()),
        (report.evaluate_page, class_report()),
        (report.study_page, study_report()),
        (report.compare_page, compare_report()),
    ],
)
def test_hostile_text_is_only_text(make, data):
    names = ("happy", "Actor_05", "ravdess", "interview", "majority", "fold1", "masked_timesteps", "female")
    markup = make(replace(data, lambda s: next((s.replace(n, HOSTILE) for n in names if n in s), s)))
    reader = Reader(markup)
    assert "script" not in reader.tags
    assert "<script" not in markup
    assert "<script>alert('x')</script>" in reader.words
    markup.encode("utf-8")
    assert "\x00" not in markup


def test_hostile_class_names_leave_the_svg_file_well_formed(tmp_path):
    from xml.etree import ElementTree

    hostile = replace(prediction(), lambda s: s.replace("happy", HOSTILE))
    report.timeline_figure(hostile, tmp_path / "a.svg", None)
    ElementTree.parse(tmp_path / "a.svg")


@pytest.mark.parametrize("value", [0.6214, 0.61949, 1.0, -0.02351, 1234.5678, -0.0004, 0.0])
def test_printed_number_is_the_number(value):
    for fixed in (False, True):
        printed = report.words.number(value, fixed=fixed).replace("−", "-").replace(",", "")
        assert float(printed) == round(value, 3)


def test_scores_of_the_report_are_on_the_page(pages):
    words, found = Reader(pages["evaluate"]).words, class_report()
    for entry in [*found["metrics"].values(), *(b["metrics"]["ua"] for b in found["baselines"].values())]:
        assert f"{round(entry['value'], 3):.3f}" in words
    for row in found["confusion"]["counts"]:
        assert all(f" {n} " in words for n in row)
    assert words.index("Transductive") < words.index("0.621")


def test_agreement_of_a_strength_model_is_on_the_page(pages):
    words = Reader(pages["strength"]).words
    for question in ("intensity", "neutral"):
        found = strength_report()["agreement"][question]
        for entry in found["scores"].values():
            assert f"{entry['auc']['value']:.3f}" in words
        assert f"{found['by_emotion']['sad']['energy']:.3f}" in words
    assert words.index("Split at random") < words.index("no better") < words.index("0.804")
    assert "StrengthNet − energy, on the same speakers: AUC −0.040" in re.sub(r"\s+", " ", words)
    assert "by rank 0.73" in words.replace("\xa0", " ")


def test_a_comparison_claims_no_more_than_its_intervals(pages):
    words = Reader(pages["compare"]).words
    for wanted in ("majority is better than egemaps_svm, p 0.025", "c cannot be told from egemaps_svm", "0.031 or more",
                   "3 utterances left out", "+0.080", "<b>", "0.540 to 0.560"):  # fmt: skip
        assert wanted in words


def test_pages_of_a_run_link_to_its_index(tmp_path):
    items = [{"title": "Data", "href": "a & b/report.html"}, {"title": "Gone", "href": "gone.html"}]
    (tmp_path / "a & b").mkdir()
    (tmp_path / "a & b/report.html").write_text(report.data_page({}), encoding="utf-8")
    for _ in range(2):  # a second run replaces the links of the first
        report.link_pages(tmp_path / "index.html", items)
    page = (tmp_path / "a & b/report.html").read_text(encoding="utf-8")
    assert [target for element, target in Reader(page).links if element == "a"] == ["../index.html"]


def test_study_table_holds_every_point(pages):
    words, study = Reader(pages["study"]).words, study_report()
    for points in [*study["arms"].values(), study["paired"]]:
        for p in points:
            low, high = (f"{p[key]:.3f}".replace("-", "−") for key in ("low", "high"))
            assert f"{p['value']:.3f}" in words
            assert f"[{low}, {high}]" in words
    assert "< 0.001" in words
    assert "2.4×" in words
    assert "≥ 2×" in words


def test_probe_is_held_against_scratch_too(quick):
    """As `study` writes it: two contrasts, corrected p, and factors that are bounds."""
    study = study_report()
    study["probe_paired"] = [p | {"value": 0.4444, "p": 0.0001, "p_holm": 0.0321} for p in study["paired"]]
    study["probe_labels_saved"] = [
        {"n": p["n"], "factor": 0.8772, "low": None, "at_most": True} for p in study["paired"]
    ]
    words = Reader(report.study_page(study)).words
    for wanted in ("probe − scratch", "0.444", "0.032", "≤ 0.877×", "corrected by Holm"):
        assert wanted in words
    assert [arm for arm, _, _ in report.study.contrasts(study)] == ["pretrained", "probe"]


def test_corpus_counts_are_on_the_page(pages):
    words = Reader(pages["data"]).words
    for wanted in (
        "1,440",
        "1.48 h",
        "Actor_05/03-01-02-01-01-01-05.wav",
        "truncated: 12,044",
        "fold6",
        "apart: speaker",
    ):
        assert wanted in words.replace("\xa0", " ")


MAKERS = {
    "data": (report.data_page, data_report()),
    "pretrain": (report.pretrain_page, pretrain_report()),
    "strength": (report.strength_page, strength_report()),
    "label": (report.label_page, label_report()),
    "class": (report.evaluate_page, class_report()),
    "number": (report.evaluate_page, number_report()),
    "study": (report.study_page, study_report()),
    "compare": (report.compare_page, compare_report()),
}


@pytest.fixture
def quick(monkeypatch):
    """Figures are drawn but not rendered."""
    monkeypatch.setattr(charts, "inline", lambda draw, name, alt, look: Markup("<svg></svg>" if draw() else ""))


@pytest.mark.parametrize("name", MAKERS)
def test_anything_may_be_missing(quick, name):
    make, data = MAKERS[name]
    keys = list(data)
    variants = [{}, dict.fromkeys(keys), {k: type(v)() if isinstance(v, (list, dict)) else v for k, v in data.items()}]
    variants += [{k: data[k] for k in keys[start::2]} for start in (0, 1)]
    for variant in variants:
        words = Reader(make(variant)).words
        assert not re.search(r"\b(nan|None|inf)\b", words)


def blank(value):
    """Every float a NaN, every second one None."""
    if isinstance(value, dict):
        return {k: blank(v) for k, v in value.items()}
    if isinstance(value, list):
        return [blank(v) for v in value]
    return float("nan") if isinstance(value, float) else value


@pytest.mark.parametrize("name", ["class", "number", "study", "pretrain", "strength", "label"])
def test_what_is_not_a_number_is_a_dash(quick, name):
    make, data = MAKERS[name]
    words = Reader(make(blank({k: v for k, v in data.items() if k not in ("panels", "config")}))).words
    assert "–" in words
    assert not re.search(r"\b(nan|None|inf)\b", words)


def test_figures_are_written_twice_the_same(tmp_path):
    for k in "ab":
        report.study_figure(study_report(), tmp_path / f"{k}.svg", tmp_path / f"{k}.png")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "from scratch" in (tmp_path / "a.svg").read_text()


def test_many_segments_become_the_most_frequent_of_each_cell():
    """Planted: sad for the first half with short bursts of happy, then angry."""
    segments = []
    for k in range(1000):
        segments.append({"start": k, "end": k + 0.9, "label": "sad" if k < 500 else "angry"})
        segments.append({"start": k + 0.9, "end": k + 1, "label": "happy"})
    assert [(round(a), round(b), c) for a, b, c in report.predict.strip(segments, 1000.0, 100)] == [
        (0, 500, "sad"),
        (500, 1000, "angry"),
    ]
    assert len(report.predict.strip(segments, 1000.0, 5000)) == 2000


def test_labels_beside_curves_keep_their_distance():
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = rng.uniform(0, 5, 6)
        places = charts.spread(wanted, 0.7)
        assert np.diff(np.sort(places)).min() >= 0.7 - 1e-9
        assert np.argsort(places).tolist() == np.argsort(wanted).tolist()


def test_pooling_keeps_the_mean_and_the_extremes():
    x = np.random.default_rng(0).standard_normal(6000)
    assert charts.pooled(x, 600).mean() == pytest.approx(x.mean())
    assert charts.pooled(x, 77, np.max).max() == x.max()
    assert charts.pooled(x[:10], 600) is not None
    assert len(charts.pooled(x[:10], 600)) == 10


def test_reports_import_no_plotting_library():
    import subprocess
    import sys

    code = "import sys, sottovoce.report; print([m for m in ('matplotlib', 'torch', 'pandas') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_index_shows_results_and_pictures(tmp_path):
    (tmp_path / "curve.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    hostile = "</title><b>[/b] =1+1"
    picture = report.embedded(tmp_path / "curve.svg")
    items = [{"title": hostile, "href": "a.html", "result": "UA 0.61", "picture": picture}]
    page = report.index_page("Demo", items)
    assert "UA 0.61" in Reader(page).words
    assert hostile in Reader(page).words
    assert 'src="data:image/svg+xml;base64,' in page
    assert report.embedded(tmp_path / "gone.svg") == ""


def test_pages_of_a_run_link_to_each_other(tmp_path):
    items = [{"title": f"<{name}>", "href": f"{name}/report.html"} for name in ("a", "b")]
    for item in items:
        (tmp_path / item["href"]).parent.mkdir()
        (tmp_path / item["href"]).write_text(report.data_page({}), encoding="utf-8")
    for _ in range(2):
        report.link_pages(tmp_path / "index.html", items)
    page = (tmp_path / "a/report.html").read_text(encoding="utf-8")
    assert [target for element, target in Reader(page).links if element == "a"] == ["../index.html", "../b/report.html"]
    assert "<a>" in Reader(page).words


@pytest.mark.parametrize("name", ["evaluate", "compare", "study"])
def test_every_score_of_a_page_is_explained_on_it(pages, name):
    words = Reader(pages[name]).words
    assert "What the scores mean" in words
    assert "mean of the class recalls; 0 to 1, chance is" in words
    assert "none with fewer than four" in words


def test_without_intervals_no_caption_speaks_of_one():
    bare = {"ua": {"value": 0.5, "low": None, "high": None}, "wa": {"value": 0.6, "low": None, "high": None}}
    words = Reader(report.evaluate_page({"metrics": bare, "task": {"kind": "class", "classes": ["a", "b"]}})).words
    assert "fewer than four speakers" in words
    assert "thick line" not in words


def test_unknown_gender_is_called_so():
    words = Reader(report.data_page({"speakers": 8, "genders": {"unknown": 8}, "utterances": 9})).words
    assert "gender unknown" in words
    assert "8 unknown" not in words


def test_what_raters_said_is_on_the_page():
    entry = {"value": 0.1234, "low": 0.1, "high": 0.2}
    raters = {"n": 60, "model": {"kl": entry, "js": entry}, "training shares": {"kl": entry, "js": entry}}
    words = Reader(report.evaluate_page({"raters": raters})).words
    assert "KL divergence" in words
    assert "0.123" in words
