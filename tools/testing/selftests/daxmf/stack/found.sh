#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Errors that were found on a disk: of two volumes on it, the filesystem is notified that wants them.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

OTHER=$MNT.xfs
# Where the volumes begin on the disk, in MiB.
FIRST=16
SECOND=300

# found START FILE PAGE -- an error in a page of a file on the volume that begins there.
found() {
	echo $(($1 * 2048 + $(file_sector "$2" "$3"))) 8 >"/sys/block/$A/badblocks"
}

# state -- of the disk and of both volumes.
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

mendfs_is_told() {
	found $FIRST $MNT/file 2 && wait_for is state "1 1 0 0, 0; 1 1 0 0; 0 0 0 0" && cannot_read $MNT/file 2
}

xfs_is_not_told() {
	found $SECOND "$OTHER/file" 2 && wait_for is state "1 1 0 0, 1; 1 1 0 0; 0 0 0 0"
}

xfs_is_told_by_choice() {
	echo always >"/sys/block/$A/memory_failure/found" && found $SECOND "$OTHER/file" 3 &&
		wait_for is state "2 2 0 0, 1; 1 1 0 0; 1 1 0 0"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk memmap
A=$DISK
require mount_both
check "mendfs is notified" mendfs_is_told
check "XFS is not notified" xfs_is_not_told
check "XFS is notified by choice" xfs_is_told_by_choice
finish
