#!/usr/bin/env bash
# Makes the bundled model: rows and teacher's vectors, `o1 train` in two stages, then float16 weights in WORK/model.
#   recipe/run.sh DATA WORK
# DATA holds data/ (hotpotqa, nq, squad, 2wikimultihopqa in BEIR form) and thoughts/ (candidates.train.jsonl).
# What is finished in WORK is kept: the same command goes on where it was stopped.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"
# freed memory is kept and pages are large: gigabytes change hands in every step
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=16000000000 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
export OMP_WAIT_POLICY=passive
[ -d base ] || python "$recipe/prepare.py" --data "$data/data" --thoughts "$data/thoughts" --work .
[ -f distilled/history.json ] || o1 train --config "$recipe/distil.yaml"
[ -f out/history.json ] || o1 train --config "$recipe/joint.yaml"
[ -d model ] || o1 export out --output model --dtype float16
