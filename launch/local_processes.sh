#!/usr/bin/env bash
# One training in several processes on this machine: to try out what several hosts would do.
# SIGTERM and Ctrl-C reach every process as SIGTERM, so that the run saves. Exit code: that of the
# first process that failed; else 3 (saved, the same command goes on) if any says so; else 0.
# A template of `jaxt2i launch --target=local_processes`; the tests run it.
set -u
python=@python@
arguments=(@arguments@)
count=@processes@

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])') || exit 1
export JAX_COORDINATOR_ADDRESS="127.0.0.1:$port" JAX_NUM_PROCESSES="$count"
# Several processes can't share a GPU by default, so each computes on the CPU, unless it is told
# otherwise: with JAX_PLATFORMS=cuda each takes the GPU of its number.
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}" PYTHONUNBUFFERED=1

pids=()
printers=()
forward() { kill -TERM "${pids[@]}" 2>/dev/null; }
trap forward TERM INT HUP
for ((i = 0; i < count; i++)); do
  # The printer outlives the signals, so that nothing that is said while saving gets lost.
  exec {out}> >(trap '' TERM INT HUP; exec sed -u "s/^/[$i] /")
  printers+=($!)
  JAX_PROCESS_ID=$i JAX_LOCAL_DEVICE_IDS=$i \
    "$python" -m jaxt2i.main --distributed "${arguments[@]}" >&"$out" 2>&1 {out}>&- &
  pids+=($!)
  exec {out}>&-
done

running=("${pids[@]}")
code=0
while ((${#running[@]})); do
  sleep 0.2
  for i in "${!running[@]}"; do
    kill -0 "${running[i]}" 2>/dev/null && continue
    wait "${running[i]}"
    ended=$?
    unset "running[i]"
    if ((ended == 0)); then continue; fi
    if ((ended == 3)); then
      ((code)) || code=3
    elif ((code == 0 || code == 3)); then
      code=$ended
      echo "process $i failed with exit code $ended: ending the others" >&2
      # The others would wait for it in vain. The last checkpoint is whole, whatever they were at.
      kill -KILL "${running[@]}" 2>/dev/null
    fi
  done
done
wait "${printers[@]}"
exit "$code"
