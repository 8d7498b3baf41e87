#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A filesystem that is frozen writes nothing, not even what it would do by itself, and goes on when it
# is thawed.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SIZE=64

sum() {
	dd if="/dev/$DISK" bs=1M count=$SIZE iflag=direct status=none | sha256sum
}

# keep_open FILE -- removed, but open in a process; sets KEEPER.
keep_open() {
	fill "$1" 300 && exec 9<"$1" || return
	sleep 1000 &
	KEEPER=$!
	exec 9<&-
	rm "$1" && sync
}

# Its last user goes meanwhile, and waits.
suspended() {
	local before

	map frozen <<<"$(linear 0 $SIZE "$DISK" 0)" && mkfs.mendfs -q -f "/dev/$DM" &&
		mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / && keep_open gone &&
		dmsetup suspend frozen && on_exit dmsetup resume frozen && before=$(sum) || return
	kill "$KEEPER"
	wait_for is_evicting "$KEEPER" && is sum "$before" && dmsetup resume frozen || return
	wait "$KEEPER"
	cd / && unmount && mend_clean "/dev/$DM"
}

is_evicting() {
	grep -q evict_inode "/proc/$1/stack"
}

thaw() {
	fsfreeze --unfreeze $MNT 2>/dev/null || true
}

# The delay after which it would be repaired passes.
fails_while_frozen() {
	local block

	mendfs_on "$NS" && cd $MNT && on_exit cd / && geometry && fsfreeze --freeze $MNT &&
		on_exit thaw && block=$(metadata 0 0) &&
		poison $((START + block * PAGE)) && is counters "$DISK" "1 1 0 0" && sleep 2 &&
		bad_range "$DISK" $((block * PAGE)) $PAGE && fsfreeze --unfreeze $MNT && mended &&
		touch after && cd / && unmount && mend_clean "/dev/$DISK"
}

waits_to_write() {
	local writer

	mendfs_on "$NS" && fsfreeze --freeze $MNT && on_exit thaw || return
	touch $MNT/late &
	writer=$!
	wait_for is_waiting $writer && [ ! -e $MNT/late ] && fsfreeze --unfreeze $MNT &&
		wait $writer && [ -e $MNT/late ] && unmount
}

is_waiting() {
	grep -q percpu_rwsem "/proc/$1/stack"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
START=$(($(ns_get "$NS" resource)))

check "a mapped device that is suspended is not written to" \
	clean suspended
check "what fails while it is frozen is repaired when it is thawed" \
	clean fails_while_frozen
check "who writes waits until it is thawed" \
	clean waits_to_write
finish
