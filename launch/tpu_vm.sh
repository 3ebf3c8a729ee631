#!/usr/bin/env bash
# One training on all hosts of a Cloud TPU VM, started from here; keep this terminal open (tmux).
# Checked for syntax; nobody has run it on a TPU yet.
#
# The TPU VM exists already:
#   gcloud compute tpus tpu-vm create NAME --zone=ZONE --accelerator-type=v5litepod-16 \
#     --version=v2-alpha-tpuv5-lite
# With more than one host, --workdir and the data must lie where all of them see it: --storage names an
# NFS share (Filestore, say: 10.0.0.2:/share), which is mounted at /mnt/shared. Without --storage they
# lie on the disk of the one host.
# The run saves on SIGTERM, be it Ctrl-C here or maintenance there, and ends with exit code 3; after
# maintenance it goes on by itself.
set -u
name=@name@
zone=@zone@
repository=@repository@
storage=@storage@
arguments=(@arguments@)

everywhere() { gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"; }

# What runs there does not hear of Ctrl-C here. The brackets keep pkill from finding itself.
stop() {
  trap '' INT TERM
  everywhere "pkill -TERM -f '[j]axt2i[.]main'"
  echo "The run was told to save and to end; the same command goes on." >&2
  exit 130
}
trap stop INT TERM

# The images of TPU VMs come with Python 3.10, which is too old: uv fetches another.
setup="set -e
if [ -n $(printf %q "$storage") ] && ! mountpoint -q /mnt/shared; then
  sudo apt-get -q update && sudo apt-get -q -y install nfs-common
  sudo mkdir -p /mnt/shared
  sudo mount -t nfs $(printf %q "$storage") /mnt/shared
fi
[ -d jaxt2i ] || git clone -- $(printf %q "$repository") jaxt2i
cd jaxt2i
PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install -q --user uv
[ -d .venv ] || python3 -m uv venv --python=3.12 --seed .venv
.venv/bin/python -m pip install -q -e '.[tpu]'"
# JAX finds the other hosts by the metadata of the TPU VM.
training="cd jaxt2i && exec .venv/bin/python -m jaxt2i.main --distributed$(printf ' %q' "${arguments[@]}")"

while :; do
  everywhere "$setup" || exit
  everywhere "$training"
  code=$?
  [ "$code" -eq 3 ] || exit "$code"
  while :; do
    state=$(gcloud compute tpus tpu-vm describe "$name" --zone="$zone" --format='value(state)')
    case "$state" in
      READY) break ;;
      '' | PREEMPTED | TERMINATED | DELETING)
        echo "$name is gone (${state:-not found}). The run is saved: make it again, and start this again." >&2
        exit 3 ;;
    esac
    sleep 30
  done
done
