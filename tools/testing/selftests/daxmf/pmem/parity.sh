#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Apart from failures, the disk is the same as with nd_pmem on every kind of namespace: attributes,
# bad blocks, partitions, and the data on the media.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# io read|write SIZE NUMBER -- read or write the block with this number; print the status and the
# bad blocks.
io() {
	local status=0 bad

	case $1 in
	read) set -- "$@" "if=/dev/$DISK" of=/dev/null "skip=$3" iflag=direct ;;
	write) set -- "$@" if=/dev/zero "of=/dev/$DISK" "seek=$3" oflag=direct conv=notrunc ;;
	esac
	dd bs="$2" count=1 "${@:4}" 2>/dev/null || status=1
	bad=$(<"/sys/block/$DISK/badblocks")
	echo "$1 $2 $3: $status, bad ${bad//$'\n'/,}"
}

mark_bad() {
	echo "$1 $2" >"/sys/block/$DISK/badblocks"
}

# Reads and writes of parts of a bad range, down to a sector.
bad_sectors() {
	mark_bad 803 1
	io read 4k 100
	io read 512 803
	io read 512 804
	io write 512 804
	io write 512 803
	io read 4k 100
	mark_bad 796 20
	io write 4k 100
	io read 64k 6
	io write 64k 6
	io read 64k 6
	mark_bad 0 8192
	io read 1M 2
	io write 1M 2
	io read 1M 2
	io read 1M 3
}

# An owner of a file on the second partition is signalled. XFS supports DAX with reflink only on a
# whole disk, so each page has one owner.
partition() {
	local part="/dev/${DISK}p2"

	printf 'label: gpt\nsize=64M\nsize=320M\n' | sfdisk -q "/dev/$DISK" && settle &&
		mkfs.xfs -q -f -m rmapbt=1,reflink=0 "$part" && mount_dax "$part" || return
	fallocate -l 200M $MNT/file || return
	owners_signalled corrupt-pfn $MNT/file,offset=190M,write | tail -n 1
	unmount
	sfdisk -q --delete "/dev/$DISK"
}

disk() {
	print_attributes && bad_sectors
}

# aligned_disk ALIGN -- check an fsdax namespace with this alignment. The first ALIGN bytes of the
# namespace are not part of the disk.
aligned_disk() {
	make_fsdax "$NS" pmem "$1" && drivers_agree_on_disk print_attributes &&
		is cat "/sys/block/$DISK/size" $((($(ns_get "$NS" size) - $1) / 512))
}

begin 6
require_ns memmap
on_exit make_raw "$NS"
check "raw" \
	drivers_agree_on_disk disk
require make_fsdax "$NS" ram
check "fsdax, its map in memory" \
	drivers_agree_on_disk print_attributes
require make_fsdax "$NS" pmem
check "fsdax, its map on the device" \
	drivers_agree_on_disk disk
check "fsdax, an owner on a partition" \
	drivers_agree_on_disk partition
# The disk of nd_btt, which has neither DAX nor bad blocks of its own.
require make_sector "$NS"
check "sector" \
	drivers_agree_on_disk print_attributes
require_ns nvdimm
on_exit make_raw "$NS"
check "fsdax, aligned to 1 GiB" \
	aligned_disk $((1 << 30))
finish
