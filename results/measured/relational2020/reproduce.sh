#!/usr/bin/env bash
# Measures the Conv-4 columns of Patacchiola & Storkey (2020) at the paper's own 200 epochs, in order of what they show
# for the hours they take. Every step does only what is missing, resumes what was interrupted, and yields to other work.
#
#     results/measured/relational2020/reproduce.sh RUNS DATA [JOBS]
#
# RUNS: folder of the runs; commit config.json and record.json of each finished one into this folder. DATA: folder of the
# data sets. JOBS: runs at a time, one thread each; by default one for each core.
set -euo pipefail
runs=$1 data=$2 jobs=${3:-$(nproc)}
export OMP_NUM_THREADS=1

measure() {
    nice -n 19 bench run --protocol relational2020 --backbones conv4 --seeds 1-3 \
        --runs "$runs" --data "$data" --to "$runs/report" --jobs "$jobs" "$@"
}

measure --datasets cifar10 --methods simclr,supervised,deepcluster,rotnet,random  # 9 core-hours
measure --datasets cifar10 --methods relational                                   # 33 core-hours: 32 views
measure --datasets cifar100 --methods simclr,supervised,deepcluster,rotnet,random # 9 core-hours
measure --datasets cifar100 --methods relational                                  # 33 core-hours
