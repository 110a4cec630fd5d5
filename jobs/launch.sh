# shellcheck shell=bash
# What the job scripts share under Slurm: start ranks on the job's nodes, pass signals on, requeue. What differs from one
# cluster to the next is in site.sh.
# shellcheck source=site.sh
source "${HVD_AE_JOBS:-jobs}/site.sh"

# launch RANKS COMMAND...: so many ranks of a command, each on cores of its own; returns the command's exit status.
#
# Nodes are filled one after the other. SIGUSR1, SIGUSR2 and SIGTERM reach every rank as SIGUSR1: srun answers SIGTERM
# by killing the ranks, and mpirun dies of SIGUSR2.
launch() {
    local ranks=$1 status signalled="" stopped="" launcher_pid=""
    local -a launcher
    trap 'signalled=yes stopped=yes; [ -z "$launcher_pid" ] || kill -USR1 "$launcher_pid" || true' USR1 USR2 TERM
    stage_data || return 1
    make_launcher "$ranks"
    export OMP_NUM_THREADS=$threads
    [ -z "$stopped" ] || return 75
    "${launcher[@]}" "${@:2}" "${stage[@]}" &
    launcher_pid=$!
    while :; do # a signal ends `wait` early
        signalled=""
        status=0
        wait "$launcher_pid" || status=$?
        [ -n "$signalled" ] || break
    done
    trap '' USR1 USR2 TERM
    # Ranks that died of the signal, before they could answer it, have lost nothing but the steps since a checkpoint.
    if [ -n "$stopped" ] && [ "$status" -gt 128 ]; then status=75; fi
    return "$status"
}

# Sets the array `launcher`.
make_launcher() {
    local ranks=$1 per_node nodes
    per_node=$(((SLURM_NTASKS + SLURM_NNODES - 1) / SLURM_NNODES))
    nodes=$(((ranks + per_node - 1) / per_node))
    if [ "$ranks" -gt "$SLURM_NTASKS" ]; then
        echo "$ranks ranks do not fit into a job of $SLURM_NTASKS tasks: ask for more --nodes or --ntasks-per-node" >&2
        exit 2
    fi
    case $HVD_AE_LAUNCHER in
        srun) # --cpus-per-task again, because srun no longer takes it from the job; --wait, because the other ranks of one
            # that was killed would wait for it, while ranks that stop together may be a second apart
            launcher=(srun --mpi="$HVD_AE_SRUN_MPI" --nodes="$nodes" --ntasks="$ranks" --ntasks-per-node="$per_node"
                --cpus-per-task="$threads" --cpu-bind=cores --wait=20) ;;
        mpirun) # the processes through which mpirun reaches the nodes must not be bound to one core
            launcher=(env SLURM_CPU_BIND=none mpirun -np "$ranks" "${mpirun_options[@]}") ;;
        *)
            echo "HVD_AE_LAUNCHER=$HVD_AE_LAUNCHER is not known: use srun or mpirun" >&2
            exit 2 ;;
    esac
}

# Copies HVD_AE_DATA_SOURCE to every node's own disk, and removes it at the end: a folder of named data sets here, which
# sets HVD_AE_DATA; anything else by the ranks themselves, which sets `stage`.
stage_data() {
    stage=()
    [ -n "$HVD_AE_DATA_SOURCE" ] || return 0
    local folder=$HVD_AE_SCRATCH/hvd_ae-$SLURM_JOB_ID source=$HVD_AE_DATA_SOURCE
    trap 'once_per_node rm -rf "$HVD_AE_SCRATCH/hvd_ae-$SLURM_JOB_ID" || true' EXIT
    if [ ! -d "$source" ]; then
        stage=(--data "$source" --stage "$folder")
        return 0
    fi
    # Its name is its last part, which a slash or a dot at the end would hide.
    source=$(CDPATH='' cd -- "$source" && pwd)
    # With what links lead to, since the data are to be read from the node's own disk.
    # shellcheck disable=SC2016  # expanded on the nodes
    once_per_node bash -c 'mkdir -p "$2" && cp -rL "$1" "$2"' bash "$source" "$folder" || {
        echo "HVD_AE_DATA_SOURCE=$HVD_AE_DATA_SOURCE cannot be copied to $folder on every node" >&2
        return 1
    }
    export HVD_AE_DATA=$folder/${source##*/}
}

once_per_node() { srun --mpi=none --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 "$@"; }

# requeue_if_stopped STATUS: after 75, stopped by a signal and saved, put this job into the queue again; else end with STATUS.
requeue_if_stopped() {
    local status=$1 restarts=${SLURM_RESTART_COUNT:-0}
    [ "$status" = 75 ] || exit "$status"
    if [ "$restarts" -ge "$HVD_AE_REQUEUES" ]; then
        echo "stopped by a signal, and not requeued again after $restarts requeues (HVD_AE_REQUEUES)" >&2
        exit 75
    fi
    echo "stopped by a signal: requeue $((restarts + 1)) of at most $HVD_AE_REQUEUES"
    scontrol requeue "$SLURM_JOB_ID"
}
