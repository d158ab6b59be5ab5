"""The label curve of what one would do without this package: openSMILE functionals and a linear SVM.

    python docs/functionals_curve.py data/ravdess 12,60,120,300,600,1200

Every fold's training and dev part as in `sottovoce study --dev share`: of N labels a fifth chooses C. Two draws.
"""

import sys
from dataclasses import replace

import numpy as np

from sottovoce.data.corpus import Corpus
from sottovoce.data.subsets import nested_subsets
from sottovoce.data.task import Task
from sottovoce.metrics.statistics import intervals
from sottovoce.pipeline.baselines import functionals_svm


def main(folder: str, counts: list[int], draws: int = 2) -> None:
    corpus = Corpus.load(folder)
    task = Task.of(corpus)
    for n in counts:
        said, truth, who = [[] for _ in range(draws)], [], []  # type: ignore[var-annotated]
        for fold in corpus.folds:
            pool = [u for k in (*fold.train, *fold.dev) if task.has(u := corpus.by_id[k])]
            test = [u for k in fold.test if task.has(u := corpus.by_id[k])]
            truth.append(task.values(test))
            who += [u.speaker for u in test]
            for seed in range(draws):
                order = np.random.default_rng(seed).permutation(
                    nested_subsets(task.values(pool), [min(n, len(pool))], seed)[0]
                )
                ids = [pool[k].id for k in order]
                dev = len(ids) // 5
                part = replace(fold, train=tuple(ids[dev:]), dev=tuple(ids[:dev]))
                said[seed].append(
                    functionals_svm(corpus, part, task, jobs=1, quiet=True, cache=corpus.folder / "tracks")
                )
        answers = np.stack([np.concatenate(rows) for rows in said])
        found = intervals(task, np.concatenate(truth), answers, who)["ua"]
        print(f"| {n} | {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}] |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(n) for n in sys.argv[2].split(",")])
