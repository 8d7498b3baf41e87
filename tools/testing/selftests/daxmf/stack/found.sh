#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Errors are found on a disk with two volumes. mendfs is always notified, XFS only with the policy
# "always".

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OTHER=$MNT.xfs
# Start of the volumes on the disk, in MiB.
FIRST=16
SECOND=300

# found START FILE PAGE -- add a page of a file to the bad blocks. START is the start of the file's
# volume on the disk.
found() {
	echo $(($1 * 2048 + $(file_sector "$2" "$3"))) 8 >"/sys/block/$A/badblocks"
}

# state -- print the counters of the disk and of both volumes.
state() {
	echo "$(counters "$A"), $(cat "/sys/block/$A/memory_failure/found_unnotified");" \
		"$(stack_counters "$A/$MENDFS"); $(stack_counters "$A/$XFS")"
}

mount_both() {
	map other <<<"$(linear 0 200 "$A" $SECOND)" && XFS=$DM && attach "$A" "$XFS" || return
	make_xfs --unsupported "/dev/$XFS" && mkdir -p "$OTHER" && mount -o dax=always "/dev/$XFS" "$OTHER" || return
	on_exit umount "$OTHER"
	map one <<<"$(linear 0 200 "$A" $FIRST)" && MENDFS=$DM && attach "$A" "$MENDFS" || return
	mkfs.mendfs -q -f "/dev/$MENDFS" && mount_mendfs "/dev/$MENDFS" && fill $MNT/file 16 &&
		fill "$OTHER/file" 16
}

mendfs_is_notified() {
	found $FIRST $MNT/file 2 && wait_for is state "1 1 0 0, 0; 1 1 0 0; 0 0 0 0" && cannot_read $MNT/file 2
}

xfs_is_not_notified() {
	found $SECOND "$OTHER/file" 2 && wait_for is state "1 1 0 0, 1; 1 1 0 0; 0 0 0 0"
}

xfs_is_notified() {
	echo always >"/sys/block/$A/memory_failure/found" && found $SECOND "$OTHER/file" 3 &&
		wait_for is state "2 2 0 0, 1; 1 1 0 0; 1 1 0 0"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk memmap
A=$DISK
require mount_both
check "mendfs is notified" mendfs_is_notified
check "XFS is not notified" xfs_is_not_notified
check "XFS is notified with policy always" xfs_is_notified
finish
