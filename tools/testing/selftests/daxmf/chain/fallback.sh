#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Where nobody can name the owners, the event is declined and the kernel's generic path goes on.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OFFSET=0x100000

# told_generically -- the owner gets its signal, and the driver says that it passed the event on.
told_generically() {
	local before

	fill $MNT/file 16 || return
	before=$(has_counters "$DISK" && counters "$DISK")
	told corrupt-pfn $MNT/file,offset=8K && counters_moved "$DISK" "$before" 0 1 0
}

on_ext4() {
	ext4_on "$NS" && told_generically
}

on_xfs_without_rmap() {
	mkfs.xfs -q -f -m rmapbt=0,reflink=0 "/dev/$DISK" && mount_dax "/dev/$DISK" &&
		told_generically
}

# Nobody maps the page and nobody holds the device.
unused() {
	local before

	before=$(has_counters "$DISK" && counters "$DISK")
	poison $((START + OFFSET)) && fail "the kernel says it could do something" &&
		return 1
	counters_moved "$DISK" "$before" 0 1 0
}

begin 6
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))
check "an owner on ext4 is told by the generic path" \
	on_ext4
require unmount
check "so is one on XFS without a reverse map" \
	on_xfs_without_rmap
require unmount
check "a failure in a page that nobody uses is declined" \
	unused
check_ours "its frame is flagged nevertheless" \
	frame_flagged $((START + OFFSET)) $((START + OFFSET + PAGE))
check_ours "it is recorded as bad" \
	bad_range "$DISK" $OFFSET $PAGE
check_ours "the log says why it was declined" \
	log_says "daxmf_pmem $NS: .*offset $OFFSET .*declined"
finish
