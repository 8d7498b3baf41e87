#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several processes work on the same files, until nobody knows what must be there. The filesystem
# must stay whole, and the kernel quiet.
#
#   SEED=N RUNTIME=SECONDS	where to begin, and how long it takes [1, 10]

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-10}

# stress SEED... -- at the same time.
stress() {
	local seed status=0
	local -a jobs

	for seed; do
		fsmodel stress --seed "$seed" --seconds "$RUNTIME" $MNT &
		jobs+=($!)
	done
	for seed in "${jobs[@]}"; do
		wait "$seed" || status=1
	done
	return $status
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && again
}

begin 3
require_ns "$KIND"
require mendfs_on "$NS"

check "processes on the same files" stress "$SEED" $((SEED + 1)) $((SEED + 2)) $((SEED + 3))
check "the filesystem is whole" again
check "what is removed leaves no block behind" nothing_left
finish
