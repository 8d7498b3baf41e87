#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The sample provider: a disk with DAX, on which holders sit and are told.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OFFSET=0x100000

xfs_is_told() {
	xfs_on "$NS" && fill $MNT/file 16 && share $MNT/file $MNT/clone &&
		told corrupt-pfn $MNT/file,offset=8K $MNT/clone,offset=8K
}

mendfs_is_told() {
	mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && fill $MNT/file 16 &&
		told corrupt-pfn $MNT/file,offset=8K
}

holder_is_told() {
	hold "$DISK" && poison $((START + OFFSET)) && is notified 1 &&
		log_says "rust_dax_holder: memory failure at offset $OFFSET length 0x1000" && release
}

# What is written is there when another driver has the memory.
data_stay() {
	seq 100000 | head -c 64k >"$TMP/data" &&
		dd if="$TMP/data" of="/dev/$DISK" bs=64k seek=3 oflag=direct conv=fsync status=none &&
		ns_bind "$NS" daxmf_pmem &&
		dd if="/dev/$DISK" bs=64k skip=3 count=1 iflag=direct status=none | cmp - "$TMP/data"
}

# The mounted filesystem is told that the memory goes.
removal_is_told() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && mkfs.mendfs -q -f "/dev/$DISK" &&
		mount_mendfs "/dev/$DISK" && ns_unbind "$NS" && fails_with "error" ls $MNT &&
		log_says "mendfs: $DISK: device is about to be removed, shutting down"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs the crate"
DRIVER=rust_dax_provider
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))

check "owners in XFS are told" xfs_is_told
require unmount
check "a holder is told" holder_is_told
check "owners in mendfs are told" mendfs_is_told
require unmount
check "data stay" data_stay
require ns_unbind "$NS"
check "a filesystem is told of the removal" removal_is_told
require unmount
check "it can be bound again" ns_bind "$NS"
finish
