#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Without a holder that finds the owners, the failure is declined, and the kernel's generic path
# handles it.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OFFSET=0x100000

# signalled_generically -- check that the owner is signalled, and that the driver counts a declined
# failure.
signalled_generically() {
	local before

	fill $MNT/file 16 || return
	before=$(has_counters "$DISK" && counters "$DISK")
	owners_signalled corrupt-pfn $MNT/file,offset=8K && counters_moved "$DISK" "$before" 0 1 0
}

on_ext4() {
	ext4_on "$NS" && signalled_generically
}

on_xfs_without_rmap() {
	mkfs.xfs -q -f -m rmapbt=0,reflink=0 "/dev/$DISK" && mount_dax "/dev/$DISK" &&
		signalled_generically
}

# No process maps the page, and the device has no holder.
unused() {
	local before

	before=$(has_counters "$DISK" && counters "$DISK")
	poison $((START + OFFSET)) && fail "memory_failure() succeeded" &&
		return 1
	counters_moved "$DISK" "$before" 0 1 0
}

begin 6
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))
check "the generic path signals an owner on ext4" \
	on_ext4
require unmount
check "the generic path signals an owner on XFS without a reverse map" \
	on_xfs_without_rmap
require unmount
check "a failure in an unused page is declined" \
	unused
check_ours "its frame is poisoned" \
	frame_poisoned $((START + OFFSET)) $((START + OFFSET + PAGE))
check_ours "it is recorded as bad" \
	bad_range "$DISK" $OFFSET $PAGE
check_ours "the log says why it was declined" \
	log_says "daxmf_pmem $NS: .*offset $OFFSET .*declined"
finish
