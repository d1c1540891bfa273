#!/usr/bin/env bash
# A Slurm of one node on this machine, for trying array jobs, as root: one-node-slurm.sh start|stop FOLDER
# After `start`: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail
command=${1:-} folder=$(realpath -m "${2:-slurm}")
case $command in
start)
    mkdir -p "$folder"/{state,spool,log,munge}
    [ -s "$folder/munge/key" ] || head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 700 "$folder/munge"
    chmod 400 "$folder/munge/key"
    chown -R munge: "$folder/munge"
    mkdir -p /run/munge
    chown munge: /run/munge
    # munge reads its key as its own user, and needs a way to it.
    chmod 711 "$folder"
    runuser -u munge -- munged --force --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --socket=/run/munge/munge.socket.2
    cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld -f "$folder/slurm.conf"
    slurmd -f "$folder/slurm.conf"
    export SLURM_CONF=$folder/slurm.conf
    for _ in $(seq 100); do
        sinfo --noheader --format=%T 2> /dev/null | grep -q idle && exit 0
        sleep 0.2
    done
    echo "no node is idle; see $folder/log" >&2
    exit 1
    ;;
stop)
    for pid in slurmd.pid slurmctld.pid munge/pid; do
        [ -s "$folder/$pid" ] && kill "$(cat "$folder/$pid")" || true
    done
    ;;
*)
    sed -n 2,3p "$0"
    exit 2
    ;;
esac
