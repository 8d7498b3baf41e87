#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is not about failures is as with nd_pmem: attributes, bad blocks, partitions.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# attributes DISK -- what tools ask of a disk.
attributes() {
	local file

	for file in size ro removable range ext_range dax/write_cache \
		queue/{dax,write_cache,fua,rotational,add_random,iostats,nomerges,stable_writes} \
		queue/{logical_block_size,physical_block_size,minimum_io_size,optimal_io_size} \
		queue/{max_hw_sectors_kb,discard_max_bytes,write_zeroes_max_bytes,dma_alignment} \
		queue/{zoned,nr_zones}; do
		file=/sys/block/$1/$file
		[ ! -e "$file" ] || echo "$file $(cat "$file")"
	done
}

# io read|write SIZE NUMBER -- the block with this number, and the list of bad blocks after it.
io() {
	local status=0

	case $1 in
	read) set -- "$@" "if=/dev/$DISK" of=/dev/null "skip=$3" iflag=direct ;;
	write) set -- "$@" if=/dev/zero "of=/dev/$DISK" "seek=$3" oflag=direct conv=notrunc ;;
	esac
	dd bs="$2" count=1 "${@:4}" 2>/dev/null || status=1
	echo "$1 $2 $3: $status, bad $(paste -sd, "/sys/block/$DISK/badblocks")"
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
	mark_bad 0 65536
	io read 1M 20
	io write 1M 20
	io read 1M 20
	io read 1M 21
}

# A filesystem on the second partition: are the owners of its first and last pages told? XFS wants a
# whole disk for DAX with reflink, so every page has one owner here.
partitions() {
	local part="/dev/${DISK}p2" file

	printf 'label: gpt\nsize=64M\nsize=320M\n' | sfdisk -q "/dev/$DISK" && settle &&
		mkfs.xfs -q -f -m rmapbt=1,reflink=0 "$part" && mount_dax "$part" || return
	for file in first last; do
		fill $MNT/$file 16 && fallocate -l 100M $MNT/$file || return
		told corrupt-pfn $MNT/$file,offset=60K,write | tail -n 1
		told corrupt-pfn $MNT/$file,offset=90M,write | tail -n 1
	done
	unmount
	sfdisk -q --delete "/dev/$DISK"
}

# same WHAT -- with both drivers; the failures themselves are cleared by rebinding.
same() {
	local driver

	for driver in nd_pmem daxmf_pmem; do
		ns_bind "$NS" $driver || return
		DISK=$(ns_disk "$NS")
		"$@" "$DISK" >"$TMP/$driver" || return
		ns_unbind "$NS"
	done
	cat "$TMP/nd_pmem"
	diff "$TMP/nd_pmem" "$TMP/daxmf_pmem"
}

begin 3
require_ns "$KIND"
check "attributes of the disk" \
	same attributes
check "reads and writes of bad sectors" \
	same bad_sectors
check "owners on a partition" \
	same partitions
finish
