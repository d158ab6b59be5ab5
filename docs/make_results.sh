#!/usr/bin/env bash
# The real-data results of docs/results.md again. Hours on 2 cores; every step resumes.
#   SOTTOVOCE_DATA=/path/to/corpora bash docs/make_results.sh [WORK]
set -euo pipefail
work=${1:-results}
corpora=${SOTTOVOCE_DATA:?name the folder that holds ravdess_speech, librispeech_subset, nemo_subset, covarep_mfn}
folds=${FOLDS:-all}
seeds=${SEEDS:-5}

sottovoce prepare ravdess "$corpora/ravdess_speech" -o "$work/data/ravdess"
sottovoce prepare librispeech "$corpora/librispeech_subset" -o "$work/data/librispeech"
sottovoce prepare nemo "$corpora/nemo_subset" -o "$work/data/nemo"
sottovoce prepare mfn "$corpora/covarep_mfn/mmmo" -o "$work/data/mmmo"

# Pre-training: RAVDESS training speakers, LibriSpeech, nEMO; one run a fold, without its test and dev speakers.
sottovoce pretrain masked_timesteps "$work/data/ravdess" "$work/data/librispeech" "$work/data/nemo" \
    --fold "$folds" --set training.epochs=60 -o "$work/runs/pre"
for norm in "" --speaker-norm; do
    sottovoce study "$work/data/ravdess" --init "$work/runs/pre" --fold "$folds" --seeds "$seeds" $norm \
        -o "$work/runs/study$norm"
    sottovoce finetune "$work/data/ravdess" --init "$work/runs/pre" --fold "$folds" $norm -o "$work/runs/ft$norm"
    sottovoce evaluate "$work/runs/ft$norm" --feature-set ComParE_2016
done

# 74-d COVAREP features, sentiment 1..5, official split.
sottovoce pretrain masked_timesteps "$work/data/mmmo" -o "$work/runs/mmmo_pre"
sottovoce study "$work/data/mmmo" --init "$work/runs/mmmo_pre" --labels 10%,50%,100% --seeds "$seeds" \
    -o "$work/runs/mmmo_study"
