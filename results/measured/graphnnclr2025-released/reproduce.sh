#!/usr/bin/env bash
# Measures the graph network and the classifier of GraphNNCLR's released code and their controls, in order of what they
# show for the hours they take. Every step does only what is missing, resumes what was interrupted, and yields to other
# work. The hours are those of one core of an Intel Xeon with AVX-512.
#
#     results/measured/graphnnclr2025-released/reproduce.sh RUNS DATA [JOBS] [STEPS]
#
# RUNS: folder of the runs; commit config.json and record.json of each finished one into this folder. DATA: folder of the
# data sets. JOBS: runs at a time, one thread each; by default one for each core. STEPS: numbers of the steps to take,
# such as 123; by default all.
set -euo pipefail
runs=$1 data=$2 jobs=${3:-$(nproc)} steps=${4:-1234}
export OMP_NUM_THREADS=1
untrained=unit-length,no_edges-untrained,transductive-untrained
narrow=transductive-released[width=64]

measure() {
    [[ $steps == *$1* ]] || return 0
    nice -n 10 bench run --protocol graphnnclr2025-small --datasets cifar10 --evaluations linear-graphnnclr2025,linear \
        --runs "$runs" --data "$data" --to "$runs/report" --jobs "$jobs" "${@:2}"
}

# Three methods and seeds.
measure 1 --methods graph_nnclr,simclr,byol --seeds 0,1,2 --refine unit-length,transductive-released # 5 hours

# Controls on one seed.
measure 2 --methods simclr --seeds 0 --refine "$untrained,$narrow" # 0.2 hours
measure 3 --methods simclr --seeds 0 --refine no_edges-wide # 0.3 hours
measure 4 --methods graph_nnclr,byol --seeds 0 --refine "$untrained,$narrow,no_edges-wide" # 1.5 hours
