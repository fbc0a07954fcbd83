#!/usr/bin/env bash
# Runs a job on two hosts of this machine, two ranks on each: two_hosts.sh PROGRAM [ARGUMENT...]
# NXD_RANKS_PER_HOST: other than two. NXD_LINK_RATE: of the link between them, as tc has it (1gbit).
# A host is a network namespace with a name and a /dev/shm of its own, so that nothing but TCP leads
# from one to the other. Exit status 77 where network namespaces may not be made.
set -u
[[ $# -ge 1 ]] || { echo "usage: two_hosts.sh PROGRAM [ARGUMENT...]" >&2; exit 64; }
program=$(realpath "$1") || exit 64; shift
ranks=${NXD_RANKS_PER_HOST:-2} rate=${NXD_LINK_RATE:-}

id=$$
a=nxdA$id b=nxdB$id
session=$(mktemp -d "${TMPDIR:-/tmp}/nxd-hosts.XXXXXX") || exit 74
clean_up() {
  ip netns del "$a" 2>/dev/null
  ip netns del "$b" 2>/dev/null
  rm -rf "$session"
}
trap clean_up EXIT
job=
trap '[[ -z $job ]] || { kill -TERM "$job"; wait "$job"; }; exit 143' TERM INT HUP

skip() { echo "skipped: may not make network namespaces"; exit 77; }
command -v ip > /dev/null || skip
ip netns add "$a" 2>/dev/null || skip
ip netns add "$b" 2>/dev/null || skip
unshare --uts --ipc --mount true 2>/dev/null || skip

# An interface's name has at most 15 characters; each lives in its own namespace.
ip -n "$a" link add wire type veth peer name wire netns "$b" 2>/dev/null || skip
ip -n "$a" addr add 10.77.0.1/24 dev wire || exit 70
ip -n "$b" addr add 10.77.0.2/24 dev wire || exit 70
for host in "$a" "$b"; do
  ip -n "$host" link set lo up && ip -n "$host" link set wire up || exit 70
  [[ -z $rate ]] || ip netns exec "$host" tc qdisc add dev wire root tbf rate "$rate" burst 256kb latency 50ms || skip
done

# What mpirun calls instead of ssh.
cat > "$session/agent.sh" << AGENT
#!/bin/bash
case \$1 in 10.77.0.1) host=$a ;; 10.77.0.2) host=$b ;; *) echo "no such host \$1" >&2; exit 255 ;; esac
shift
exec ip netns exec \$host unshare --uts --ipc --mount sh -c "hostname \$host; mount -t tmpfs none /dev/shm; \$*"
AGENT
chmod +x "$session/agent.sh"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_orte_tmpdir_base=$session
export NXD_TEST_HOSTS=2 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mpirun=$(command -v mpirun.openmpi || command -v mpirun) || exit 69
# The arguments go through one more shell, each in quotes of its own.
printf -v command '%q ' "$mpirun" \
  --mca plm_rsh_agent "$session/agent.sh" --mca btl tcp,self,vader \
  --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
  --mca mpi_yield_when_idle 1 --mca orte_tmpdir_base "$session" --bind-to none \
  -x NXD_TEST_HOSTS -x OMP_NUM_THREADS --timeout "${NXD_MPI_TIMEOUT:-60}" \
  --host "10.77.0.1:$ranks,10.77.0.2:$ranks" -np "$((2 * ranks))" "$program" "$@"
before=$(ip netns exec "$a" cat /sys/class/net/wire/statistics/tx_bytes)
timeout -k 5 120 ip netns exec "$a" unshare --uts --ipc --mount sh -c \
  "hostname $a; mount -t tmpfs none /dev/shm; exec $command" &
job=$!
wait "$job"; status=$?
after=$(ip netns exec "$a" cat /sys/class/net/wire/statistics/tx_bytes)
echo "$((after - before)) bytes went from the first host to the second"
exit "$status"
