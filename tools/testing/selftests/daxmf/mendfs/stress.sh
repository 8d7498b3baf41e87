#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several processes work on the same files, until nobody knows what must be there. The filesystem
# must stay whole, and the kernel quiet.
#
#   SEED=N RUNTIME=SECONDS	where to begin, and how long it takes in all [1, 24]

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-24}

# stress_one SEED -- with the options of stress.
stress_one() {
	fsmodel stress --seed "$1" --seconds $((RUNTIME / 3)) "${options[@]}" $MNT
}

# stress [OPTION...] -- four processes.
stress() {
	local -a options=("$@")

	each stress_one $((SEED++)) $((SEED++)) $((SEED++)) $((SEED++))
}

# while_doing COMMAND... -- the same, with this beside it, over and over.
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

# Whoever has a file open goes on, everybody else must read it anew.
forget() {
	sync -f $MNT && echo 3 >/proc/sys/vm/drop_caches
}

# A filesystem with the smallest journal, of which all is in use but for some blocks at the end.
METADATA=16 JOURNAL=8 ROOM=1000
make_narrow() {
	unmount && mkfs.mendfs -q -f --metadata $METADATA --journal $JOURNAL "/dev/$DISK" &&
		mount_mendfs "/dev/$DISK" &&
		fallocate -l $((($(stat -f -c %f $MNT) - ROOM) * PAGE)) $MNT/full
}

# fail_block BLOCK
fail_block() {
	poison $(($(ns_get "$NS" resource) + $1 * PAGE))
}

is_mended() {
	! bad_range "$DISK" $(($1 * PAGE)) $PAGE >/dev/null
}

# copy_of COPY N -- a block of superblock, journal or metadata.
copy_of() {
	if [ "$2" = 0 ]; then
		superblock "$1"
	elif [ "$2" -le "$JOURNAL" ]; then
		journal "$1" $(($2 - 1))
	else
		metadata "$1" $(($2 - 1 - JOURNAL))
	fi
}

# Blocks that files may have fail, then one copy of something, or both, which must be mended.
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
		wait_for is_mended "$(copy_of "$copy" $n)" || return
	done
}

# all_delivered BEFORE -- of the failures since, of which there were some.
all_delivered() {
	local -a was now

	read -ra was <<<"$1"
	read -ra now <<<"$(counters "$DISK")"
	echo "failures: $((now[0] - was[0]))"
	[ "${now[0]}" -gt "${was[0]}" ] && counters_moved "$DISK" "$1" $((now[0] - was[0])) 0 0
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && again
}

# What was lost with a file is mended when that is removed.
all_mended() {
	rm -rf "${MNT:?}"/* && again && is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" &&
		is cat "/sys/block/$DISK/badblocks" ""
}

begin 9
require_ns "$KIND"
require mendfs_on "$NS"
RANDOM=$SEED
# Do not say so each time.
require eval 'echo 4 >/proc/sys/vm/drop_caches'

check "processes on the same files, which are forgotten again and again" while_doing forget
check "the filesystem is whole" again
check "what is removed leaves no block behind" nothing_left
require make_narrow
require geometry
check "processes on the same files, with little room" stress
check "the filesystem is whole" again
before=$(has_counters "$DISK" && counters "$DISK")
OPTIONS=(--failures)
check "processes on the same files, while memory fails" while_doing fail_some
check_ours "all failures were dealt with" all_delivered "$before"
check "the filesystem is whole" again
check "all that failed is mended" all_mended
finish
