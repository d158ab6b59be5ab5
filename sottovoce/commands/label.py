"""`sottovoce label`: hidden states of a layer -> k-means units, one set per K, per fold."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import say


def main(
    run: Annotated[Path, typer.Argument(help="folder written by `sottovoce pretrain` or `sottovoce finetune`")],
    corpora: Annotated[
        list[Path] | None, typer.Argument(help="prepared corpora; default: the one the run was fine-tuned on")
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="whose states: 1 = first block, 0 = what goes into it. Default: the third from the top, as in GMP-TL; "
            "of a shallow model the first"
        ),
    ] = None,
    clusters: Annotated[
        str, typer.Option(metavar="K,...", help="centres, one label set per K; default: 64,512,4096 or --codebook's")
    ] = "",
    fold: Annotated[
        str | None,
        typer.Option(
            help="fit on this fold's training part only, e.g. Ses05; several with commas, 'all', or 'none' = on "
            "all speakers, which is refused in evaluation. Default: the run's own"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder of the result; default: RUN/FOLD/units-layerN")
    ] = None,
    per_gender: Annotated[
        bool, typer.Option("--per-gender", help="cluster women and men apart: 2 K units, instead of K for all")
    ] = False,
    book: Annotated[
        Path | None, typer.Option("--codebook", help="use these centres, of the same run, layer and fold; fit none")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the clustering")] = 0,
    stability: Annotated[
        int, typer.Option(min=0, help="more clusterings with other seeds, to see how far labels agree")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, e.g. clustering.sample=256 (frames a centre that iterations see)"),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="keep states as float16 while working: half the disk, three digits")
    ] = False,
    transductive: _options.Transductive = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="processes and threads; default: all cores")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, time a few batches, estimate, stop")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Frame pseudo-labels of a trained run, to learn from in a next step. Run again, it goes on where it was.

    Example: sottovoce label runs/ft --clusters 64,512,4096 --fold Ses05
    """
    from sottovoce.config.settings import parse_settings
    from sottovoce.data import folds, runs
    from sottovoce.data.corpus import Corpus
    from sottovoce.modeling.codebook import Codebook
    from sottovoce.pipeline.label import Clustering, Settings, cluster_sizes, default_layer, label, own_corpus

    found = runs.parts(run)
    layer = default_layer(found[0]) if layer is None else layer
    given = Codebook.load(book) if book else None
    sizes = cluster_sizes(clusters, given)
    config = parse_settings(Settings(), settings or []).clustering
    loaded = [Corpus.load(folder) for folder in corpora or [own_corpus(found[0])]]
    names = folds.names(loaded, found[0].config.get("fold") if fold is None else fold)
    chosen = {name: folds.run_for(found, loaded, name, transductive=transductive) for name in names}
    wanted = Clustering(layer, sizes, per_gender, given, book, seed, stability, config, half, transductive)
    for name, one in chosen.items():
        home = one.folder / f"units-layer{layer}" if output is None else output / name if len(names) > 1 else output
        label(one, loaded, name, home, wanted, jobs=jobs, dry_run=dry_run, quiet=quiet)
        if not dry_run:
            say(f"{home}: done. Report: {home / 'report.html'}")
