# Sourced by scripts that start mpirun.

# end_if_left_alone PID: ends an mpirun whose ranks are all gone and that waits for itself, as Open MPI 4.1
# sometimes does when a signal has ended them before they began.
end_if_left_alone() {
  local children child stat living had_ranks='' alone=0
  while sleep 0.5 && kill -0 "$1"; do
    living='' children=()
    read -r -a children < "/proc/$1/task/$1/children"
    for child in "${children[@]}"; do
      read -r stat < "/proc/$child/stat" && [[ ${stat##*) } != Z* ]] && living=yes
    done
    if [[ -n $living ]]; then had_ranks=yes alone=0; else alone=$((alone + 1)); fi
    [[ -z $had_ranks || $alone -lt 10 ]] || kill -KILL "$1"
  done
}
