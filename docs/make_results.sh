#!/usr/bin/env bash
# The studies on log-mel and COVAREP that docs/lab.md keeps, again. Hours on 2 cores; every step resumes.
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

# The same system on 74-d COVAREP made from the recordings; RAVDESS's eight emotions and its six intensities.
here=("$work/data/ravdess" "$work/data/nemo" "$work/data/librispeech")
short=(--set frontend.trim_db=30 --set training.batch_s=32 --set training.batch_rows=32)
brief=(--set finetune.training.epochs=5 --set finetune.depth=2)
for corpus in "${here[@]}"; do sottovoce extract "$corpus" --track covarep; done
sottovoce pretrain masked_timesteps "${here[@]}" --track covarep --fold fold1,fold2,fold3 "${short[@]}" \
    --set training.crop_s=4 --set training.epochs=15 -o "$work/runs/pre74"
sottovoce study "$work/data/ravdess" --init "$work/runs/pre74" --labels 10%,25%,100% --seeds 2 "${brief[@]}" \
    -o "$work/runs/study74"
six=(--target happy,sad,anger,surprise,disgust,fear --mode frozen --set finetune.loss=ccc --fold fold1,fold2,fold3)
sottovoce finetune "$work/data/ravdess" --init "$work/runs/pre74" "${six[@]}" -o "$work/runs/six74"
sottovoce finetune "$work/data/ravdess" --init "$work/runs/pre74" --scratch "${six[@]}" -o "$work/runs/six74_scratch"
sottovoce compare "$work/runs/six74" "$work/runs/six74_scratch" --metric ccc -o "$work/runs/six74_compare"

# Does it transfer to features that the original made, averaged over words?
sottovoce pretrain masked_timesteps "${here[@]}" --track covarep --fold none "${short[@]}" --set frontend.subsampling=30 \
    --set training.crop_s=6 --set training.epochs=20 -o "$work/runs/words74"
sottovoce study "$work/data/mmmo" --init "$work/runs/words74" --labels 10%,50%,100% --seeds 5 \
    --set finetune.l2=0.01,0.1,0.3,1,3,10 -o "$work/runs/mmmo74"

# Three tracks, one network, from scratch.
same=(--set frontend.subsampling=4 --set frontend.subsample=stack --set frontend.trim_db=30 --set backbone.layers=3
    --set backbone.dropout=0)
for track in covarep fbank egemaps; do
    sottovoce finetune "$work/data/ravdess" --track "$track" --fold all "${same[@]}" "${brief[@]}" \
        -o "$work/runs/track_$track"
done
sottovoce compare "$work"/runs/track_{covarep,fbank,egemaps} -o "$work/runs/track_compare"

# GMP-TL on the folds that are pre-trained above, every ablation, every leak.
for corpus in ravdess nemo; do
    sottovoce run gmp_tl "$work/data/$corpus" --encoder "$work/runs/pre" --fold "${GMP_FOLDS:-fold1,fold2}" --seeds 3 \
        --set clusters=64,512,2048 --set attributes.epochs=6 --set masked.epochs=6 --set finetune.training.epochs=6 \
        --ablate plain,no-gender,no-gmp,no-amsoftmax,single-scale,last-layer --no-opensmile \
        --leak random-dev,test-selection,all-clusters -o "$work/runs/gmp_$corpus"
done
