#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The sample provider makes a disk with DAX, whose holders are notified.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OFFSET=0x100000

xfs_owners_signalled() {
	xfs_on "$NS" && fill $MNT/file 16 && share $MNT/file $MNT/clone &&
		owners_signalled corrupt-pfn $MNT/file,offset=8K $MNT/clone,offset=8K
}

mendfs_owners_signalled() {
	mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && fill $MNT/file 16 &&
		owners_signalled corrupt-pfn $MNT/file,offset=8K
}

holder_is_notified() {
	hold "$DISK" && poison $((START + OFFSET)) && is notified 1 &&
		log_says "rust_dax_holder: memory failure at offset $OFFSET length 0x1000" && release
}

# Another driver reads the data that was written.
data_stays() {
	seq 100000 | head -c 64k >"$TMP/data" &&
		dd if="$TMP/data" of="/dev/$DISK" bs=64k seek=3 oflag=direct conv=fsync status=none &&
		ns_bind "$NS" daxmf_pmem &&
		dd if="/dev/$DISK" bs=64k skip=3 count=1 iflag=direct status=none | cmp - "$TMP/data"
}

# The mounted filesystem is notified of the removal.
removal_is_notified() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && mkfs.mendfs -q -f "/dev/$DISK" &&
		mount_mendfs "/dev/$DISK" && ns_unbind "$NS" && fails_with "error" ls $MNT &&
		log_says "mendfs: $DISK: device is about to be removed, shutting down"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs the crate"
DRIVER=rust_dax_provider
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))

check "owners in XFS are signalled" xfs_owners_signalled
require unmount
check "a holder is notified" holder_is_notified
check "owners in mendfs are signalled" mendfs_owners_signalled
require unmount
check "another driver reads the data" data_stays
require ns_unbind "$NS"
check "a filesystem is notified of the removal" removal_is_notified
require unmount
check "the namespace can be bound again" ns_bind "$NS"
finish
