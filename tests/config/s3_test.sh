#!/usr/bin/env bash
# A bucket as the place of a run: trains into it, kills and goes on, in other layouts too; lists, verifies,
# rewrites and generates from it; and answers what is wrong with one line. The server is s3rver, and in full
# runs (NXD_FULL) OpenStack Swift too; NXD_S3_SERVER names one of them.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/program.sh"
"$program" checkpoint list s3://bucket > log 2>&1
if grep -q "built without S3" log; then echo "skipped: the program is built without S3"; exit 77; fi

# shellcheck source=tests/config/s3_servers.sh
source "$here/s3_servers.sh"
server=${NXD_S3_SERVER:-s3rver}
"start_$server"
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3 AWS_DEFAULT_REGION AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE
unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
export HOME=$work AWS_REGION=us-east-1 NXD_S3_DEADLINE=10 NXD_S3_PART_MIB=5 NXD_MPI_TIMEOUT=100
export AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# ---- a run ---------------------------------------------------------------------------------------

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 12}
exp_manager:
  exp_dir: s3://bucket/all runs
  resume_if_exists: true
  checkpoint_callback_params: {every_n_train_steps: 2, save_top_k: 3}
distributed_strategy: {tensor_model_parallel_size: 2, zero1: true}
data: {train_dir: text, micro_batch_size: 1, global_batch_size: 4, seq_length: 32}
YAML
small_llama 2 256 >> run.yaml
train() { local ranks=$1; shift; timeout 100 "$mpirun" "$ranks" "$program" train run.yaml "$@" > log 2>&1; }
# answers CODE WORDS ARGUMENT...: the program ends with that exit code and has told these words.
answers() {
  local code=$1 words=$2 status; shift 2
  timeout 40 "$program" "$@" > log 2>&1; status=$?
  [[ $status -eq $code ]] || { fail "exit code $status, not $code: $*"; show log; }
  grep -qF -- "$words" log || { fail "'$words' is not told: $*"; show log; }
  ! grep -qF -e "$secret" -e "Signature=" log || fail "a message has a secret: $*"
}
secret=$AWS_SECRET_ACCESS_KEY
loss() { sed -nE 's/.*"step": ?'"$2"',.*"loss": ?([^,}]+).*/\1/p' "$1/metrics.jsonl"; }
runs="s3://bucket/all runs" saved="s3://bucket/all runs/run/checkpoints"

train 2 exp_manager.exp_dir=here || die "the run does not train in a folder"
train 2 || die "the run does not train in a bucket"
grep -qF "checkpoints in $saved, all else in ./nxd_experiments/run" log || fail "it is not told where all is"
[[ -n $(loss here/run 12) && $(loss here/run 12) == "$(loss nxd_experiments/run 12)" ]] || fail "a bucket changes the loss"
answers 0 "newest" checkpoint list "$runs/run"
[[ $(grep -c '^step-' log) -eq 3 ]] || { fail "not the three newest checkpoints are there"; show log; }
answers 0 "sound: $saved/step-000000000012.g000006" checkpoint verify "$runs/run/"
answers 0 "equal: " checkpoint diff "$runs/run" here/run
answers 0 "written by  dp 1, pp 1, tp 2" checkpoint show "$saved/step-000000000010.g000005"
answers 0 "1 plus" generate "$runs/run" --prompt "1 plus" --max-tokens 5

# ---- kill -9, and on -----------------------------------------------------------------------------

child() { cat /proc/[0-9]*/status 2> /dev/null | awk -v of="$1" '/^Pid:/ { pid = $2 } /^PPid:/ && $2 == of { print pid }' | head -1; }
seed=${NXD_SEED:-$$}
RANDOM=$seed
pauses=(0.00 0.03 0.07)
many=100
[[ $server == s3rver ]] || many=10  # others are slow
for ((i = 3; i < ${NXD_FULL:+$many} + 0; ++i)); do pauses+=("0.$(printf %03d $((RANDOM % 150)))"); done
told=0
for pause in "${pauses[@]}"; do
  before=$(grep -c . nxd_experiments/killed/metrics.jsonl 2> /dev/null || echo 0)
  NXD_MPI_TIMEOUT=300 "$mpirun" 2 "$program" train run.yaml name=killed trainer.max_steps=100000 \
    exp_manager.checkpoint_callback_params.every_n_train_steps=1 > log 2>&1 &
  job=$!
  for ((i = 0; i < 3000; ++i)); do
    [[ $(grep -c . nxd_experiments/killed/metrics.jsonl 2> /dev/null) -lt $((before + 3)) ]] || break
    kill -0 "$job" 2> /dev/null || die "the run that is to be killed has ended by itself"
    sleep 0.01
  done
  sleep "$pause"
  kill -9 "$(child "$(child "$job")")"
  wait "$job" && fail "a job with a killed rank ends with status 0"
  at=$(sed -nE 's/.*resumed from .* at step ([0-9]+).*/\1/p' log)
  [[ ${at:-0} -ge $told ]] || { fail "a run goes on from step ${at:-0}, but step $told was saved (seed $seed)"; show log; }
  saved_now=$(sed -nE 's,^saved .*/step-0*([0-9]+)\.g.*,\1,p' log | tail -1)
  told=${saved_now:-${at:-$told}}
done
echo "${#pauses[@]} kills during uploads, at step $told"
answers 0 "newest" checkpoint list "$runs/killed"
newest=$(sed -nE 's/^step-0*([0-9]+)\..* newest$/\1/p' log)
[[ ${newest:-0} -ge 4 ]] || fail "killed runs have not saved step by step"
train 1 name=killed trainer.max_steps=$((newest + 2)) distributed_strategy.tensor_model_parallel_size=1 ||
  die "a killed run does not go on in another layout"
grep -qF "resumed from $runs/killed/checkpoints/" log || fail "a killed run begins anew"
answers 0 "sound" checkpoint verify "$runs/killed"

# ---- from here to there --------------------------------------------------------------------------

answers 0 "digests as before" checkpoint reshard "$runs/run" resharded --shards 3
answers 0 "digests as before" checkpoint reshard resharded s3://bucket/resharded --shards 2
answers 0 "digests as before" checkpoint merge s3://bucket/resharded s3://bucket/merged
answers 0 "equal: " checkpoint diff s3://bucket/merged here/run
answers 74 "name a folder that has none" checkpoint merge s3://bucket/resharded s3://bucket/merged
train 2 name=on trainer.max_steps=14 exp_manager.resume_from_checkpoint=s3://bucket/merged ||
  die "a resharded checkpoint is not resumed from"
train 2 exp_manager.exp_dir=here trainer.max_steps=14 || die "the run in a folder does not go on"
[[ -n $(loss here/run 14) && $(loss here/run 14) == "$(loss nxd_experiments/on 14)" ]] || fail "a resharded checkpoint has other losses"
answers 0 "wrote" checkpoint export "$runs/run" hf
answers 0 "weights alone" checkpoint import hf s3://bucket/imported
answers 0 "equal: " checkpoint diff s3://bucket/imported "$runs/run" --weights
answers 0 "would remove $saved/step-000000000008" checkpoint prune "$runs/run" --keep 1 --dry-run
answers 0 "1 checkpoint stays" checkpoint prune "$runs/run" --keep 1

# ---- what is wrong -------------------------------------------------------------------------------

answers 74 "s3://bucket/nothing: there is no such checkpoint" checkpoint verify s3://bucket/nothing
answers 74 "there is no such checkpoint" checkpoint show "$saved/step-000000000099.g000099"
answers 74 "HTTP 404 NoSuchBucket; make the bucket" train run.yaml exp_manager.exp_dir=s3://nobody/x distributed_strategy.tensor_model_parallel_size=1
answers 64 "names no bucket" checkpoint list s3://
answers 64 "a Hugging Face folder is made in a file system" checkpoint export "$runs/run" s3://bucket/hf
AWS_SECRET_ACCESS_KEY=wrong-S3CRET answers 74 "HTTP 403 SignatureDoesNotMatch; check AWS_ACCESS_KEY_ID" checkpoint list "$runs/run"
! grep -q "S3CRET" log || fail "a message has a secret"
AWS_ENDPOINT_URL=http://127.0.0.1:1 NXD_S3_DEADLINE=1 answers 74 "check the network and AWS_ENDPOINT_URL" checkpoint list "$runs/run"
key=$AWS_ACCESS_KEY_ID
unset AWS_ACCESS_KEY_ID
answers 64 "s3: no credentials; set AWS_ACCESS_KEY_ID" checkpoint list "$runs/run"
mkdir .aws && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key" "$secret" > .aws/credentials
answers 0 "newest" checkpoint list "$runs/run"
passed || exit 1
if [[ -n ${NXD_FULL:-} && $server == s3rver ]]; then
  stop_server
  NXD_S3_SERVER=swift bash "$here/s3_test.sh" || [[ $? -eq 77 ]]
fi
