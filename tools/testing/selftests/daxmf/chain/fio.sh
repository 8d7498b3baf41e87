#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio writes and verifies every block, by system calls and through mappings.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# verified FILE OPTION...
verified() {
	fio --name=verify --filename="$1" --size=32M --bs=4k-64k --rw=randrw --verify=crc32c \
		--verify_fatal=1 --numjobs=1 --randrepeat=1 --output="$TMP/fio" "${@:2}" ||
		fail "$(tail -n 20 "$TMP/fio")"
}

begin 4
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
check "the raw disk, directly" \
	verified "/dev/$DISK" --direct=1 --ioengine=libaio --iodepth=8
check "the raw disk, through the page cache" \
	verified "/dev/$DISK" --ioengine=psync --end_fsync=1
require xfs_on "$NS"
check "a DAX file, by system calls" \
	verified $MNT/file --ioengine=psync
check "a DAX file, through a mapping" \
	verified $MNT/file --ioengine=mmap --fsync=16
finish
