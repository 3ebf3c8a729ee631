#!/usr/bin/env bash
# One training on GPUs of a Slurm cluster, one process a GPU.
# Checked for syntax; nobody has run it on a cluster yet.
#
# Python's environment, --workdir and the data must lie on a file system that all nodes see. Partition,
# account and time limit are the cluster's defaults, unless SBATCH_PARTITION, SBATCH_ACCOUNT and
# SBATCH_TIMELIMIT are set when it is submitted.
# A minute before the time limit, and when it must make room for another job, the run saves and ends
# with exit code 3; it then waits in the queue again and goes on.
#SBATCH --job-name=@name@
#SBATCH --nodes=@nodes@
#SBATCH --ntasks-per-node=@gpus@
#SBATCH --gpus-per-node=@gpus@
#SBATCH --cpus-per-task=4
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
python=@python@
arguments=(@arguments@)

# JAX finds the other processes by Slurm's variables. A process that has saved must not end those
# that are still at it, whatever the cluster's KillOnBadExit is; where one fails, JAX ends the others.
# srun does not inherit --cpus-per-task since Slurm 22.05.
srun --kill-on-bad-exit=0 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  "$python" -m jaxt2i.main --distributed "${arguments[@]}"
code=$?
if ((code == 3)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
