#!/bin/sh
# A driver that is to use a Ray cluster joins it as a node without resources: then Ray's own protocol is spoken, not
# its client's, which Ray Train does not support. LLAVAFLOW_JOIN_RAY is the head's address, e.g. llavaflow-head-svc:6379.
set -eu
if [ -n "${LLAVAFLOW_JOIN_RAY:-}" ]; then
    ray start --address="${LLAVAFLOW_JOIN_RAY}" --num-cpus=0 --num-gpus=0 --disable-usage-stats
    export LLAVAFLOW_RAY_ADDRESS=auto
fi
exec "$@"
