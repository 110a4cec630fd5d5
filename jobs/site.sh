# shellcheck shell=bash
# Everything that differs from cluster to cluster. Every script in this folder reads it; nothing else needs an edit.
# A line of the form NAME=${NAME:-value} can also be set from outside: NAME=other sbatch jobs/train.sbatch

# 1. Software: modules, then the environment that has hvd_ae in it. All nodes must see it under the same path.
# module purge
# module load gcc python/3.11
HVD_AE_VENV=${HVD_AE_VENV:-.venv}
# shellcheck source=/dev/null
source "$HVD_AE_VENV/bin/activate"

# 2. Who starts the ranks: srun, or the mpirun of the environment's MPI inside the allocation.
HVD_AE_LAUNCHER=${HVD_AE_LAUNCHER:-srun}
threads=${SLURM_CPUS_PER_TASK:-1}
# The MPI of the environment, mpich (PyPI's, Debian's, Cray's), intel or openmpi, as its mpirun says. For each: how srun and it meet;
# for mpirun, threads cores for each rank, and how it is told its nodes when some of the job's are gone.
# shellcheck disable=SC2034  # launch.sh reads what is set here
case ${HVD_AE_MPI:=$(mpirun --version 2>/dev/null | head -n 1)} in
    *'Open MPI'* | *OpenRTE* | openmpi) manager=pmix mpirun_hosts=--host
        mpirun_options=(--map-by "slot:PE=$threads" --bind-to core) ;;
    *Intel* | intel) manager=pmi2 mpirun_hosts=-hosts
        mpirun_options=(-genv I_MPI_PIN_DOMAIN "$threads")
        # Without Slurm's own library of that name each of srun's ranks is alone.
        export I_MPI_PMI_LIBRARY=${I_MPI_PMI_LIBRARY:-$(/sbin/ldconfig -p | awk '/libpmi2\.so/ { print $NF; exit }')} ;;
    *) manager=pmi2 mpirun_hosts=-hosts
        mpirun_options=(-bind-to "core:$threads")
        # MPICH 5's UCX describes each rank in lines that Slurm's pmi2 cuts at 1,024 characters, and then some starts crash or
        # hang. libfabric's lines are short. Under mpirun UCX is safe, and faster.
        [ "$HVD_AE_LAUNCHER" = mpirun ] || export MPIR_CVAR_CH4_NETMOD=${MPIR_CVAR_CH4_NETMOD:-ofi} ;;
esac
HVD_AE_SRUN_MPI=${HVD_AE_SRUN_MPI:-$manager}

# 3. Files. Run folders are written by one rank and read by people: a shared file system.
HVD_AE_RUNS=${HVD_AE_RUNS:-runs}
# A node's own disk; the data named here, as --data takes them or a folder of named data sets, are copied there once per node.
HVD_AE_SCRATCH=${HVD_AE_SCRATCH:-${SLURM_TMPDIR:-/tmp}}
HVD_AE_DATA_SOURCE=${HVD_AE_DATA_SOURCE:-}

# 4. preemptible.sbatch gives up after so many requeues, Slurm's own included.
HVD_AE_REQUEUES=${HVD_AE_REQUEUES:-20}
# When a rank was lost, every script starts again within its job, at most so many times; a node that does not answer within so
# many seconds is left out. A job outlives its nodes with sbatch --no-kill; so many nodes are kept for those that fail.
HVD_AE_RESTARTS=${HVD_AE_RESTARTS:-20}
HVD_AE_ANSWER_WITHIN=${HVD_AE_ANSWER_WITHIN:-30}
HVD_AE_SPARE_NODES=${HVD_AE_SPARE_NODES:-0}

# 5. Network, where the nodes have several and the wrong one is taken.
# export HYDRA_IFACE=ib0 FI_TCP_IFACE=ib0 NCCL_SOCKET_IFNAME=ib0
