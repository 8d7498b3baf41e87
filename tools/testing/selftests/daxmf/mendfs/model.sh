#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random operations on files, compared with a model in memory: at each read, all of it now and then,
# and after a mount.
#
#   SEED=N RUNTIME=SECONDS	where to begin, and how long it takes in all [1, 16]

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-16}

# run SEED [OPTION...] -- in a directory of its own.
run() {
	local seed=$1

	shift
	mkdir "$MNT/$seed" &&
		fsmodel run --seed "$seed" --seconds $((RUNTIME / 2)) --progress "$TMP/$seed" "$@" \
			"$MNT/$seed"
}

# is_left SEED -- its directory is as it was.
is_left() {
	fsmodel check --ended --seed "$1" --progress "$TMP/$1" "$MNT/$1"
}

# as_left SEED... -- after a mount all is as it was.
as_left() {
	again && each is_left "$@"
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)"
}

begin 5
require_ns "$KIND"
require mendfs_on "$NS"
# For the command that a run mounts again with.
export DISK MNT
export -f again fail fsck_clean unmount

check "a run alone, with mounts in between" run "$SEED" --remount again
check "it has left its files for the next mount" as_left "$SEED"
check "two runs side by side" each run $((SEED + 1)) $((SEED + 2))
check "they have left their files for the next mount" as_left $((SEED + 1)) $((SEED + 2))
check "what is removed leaves no block behind" nothing_left
finish
