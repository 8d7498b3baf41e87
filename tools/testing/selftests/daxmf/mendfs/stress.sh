#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several processes change the same files, so that the contents are not predictable. The filesystem
# must have no damage, and the kernel must not warn.
#
#   SEED=N RUNTIME=SECONDS	seed of the random numbers, and the duration of the test [1, 24]

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-24}

# stress_one SEED -- run one process of stress(), with its options.
stress_one() {
	fsmodel stress --seed "$1" --seconds $((RUNTIME / 3)) "${options[@]}" $MNT
}

# stress [OPTION...] -- run four processes.
stress() {
	local -a options=("$@")

	in_parallel stress_one $((SEED++)) $((SEED++)) $((SEED++)) $((SEED++))
}

# while_doing COMMAND... -- run stress() with OPTIONS while the command is repeated.
while_doing() {
	local status=0 loop

	rm -f "$TMP/ended"
	until [ -e "$TMP/ended" ]; do "$@" || exit; done &
	loop=$!
	stress "${OPTIONS[@]}" || status=1
	touch "$TMP/ended"
	wait $loop || status=1
	return $status
}

# drop_inodes -- drop all inodes but those of open files from memory.
drop_inodes() {
	sync -f $MNT && echo 3 >/proc/sys/vm/drop_caches
}

# Make a filesystem with the smallest journal, and allocate all blocks but ROOM blocks at the end.
METADATA=16 JOURNAL=8 ROOM=1000
make_narrow() {
	unmount && mkfs.mendfs -q -f --metadata $METADATA --journal $JOURNAL "/dev/$DISK" &&
		mount_mendfs "/dev/$DISK" &&
		fallocate -l $((($(stat -f -c %f $MNT) - ROOM) * PAGE)) $MNT/full
}

# fail_block BLOCK -- make the block fail.
fail_block() {
	poison $(($(ns_get "$NS" resource) + $1 * PAGE))
}

is_repaired() {
	! bad_range "$DISK" $(($1 * PAGE)) $PAGE >/dev/null
}

# copy_of COPY N -- print the block number of block N of a copy. The blocks of a copy are numbered
# in this order: superblock, journal, metadata.
copy_of() {
	if [ "$2" = 0 ]; then
		superblock "$1"
	elif [ "$2" -le "$JOURNAL" ]; then
		journal "$1" $(($2 - 1))
	else
		metadata "$1" $(($2 - 1 - JOURNAL))
	fi
}

# Six data blocks fail, then one copy or both copies of another block. Wait until mendfs has
# repaired the copies.
fail_some() {
	local size=$((1 + JOURNAL + METADATA)) copies=(0 1) n copy

	for ((n = 0; n < 6; n++)); do
		fail_block $((BLOCKS - size - 1 - RANDOM % ROOM)) || return
	done
	n=$((RANDOM % size))
	unset "copies[RANDOM % 3]"
	for copy in "${copies[@]}"; do
		fail_block "$(copy_of "$copy" $n)" || return
	done
	for copy in "${copies[@]}"; do
		wait_for is_repaired "$(copy_of "$copy" $n)" || return
	done
}

# all_delivered BEFORE -- check that there were failures since BEFORE, and that all were delivered.
all_delivered() {
	local -a was now

	read -ra was <<<"$1"
	read -ra now <<<"$(counters "$DISK")"
	echo "failures: $((now[0] - was[0]))"
	[ "${now[0]}" -gt "${was[0]}" ] && counters_moved "$DISK" "$1" $((now[0] - was[0])) 0 0
}

all_blocks_free() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && check_and_mount
}

# Bad pages of a file are repaired when the file is removed.
all_repaired() {
	rm -rf "${MNT:?}"/* && check_and_mount && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" &&
		is cat "/sys/block/$DISK/badblocks" ""
}

begin 9
require_ns "$KIND"
require mendfs_on "$NS"
RANDOM=$SEED
# Writes to drop_caches log nothing from now on.
require eval 'echo 4 >/proc/sys/vm/drop_caches'

check "processes on the same files, while inodes are dropped" while_doing drop_inodes
check "fsck finds no damage" check_and_mount
check "removed files leave no block allocated" all_blocks_free
require make_narrow
require read_geometry
check "processes on the same files, with little free space" stress
check "fsck finds no damage" check_and_mount
before=$(has_counters "$DISK" && counters "$DISK")
OPTIONS=(--failures)
check "processes on the same files, while memory fails" while_doing fail_some
check_ours "all failures were delivered" all_delivered "$before"
check "fsck finds no damage" check_and_mount
check "all failed blocks are repaired" all_repaired
finish
