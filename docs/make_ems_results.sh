#!/usr/bin/env bash
# The EMS studies on log-mel that docs/lab.md keeps, again: about an hour of one core; every step resumes.
#   SOTTOVOCE_DATA=/path/to/corpora bash docs/make_ems_results.sh [WORK]
# Parts of it: STEPS="strength rules" BACKBONES=npc ARMS="random energy" SEEDS="0 1" EPOCHS=60 bash docs/make_ems_results.sh
set -euo pipefail
work=${1:-results}
data=$work/data runs=$work/runs
steps=${STEPS:-prepare strength agreement rules compare picture}
backbones=${BACKBONES:-mockingjay npc}
arms=${ARMS:-random strength energy}
seeds=${SEEDS:-0 1 2}
folds=${FOLDS:-fold1 fold2}
longer=${EPOCHS:+-$EPOCHS} # of MockingJay's training, 6 unless said otherwise; its runs have a name of their own
quick="--tracker none --quiet --jobs ${JOBS:-1}"

prepare() { # half of RAVDESS's actors are tested by what the other half taught, so that two intensity models are enough
    local corpora=${SOTTOVOCE_DATA:?name the folder that holds ravdess_speech, librispeech_subset, nemo_subset}
    sottovoce prepare ravdess "$corpora/ravdess_speech" --folds 2 -o "$data/ravdess2"
    sottovoce prepare librispeech "$corpora/librispeech_subset" -o "$data/librispeech"
    sottovoce prepare nemo "$corpora/nemo_subset" -o "$data/nemo"
}

# ---------------------------------------------------------------------------------------- intensity models
# StrengthNet with a quarter of its channels, on standardised log-mel and crops of a second.
strengthnet="--track fbank --set frontend.normalise=corpus --set backbone.channels=4,8,16,32 --set objective.lstm=32
    --set objective.dense=32 --set training.crop_s=1 --set training.lr=1e-3 --set training.accumulate=1
    --set training.epochs=8"

strength() {
    local fold corpus
    for fold in $folds; do
        sottovoce pretrain strengthnet "$data/ravdess2" --fold "$fold" $strengthnet $quick -o "$runs/strength"
        for corpus in librispeech nemo; do
            sottovoce extract "$data/$corpus" --track intensity --model "$runs/strength" --fold "$fold" --quiet
        done
    done
}

agreement() { # over both folds (nothing is trained again), and with a language nobody of them speaks
    sottovoce pretrain strengthnet "$data/ravdess2" --fold all $strengthnet $quick -o "$runs/strength"
    sottovoce evaluate "$runs/strength" --on "$data/nemo" --jobs "${JOBS:-1}" -o "$runs/strength/on_nemo"
}

# ------------------------------------------------------------------------------------------- masking rules
# 15 % of the steps hidden in spans of 80 ms. RAVDESS is not heard at all in pre-training; whom the intensity model of
# a fold has heard are the fold's training and dev actors.
mockingjay="--set track.deltas=0 --set frontend.subsampling=4 --set frontend.trim_db=30 --set frontend.normalise=corpus
    --set backbone.width=128 --set backbone.heads=4 --set backbone.feedforward=256 --set backbone.norm=pre
    --set backbone.positions=conv --set backbone.init_std=0 --set backbone.dropout=0 --set objective.span=2
    --set training.lr=2e-3 --set training.crop_s=6 --set training.batch_s=32 --set training.epochs=${EPOCHS:-6}
    --set training.validate_every=${EPOCHS:-3}"
npc="--set frontend.subsampling=2 --set frontend.trim_db=30 --set frontend.normalise=corpus --set backbone.width=128
    --set backbone.layers=3 --set backbone.kernel=11 --set backbone.mask=3 --set objective.span=4
    --set training.crop_s=6 --set training.batch_s=16 --set training.epochs=1"
judged=${JUDGE:-probe} # by SUPERB's head; or "linear": a linear probe on means and deviations of all layers
probe="--recipe frozen_probe --set finetune.epochs=60 --set finetune.lrs=1e-3,1e-2"
linear="--mode frozen"

strength_by() { # FOLD -> name of the store that this fold's intensity model made
    basename "$(dirname "$(grep -l "strengthnet $1\"" "$data"/nemo/tracks/{intensity,strength}-*/track.json 2>/dev/null)")"
}

rules() {
    local backbone arm seed fold
    for seed in $seeds; do
        for backbone in $backbones; do
            for arm in $arms; do
                case $arm in
                random*) one "$backbone" "$arm" "$seed" all random energy ;; # which it does not look at
                energy*) one "$backbone" "$arm" "$seed" all ems_coverage energy ;;
                *)
                    for fold in $folds; do
                        one "$backbone" "$arm" "$seed" "$fold" "$(rule_of "$arm")" "$(strength_by "$fold")"
                    done
                    ;;
                esac
            done
        done
    done
}

rule_of() { # ARM that masks by intensity -> its rule
    case $1 in sampled | released) echo "ems_$1" ;; *) echo ems_coverage ;; esac
}

more_of() { # ARM -> what else it changes
    case $1 in
    *40) echo --set objective.ratio=0.4 --set objective.span=5 ;; # 40 % of the steps, in spans of 200 ms
    ramp) echo --set objective.ramp=0.5 ;; # random spans first, by intensity from the middle of the training on
    head) echo --set objective.score=true ;; # intensity at the input, and a second head that predicts it
    esac
}

one() { # BACKBONE ARM SEED FOLD RULE INTENSITY: a pre-training, and a frozen probe of each fold it serves
    local init=$runs/pre/$1/$2$longer/$3/$4 out=$runs/$judged/$1
    [ -f "$init/no_holdout/model.safetensors" ] || # the same command once more would find that out by itself
        sottovoce pretrain "ems_$1" "$data/librispeech" "$data/nemo" --fold none --seed "$3" ${!1} \
            --set "objective.rule=$5" --set "objective.intensity=$6" $(more_of "$2") $quick -o "$init"
    judge "$init" "$4" "$3" "$out/$2$longer/$3"
    if [ "${2%40}" = random ]; then # arm "scratch": the same network, its weights drawn
        judge "$init" "$4" "$3" "$out/untrained$longer/$3" --scratch
    fi
}

judge() { # INIT FOLD SEED OUT ...
    sottovoce finetune "$data/ravdess2" --init "$1" --fold "$2" --seed "$3" ${!judged} $quick -o "$4" "${@:5}"
}

compare() {
    local backbone arm systems
    for backbone in $backbones; do
        systems=()
        for arm in $arms untrained; do
            systems+=("$arm=$runs/$judged/$backbone/$arm$longer")
        done
        sottovoce compare "${systems[@]}" -o "$runs/compare/$judged/$backbone$longer"
    done
}

# ------------------------------------------------------------------------------------------------ pictures
picture() { # from generated speech: recordings of the corpora, and what is cut from them, may not be published
    sottovoce prepare synthetic "$work/voices" --set difficulty=0.2 --set speakers=8 -o "$data/synthetic" --quiet
    sottovoce pretrain strengthnet "$data/synthetic" $strengthnet --set training.epochs=20 $quick \
        -o "$runs/strength_synthetic"
    sottovoce extract "$data/synthetic" --track intensity --model "$runs/strength_synthetic" --quiet
    sottovoce pretrain ems_mockingjay "$data/synthetic" $mockingjay --set frontend.subsampling=1 --set objective.span=7 \
        --set training.crop_s=0 --set training.epochs=3 $quick -o "$runs/ems_synthetic"
    cp "$runs/ems_synthetic/fold1/spans.png" "$work/ems_spans.png"
}

for step in $steps; do
    $step
done
