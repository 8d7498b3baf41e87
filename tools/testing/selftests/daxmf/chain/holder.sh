#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A DAX device has one holder at a time. The claim of a second holder fails.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OFFSET=0x100000

mounts_without_dax() {
	mount -o dax=always "/dev/$DISK" $MNT || return
	on_exit unmount
	is findmnt -no FSTYPE $MNT xfs && ! findmnt -no OPTIONS $MNT | grep -o dax=always
}

holder_is_notified() {
	local before
	before=$(counters "$DISK")

	poison $((START + OFFSET))
	is notified 1 && counters_moved "$DISK" "$before" 1 0 0 &&
		log_says "rust_dax_holder: memory failure at offset $OFFSET length 0x1000"
}

holds_again() {
	hold "$DISK" && release
}

# The stock driver offers no DAX on a raw NVDIMM.
without_dax() {
	local ns

	ns=$(ns_find nvdimm) && ns_bind "$ns" nd_pmem &&
		hold_fails EOPNOTSUPP "/dev/$(ns_disk "$ns")"
}

begin 10
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))
require xfs_on "$NS"

check "a mounted device is refused" \
	hold_fails EBUSY "/dev/$DISK"
require unmount
check "a free device can be held" \
	hold "$DISK"
check "XFS mounts a held device, without DAX" \
	mounts_without_dax
require unmount
check "the holder is notified of a failure" \
	holder_is_notified
check "a holder can release the device" \
	release
check "a released device can be held again" \
	holds_again
check "a released device can be mounted with DAX" \
	mount_dax "/dev/$DISK"
check "a device that does not exist is refused" \
	hold_fails ENOENT /dev/pmem99
check "a file that is not a block device is refused" \
	hold_fails ENOTBLK /dev/null
check "a device without DAX is refused" \
	without_dax
finish
