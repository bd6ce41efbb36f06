#!/usr/bin/env bash
# Measures the graph network and the classifier of GraphNNCLR's released code and their controls, in order of what they
# show for the hours they take. Every step does only what is missing, resumes what was interrupted, and yields to other
# work. The hours are those of one core without bfloat16.
#
#     results/measured/graphnnclr2025-released/reproduce.sh RUNS DATA [JOBS] [STEPS]
#
# RUNS: folder of the runs; commit config.json and record.json of each finished one into this folder. DATA: folder of the
# data sets. JOBS: runs at a time, one thread each; by default one for each core. STEPS: numbers of the steps to take,
# such as 123; by default all.
set -euo pipefail
runs=$1 data=$2 jobs=${3:-$(nproc)} steps=${4:-123456}
export OMP_NUM_THREADS=1
untrained=unit-length,no_edges-untrained,transductive-untrained
narrow=transductive-released[width=64]

measure() {
    [[ $steps == *$1* ]] || return 0
    nice -n 10 bench run --protocol graphnnclr2025-small --datasets cifar10 --evaluations linear-graphnnclr2025,linear \
        --runs "$runs" --data "$data" --to "$runs/report" --jobs "$jobs" "${@:2}"
}

# One method and seed on a part of the images.
measure 1 --methods simclr --seeds 0 --evaluate-on cifar10-15k --refine "$untrained,$narrow" # 0.5 hours
measure 2 --methods simclr --seeds 0 --evaluate-on cifar10-15k --refine transductive-released,no_edges-wide # 0.7 hours

# The same on all images: three methods and seeds, controls on one seed.
measure 3 --methods simclr --seeds 0 --refine "$untrained,$narrow" # 0.6 hours
measure 4 --methods graph_nnclr,simclr,byol --seeds 0 --refine unit-length,transductive-released # 5 hours
measure 5 --methods graph_nnclr,simclr,byol --seeds 1,2 --refine unit-length,transductive-released # 10 hours
measure 6 --methods graph_nnclr,simclr,byol --seeds 0 --refine "$untrained,$narrow,no_edges-wide" # 4 hours
