#!/usr/bin/env bash
# The EMS sections of docs/results.md again: about 1 1/2 hours of one core; every step resumes.
#   SOTTOVOCE_DATA=/path/to/corpora bash docs/make_ems_results.sh [WORK]
# Parts of it: STEPS="strength rules" TARGETS=ravdess BACKBONES=npc ARMS="random energy" SEEDS="0 1" bash docs/...
set -euo pipefail
work=${1:-results}
data=$work/data runs=$work/runs
steps=${STEPS:-prepare strength agreement rules compare picture}
targets=${TARGETS:-ravdess nemo}
backbones=${BACKBONES:-mockingjay npc}
arms=${ARMS:-random strength sampled energy released}
seeds=${SEEDS:-0 1 2}
quick="--tracker none --quiet --jobs ${JOBS:-1}"

prepare() {
    local corpora=${SOTTOVOCE_DATA:?name the folder that holds ravdess_speech, librispeech_subset, nemo_subset}
    sottovoce prepare ravdess "$corpora/ravdess_speech" -o "$data/ravdess"
    sottovoce prepare librispeech "$corpora/librispeech_subset" -o "$data/librispeech"
    sottovoce prepare nemo "$corpora/nemo_subset" -o "$data/nemo"
}

# ---------------------------------------------------------------------------------------- intensity models
# A quarter of StrengthNet's channels, crops of 1.6 s. Who is to be tested is never heard: the emotions of RAVDESS are
# probed after a strength learned from nEMO, those of nEMO after one learned from RAVDESS.
small="--set backbone.channels=4,8,16,32 --set objective.lstm=32 --set objective.dense=32 --set training.crop=100
    --set training.lr=1e-3 --set training.accumulate=1 --set training.epochs=8"

strength() {
    local corpus other fold
    for corpus in $targets; do # who is tested is never the teacher
        other=$([ "$corpus" = ravdess ] && echo nemo || echo ravdess)
        fold=$([ "$other" = ravdess ] && echo "${FOLDS:-fold1,fold2}" || echo fold1)
        sottovoce pretrain strengthnet "$data/$other" --fold "$fold" $small $quick -o "$runs/strength_$other"
        sottovoce extract "$data/$other" --track strength --model "$runs/strength_$other" --quiet
        sottovoce extract "$data/librispeech" --track strength --model "$runs/strength_$other" --quiet
    done
}

agreement() { # of each model with a corpus it has not heard
    sottovoce evaluate "$runs/strength_ravdess" --on "$data/nemo" --jobs "${JOBS:-1}" -o "$runs/strength_ravdess/on_nemo"
    sottovoce evaluate "$runs/strength_nemo" --on "$data/ravdess" --jobs "${JOBS:-1}" -o "$runs/strength_nemo/on_ravdess"
}

# ------------------------------------------------------------------------------------------- masking rules
# 15 % of the steps hidden in spans of 80 ms; the target corpus is not heard at all, so that one pre-training serves
# all of its folds.
mockingjay="--set track.deltas=0 --set frontend.pool=4 --set frontend.trim_db=30 --set backbone.width=128
    --set backbone.heads=4 --set backbone.feedforward=256 --set objective.span=2 --set training.lr=1e-3
    --set training.crop=150 --set training.batch_steps=800 --set training.epochs=8 --set training.validate_every=4"
npc="--set frontend.pool=2 --set frontend.trim_db=30 --set backbone.width=128 --set backbone.layers=3
    --set backbone.kernel=11 --set backbone.mask=3 --set objective.span=4 --set training.crop=300
    --set training.batch_steps=1600 --set training.epochs=6 --set training.validate_every=3"
probe="--set finetune.probe.epochs=60 --set finetune.probe.lrs=1e-3,1e-2"

rule_of() { # ARM CORPUS -> settings; the strength of a corpus is that of the model trained on it
    local strength=
    case $1 in random | energy) ;; *) strength=$(basename "$(ls -d "$data/$2"/tracks/strength-*)") ;; esac
    case $1 in
    random) echo "--set objective.rule=random --set objective.intensity=energy" ;; # which it does not look at
    strength) echo "--set objective.rule=ems_coverage --set objective.intensity=$strength" ;;
    sampled) echo "--set objective.rule=ems_sampled --set objective.intensity=$strength" ;;
    energy) echo "--set objective.rule=ems_coverage --set objective.intensity=energy" ;;
    released) echo "--set objective.rule=ems_released --set objective.intensity=$strength" ;;
    *) echo "$1: no arm" >&2 && return 1 ;;
    esac
}

rules() {
    local target backbone arm seed other settings place
    for target in $targets; do
        other=$([ "$target" = ravdess ] && echo nemo || echo ravdess)
        for seed in $seeds; do
            for backbone in $backbones; do
                settings=${!backbone}
                for arm in $arms; do
                    place=$target/$backbone/$arm/$seed
                    sottovoce pretrain "ems_$backbone" "$data/librispeech" "$data/$other" --fold none --seed "$seed" \
                        $settings $(rule_of "$arm" "$other") $quick -o "$runs/pre/$place"
                    judge "$target" "$runs/pre/$place" "$runs/probe/$place" "$seed"
                    if [ "$arm" = random ]; then # the control: the same network, its weights drawn
                        judge "$target" "$runs/pre/$place" "$runs/probe/$target/$backbone/untrained/$seed" "$seed" --scratch
                    fi
                done
            done
        done
    done
}

judge() { # TARGET INIT OUT SEED ...: a frozen probe of every fold, and its predictions
    [ -f "$3/predictions.csv" ] && return
    sottovoce finetune "$data/$1" --init "$2" --recipe frozen_probe --fold all --seed "$4" $probe $quick -o "$3" "${@:5}"
    sottovoce evaluate "$3" --no-opensmile --quiet
}

compare() {
    local target backbone arm systems
    for target in $targets; do
        for backbone in $backbones; do
            systems=()
            for arm in $arms untrained; do
                systems+=("$arm=$runs/probe/$target/$backbone/$arm")
            done
            sottovoce compare "${systems[@]}" -o "$runs/compare/$target/$backbone"
        done
    done
}

# ------------------------------------------------------------------------------------------------ pictures
picture() { # from generated speech: recordings of the corpora, and what is cut from them, may not be published
    sottovoce prepare synthetic "$work/voices" --set difficulty=0.2 -o "$data/synthetic" --quiet
    sottovoce pretrain strengthnet "$data/synthetic" $small --set training.epochs=30 $quick -o "$runs/strength_synthetic"
    sottovoce extract "$data/synthetic" --track strength --model "$runs/strength_synthetic" --quiet
    sottovoce pretrain ems_mockingjay "$data/synthetic" $mockingjay --set frontend.pool=1 --set objective.span=7 \
        --set training.crop=0 --set training.epochs=10 $quick -o "$runs/ems_synthetic"
    cp "$runs/ems_synthetic/fold1/spans.png" "$work/ems_spans.png"
    for target in $targets; do
        for backbone in $backbones; do
            cp "$runs/compare/$target/$backbone/compare.svg" "$work/ems_${target}_$backbone.svg" || true
        done
    done
}

for step in $steps; do
    $step
done
