#!/usr/bin/env bash
# Runs a sweep here and by each engine that there is, and compares the tables: check.sh ZSKT_RUN [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
zskt=$(realpath "${1:?the program zskt-run}")
folder=$(realpath -m "${2:-$(mktemp -d)}")
mkdir -p "$folder"
cd "$folder"
echo "in $folder"

cat > teaching.ron <<'RON'
(
    name: "teaching",
    device: "cpu",
    nodes: {
        "teacher": LeNet(size: 16),
        "digits": SyntheticDigits(split: Train, count: 400),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 600, batch_size: 16, evaluate_every: 100, keep: Best("accuracy"), checkpoint_every: 20),
        "accuracy": Accuracy(),
    },
    edges: [
        "teacher -> learn.player", "labels -> learn.loss",
        "teacher -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "teaching -> accuracy.classifier", "digits -> accuracy.dataset",
    ],
)
RON
# A value with blanks, and a folder with a quote in its name: what shells stumble over.
points=(teaching.ron --seeds 0..3 --set 'learn.optimizer=Adam(lr: 1e-3),Sgd(lr: 0.1, momentum: 0.9)')

# Whether a sweep's table says of every point what the first one's does, but for time and memory.
same() {
    python3 - "it's here/table.json" "$1/table.json" <<'PYTHON'
import json, sys

def table(path):
    found = json.load(open(path))
    for entry in found["configurations"] + found["points"]:
        entry["figures"] = {key: value for key, value in entry["figures"].items() if "second" not in key and "memory" not in key}
    return found

first, second = map(table, sys.argv[1:])
sys.exit(0 if first == second else f"{sys.argv[2]} differs from {sys.argv[1]}")
PYTHON
}

"$zskt" sweep "${points[@]}" --jobs 2 --out "it's here" --quiet

if command -v parallel > /dev/null; then
    "$zskt" sweep "${points[@]}" --on parallel --jobs 2 --wait --out "it's parallel" > parallel.txt
    same "it's parallel"
    echo "ok GNU parallel: $(grep -c . "it's parallel/parallel.joblog") lines in its joblog"
else
    echo "GNU parallel is not there"
fi

if command -v sbatch > /dev/null && [ "$(id -u)" = 0 ]; then
    "$here/one-node-slurm.sh" start slurm
    trap '"$here/one-node-slurm.sh" stop slurm' EXIT
    export SLURM_CONF=$folder/slurm/slurm.conf
    "$zskt" sweep "${points[@]}" --on slurm --jobs 2 --sbatch '--time=10 --comment "two words"' --out "it's slurm"
    until squeue --noheader --states=running --format=%i | grep -q _; do sleep 0.1; done
    sleep 0.5
    # As users and preemptions stop a task: it keeps a checkpoint, and the next submission goes on from it.
    task=$(squeue --noheader --states=running --format=%i | grep _ | tail -1)
    scancel "$task"
    echo "task $task was cancelled"
    while squeue --noheader | grep -q .; do sleep 0.2; done
    # Exit code 1, as one is not finished.
    { "$zskt" sweep --collect "it's slurm" || [ $? = 1 ]; } | tail -3
    "$zskt" sweep "${points[@]}" --on slurm --wait --out "it's slurm" > slurm.txt
    same "it's slurm"
    echo "ok Slurm $(sbatch --version)"
else
    echo "Slurm is not there, or this is not root"
fi

if command -v hq > /dev/null; then
    export HQ_SERVER_DIR=$folder/hq-server
    hq server start > hq-server.txt 2>&1 &
    server=$!
    until hq server info > /dev/null 2>&1; do sleep 0.2; done
    hq worker start > hq-worker.txt 2>&1 &
    "$zskt" sweep "${points[@]}" --on hyperqueue --wait --out "it's hyperqueue" > hyperqueue.txt
    same "it's hyperqueue"
    hq server stop > /dev/null
    wait $server || true
    echo "ok HyperQueue $(hq --version)"
else
    echo "HyperQueue is not there"
fi
