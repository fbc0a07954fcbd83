# shellcheck shell=bash
# Real S3 servers on loopback for tests of the program; source it after program.sh. `start_s3rver` and
# `start_swift` set AWS_ENDPOINT_URL and the credentials, and make the bucket `bucket`; a test whose server
# is not installed is skipped. What they start ends with the test.
processes=()
stop_server() {
  [[ ${#processes[@]} -gt 0 ]] || return 0
  kill "${processes[@]}" 2> /dev/null
  wait "${processes[@]}" 2> /dev/null
  processes=()
}
trap 'stop_server; rm -rf "$work"' EXIT

# From npm, see s3_server in cmake/packages.sh. It checks signatures; it keeps no condition, and lists
# no uploads.
start_s3rver() {
  local modules=${NXD_BINARY_DIR:-/nowhere}/npm/node_modules
  if ! command -v node > /dev/null || [[ ! -d $modules/@20minutes/s3rver ]]; then
    echo "skipped: there is no node, or no $modules/@20minutes/s3rver; tests/run.sh installs it where npm can"
    exit 77
  fi
  cat > server.js <<'JS'
const S3rver = require('@20minutes/s3rver');
new S3rver({ port: 0, address: '127.0.0.1', silent: true, directory: 's3', configureBuckets: [{ name: 'bucket' }] })
  .run().then((address) => console.log(address.port));
JS
  NODE_PATH=$modules node server.js > port 2> server.log &
  processes+=($!)
  for ((i = 0; i < 200; ++i)); do [[ ! -s port ]] || break; sleep 0.05; done
  [[ -s port ]] || { cp server.log log; die "s3rver does not start"; }
  AWS_ENDPOINT_URL=http://127.0.0.1:$(< port)
  AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
}

# OpenStack Swift with its S3 gateway, from Debian: checks signatures, digests and MD5s.
start_swift() {
  local program port base kind
  for program in swift-{proxy,account,container,object}-server swift-ring-builder memcached curl; do
    if ! command -v "$program" > /dev/null; then echo "skipped: there is no $program"; exit 77; fi
  done
  base=$((20000 + RANDOM % 20000))
  mkdir -p swift/node/sda1
  printf '[swift-hash]\nswift_hash_path_suffix = test\n' > swift/swift.conf
  port=$base
  for kind in account container object; do
    port=$((port + 1))
    (cd swift && swift-ring-builder "$kind.builder" create 4 1 0 && swift-ring-builder "$kind.builder" \
      add "r1z1-127.0.0.1:$port/sda1" 1 && swift-ring-builder "$kind.builder" rebalance) > server.log 2>&1
    cat > "swift/$kind.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 0
user = $(id -un)
swift_dir = $work/swift
devices = $work/swift/node
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = $kind-server
[app:$kind-server]
use = egg:swift#$kind
CONF
  done
  cat > swift/proxy.conf <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $base
workers = 0
user = $(id -un)
swift_dir = $work/swift
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$((base + 4))
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
CONF
  memcached -u "$(id -un)" -l 127.0.0.1 -p $((base + 4)) > /dev/null 2>&1 &
  processes+=($!)
  for kind in account container object proxy; do
    "swift-$kind-server" "swift/$kind.conf" >> server.log 2>&1 &
    processes+=($!)
  done
  AWS_ENDPOINT_URL=http://127.0.0.1:$base
  for ((i = 0; i < 200; ++i)); do
    [[ $(curl --noproxy '*' -s "$AWS_ENDPOINT_URL/healthcheck") != OK ]] || break
    sleep 0.1
  done
  AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing
  curl --noproxy '*' -si -H "X-Auth-User: $AWS_ACCESS_KEY_ID" -H "X-Auth-Key: $AWS_SECRET_ACCESS_KEY" \
    "$AWS_ENDPOINT_URL/auth/v1.0" > log 2>&1
  header() { sed -nE "s/^$1: ([^[:space:]]+).*/\1/Ip" log; }
  curl --noproxy '*' -sf -X PUT -H "X-Auth-Token: $(header X-Auth-Token)" "$(header X-Storage-Url)/bucket" ||
    { tail -20 server.log > log; die "Swift makes no bucket"; }
}
