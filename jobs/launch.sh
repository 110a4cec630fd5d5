# shellcheck shell=bash
# What the job scripts share under Slurm: start ranks on the job's nodes, pass signals on, requeue. What differs from one
# cluster to the next is in site.sh.
# shellcheck source=site.sh
source "${HVD_AE_JOBS:-jobs}/site.sh"

# launch RANKS COMMAND...: so many ranks of a command, each on cores of its own; returns the command's exit status.
#
# Nodes are filled one after the other. SIGUSR1, SIGUSR2 and SIGTERM reach every rank as SIGUSR1: srun answers SIGTERM
# by killing the ranks, and mpirun dies of SIGUSR2. When a rank was lost, the command is started again on the nodes that
# answer, with --resume and the global batch of as many ranks as there were at first.
launch() {
    local ranks=$1 status step before signalled="" stopped="" launcher_pid="" restarts=0 fruitless=0
    local -a launcher again=() nodes=()
    local -A failures=()
    trap 'signalled=yes stopped=yes; [ -z "$launcher_pid" ] || kill -USR1 "$launcher_pid" || true' USR1 USR2 TERM
    stage_data || return 1
    [ "$ranks" != "$SLURM_NTASKS" ] || ranks=$((ranks - HVD_AE_SPARE_NODES * per_node))
    make_launcher "$ranks"
    export OMP_NUM_THREADS=$threads
    while :; do
        [ -z "$stopped" ] || return 75
        status=0 before=$(newest_step "$@")
        start_and_wait "${@:2}" "${stage[@]}" "${again[@]}" || status=$?
        if [ -n "$stopped" ] || ! lost "$status"; then break; fi
        step=$(newest_step "$@")
        if [ "$step" -gt "$before" ]; then fruitless=0; else fruitless=$((fruitless + 1)); fi
        echo "a rank was lost (status $status); the newest checkpoint is that of step $step" >&2
        # Twice in a row nothing was gained: no accident any more.
        if [ "$fruitless" = 2 ] || [ "$restarts" -ge "$HVD_AE_RESTARTS" ] || ! look_for_nodes; then status=76; break; fi
        restarts=$((restarts + 1)) again=(--resume --as-ranks "$ranks")
        make_launcher "$((ranks < per_node * ${#nodes[@]} ? ranks : per_node * ${#nodes[@]}))"
        echo "restart $restarts of at most $HVD_AE_RESTARTS, on ${nodes[*]}" >&2
    done
    trap '' USR1 USR2 TERM
    # Ranks that died of the signal, before they could answer it, have lost nothing but the steps since a checkpoint.
    if [ -n "$stopped" ] && [ "$status" -gt 128 ]; then status=75; fi
    return "$status"
}

# Starts the ranks, and returns their launcher's exit status; a signal ends `wait` early.
start_and_wait() {
    local status
    "${launcher[@]}" "$@" &
    launcher_pid=$!
    while :; do
        signalled="" status=0
        wait "$launcher_pid" || status=$?
        [ -n "$signalled" ] || return "$status"
    done
}

# lost STATUS: whether it says that a rank was killed (by srun, or by mpirun), gave no answer, or went with its node (255).
lost() { case $1 in 76 | 6 | 7 | 8 | 9 | 11 | 15 | 134 | 135 | 136 | 137 | 139 | 143 | 255) ;; *) return 1 ;; esac; }

# newest_step COMMAND...: of the checkpoints in the command's run folder; 0 where there is none.
newest_step() {
    local folder="" step
    while [ $# -gt 0 ]; do
        case $1 in --run-dir) folder=${2:-} ;; --run-dir=*) folder=${1#*=} ;; esac
        shift
    done
    step=$(cd "$folder/checkpoints" 2>/dev/null && printf '%s\n' step-* | grep -xE 'step-[0-9]+' | sort | tail -n 1) || true
    step=${step#step-}
    echo "$((10#${step:-0}))"
}

# Sets the array `nodes` to those of the job that answer, without those that failed twice; fails where none does.
look_for_nodes() {
    local node seconds=$HVD_AE_ANSWER_WITHIN
    local -A asked=()
    nodes=()
    while read -r node; do
        [ "${failures[$node]:-0}" -lt 2 ] || continue
        # No memory of its own: ranks that are still ending may hold all of it, and a step that finds none fails at once.
        timeout --kill-after=5 "$seconds" srun --mpi=none --quiet --overlap --mem=0 --nodes=1 --ntasks=1 --nodelist="$node" true &
        asked[$node]=$!
    done < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    while read -r node; do
        [ -n "${asked[$node]:-}" ] || continue
        if wait "${asked[$node]}"; then nodes+=("$node"); else failures[$node]=$((${failures[$node]:-0} + 1)); fi
    done < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    [ "${#nodes[@]}" -gt 0 ] || { echo "no node of the job answers" >&2; return 1; }
}

per_node=$(((${SLURM_NTASKS:-1} + ${SLURM_NNODES:-1} - 1) / ${SLURM_NNODES:-1}))

# Sets the array `launcher`, for the nodes of the array `nodes`, or any.
make_launcher() {
    local ranks=$1 count IFS=,
    local -a chosen=()
    count=$(((ranks + per_node - 1) / per_node))
    if [ "$ranks" -gt "$SLURM_NTASKS" ]; then
        echo "$ranks ranks do not fit into a job of $SLURM_NTASKS tasks: ask for more --nodes or --ntasks-per-node" >&2
        exit 2
    fi
    case $HVD_AE_LAUNCHER in
        srun) # --cpus-per-task again, because srun no longer takes it from the job; --wait, because the other ranks of one
            # that was killed would wait for it, while ranks that stop together may be a second apart
            [ "${#nodes[@]}" = 0 ] || chosen=(--nodelist="${nodes[*]:0:count}")
            launcher=(srun --mpi="$HVD_AE_SRUN_MPI" --nodes="$count" --ntasks="$ranks" --ntasks-per-node="$per_node"
                --cpus-per-task="$threads" --cpu-bind=cores --wait=20 "${chosen[@]}") ;;
        mpirun) # the processes through which mpirun reaches the nodes must not be bound to one core
            [ "${#nodes[@]}" = 0 ] || chosen=("$mpirun_hosts" "${nodes[*]:0:count}")
            launcher=(env SLURM_CPU_BIND=none mpirun -np "$ranks" "${mpirun_options[@]}" "${chosen[@]}") ;;
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
