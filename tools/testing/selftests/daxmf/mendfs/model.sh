#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random operations on files are compared with a model in memory: each read, all files from time to
# time, and all files after a mount.
#
#   SEED=N RUNTIME=SECONDS	seed of the random numbers, and the duration of the test [1, 16]

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-16}

# run SEED [OPTION...] -- run fsmodel in the directory SEED.
run() {
	local seed=$1

	shift
	mkdir "$MNT/$seed" &&
		fsmodel run --seed "$seed" --seconds $((RUNTIME / 2)) --progress "$TMP/$seed" "$@" \
			"$MNT/$seed"
}

# is_unchanged SEED -- check that the files in the directory SEED are those of the model.
is_unchanged() {
	fsmodel check --ended --seed "$1" --progress "$TMP/$1" "$MNT/$1"
}

# unchanged SEED... -- the same for several directories, after a mount.
unchanged() {
	check_and_mount && in_parallel is_unchanged "$@"
}

all_blocks_free() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)"
}

begin 5
require_ns "$KIND"
require mendfs_on "$NS"
# For check_and_mount, which fsmodel runs with --remount.
export DISK MNT
export -f check_and_mount fail fsck_clean unmount

check "a run alone, with mounts in between" run "$SEED" --remount check_and_mount
check "its files are unchanged after a mount" unchanged "$SEED"
check "two runs at the same time" in_parallel run $((SEED + 1)) $((SEED + 2))
check "their files are unchanged after a mount" unchanged $((SEED + 1)) $((SEED + 2))
check "removed files leave no block allocated" all_blocks_free
finish
