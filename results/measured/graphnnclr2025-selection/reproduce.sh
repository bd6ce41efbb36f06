#!/usr/bin/env bash
# Measures the settings that options of refinements are chosen from: three methods × two seeds, which nothing else uses,
# on held-out training images. Every setting is tried with and without append_input. Does only what is missing, resumes
# what was interrupted, and yields to other work.
#
#     results/measured/graphnnclr2025-selection/reproduce.sh RUNS DATA [JOBS]
#
# RUNS: folder of the runs; commit config.json and record.json of each finished one into this folder. DATA: folder of the
# data sets. JOBS: runs at a time, one thread each; by default one for each core.
set -euo pipefail
runs=$1 data=$2 jobs=${3:-$(nproc)}
export OMP_NUM_THREADS=1
settings=()

offer() {
    for options in "${@:2}"; do
        settings+=("$1[append_input=false,$options]" "$1[append_input=true,$options]")
    done
}

offer neighbour_mean k=15,rounds=2 k=50,rounds=2 k=15,rounds=1 k=50,rounds=1
offer no_edges width=64 width=128 width=128,lr=0.001
offer graph width=64 width=128 gnn=sage,width=64 gnn=sage,width=128 gnn=sage,width=128,k=50 gnn=sage,width=128,layers=1 \
    gnn=sage,width=128,lr=0.001

nice -n 10 bench run --protocol graphnnclr2025-small --datasets held_out:cifar10 --methods simclr,byol,graph_nnclr \
    --seeds 3,4 --evaluations linear --refine "$(IFS=,; echo "${settings[*]}")" \
    --runs "$runs" --data "$data" --to "$runs/report" --jobs "$jobs" # 5 core-hours
