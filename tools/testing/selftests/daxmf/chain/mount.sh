#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# XFS and ext4 with DAX, and mappings of 2 MiB.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

HUGE=$((2 << 20))

# huge_file -- make a file of one extent, aligned so that huge entries of the page table can map it.
huge_file() {
	xfs_io -f -c "extsize $HUGE" $MNT/file
	fallocate -l $((2 * HUGE)) $MNT/file &&
		dd if=/dev/zero of=$MNT/file bs=$HUGE count=2 conv=notrunc,fsync status=none
}

# si_addr_lsb must be 21, because the unmapped entry of the page table covers 2 MiB.
huge_mapping_is_signalled() {
	huge_file && owners_signalled corrupt-pfn "$MNT/file,write,length=$HUGE,lsb=21"
}

xfs_huge() {
	xfs_on "$NS" -d su=2m,sw=1 && huge_mapping_is_signalled
}

ext4_huge() {
	ns_bind "$NS" && make_ext4 -E stride=512,stripe-width=512 "/dev/$DISK" &&
		mount_dax "/dev/$DISK" && huge_mapping_is_signalled
}

# Data that was stored through a mapping is there after the caches are dropped: it is on the media.
mapped_write_lasts() {
	xfs_io -c "mmap -rw 0 1m" -c "mwrite -S 0x5a 0 1m" -c "msync -s 0 1m" $MNT/file &&
		umount $MNT && echo 3 >/proc/sys/vm/drop_caches && mount_dax "/dev/$DISK" &&
		head -c 1M $MNT/file | tr -d Z | cmp - /dev/null
}

begin 3
require_ns "$KIND"
check "XFS: the owner of a mapping of 2 MiB is signalled" \
	xfs_huge
require unmount
require ns_unbind "$NS"
check "ext4: the owner of a mapping of 2 MiB is signalled" \
	ext4_huge
require unmount
require ns_unbind "$NS"
require xfs_on "$NS"
require fill $MNT/file 512
check "data written through a mapping is on media" \
	mapped_write_lasts
finish
