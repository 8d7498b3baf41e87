#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures from less than a page to the whole device; on a disk, a partition and mapped devices.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIB=$((1 << 20))

# fail_range START SIZE -- in bytes of the whole disk.
fail_range() {
	modprobe rust_dax_source "device=/dev/$DISK" "start=$1" "size=$2" && rmmod rust_dax_source
}

# offset FILE PAGE -- print the page's offset on the disk, in bytes.
offset() {
	echo $((FROM + $(file_sector "$1" "$2") * 512))
}

# bad_pages FILE -- print the first and the last page that cannot be read, and their number.
bad_pages() {
	python3 - "$1" <<-END
		import os, sys
		file, bad = os.open(sys.argv[1], os.O_RDONLY), []
		for page in range(os.fstat(file).st_size // $PAGE):
		    try:
		        os.pread(file, $PAGE, page * $PAGE)
		    except OSError:
		        bad.append(page)
		print("%d..%d" % (bad[0], bad[-1]) if bad else "none", len(bad))
	END
}

# repair FILE FIRST LAST -- write these pages whole.
repair() {
	dd if=/dev/zero of="$1" bs=$PAGE seek="$2" count=$(($3 - $2 + 1)) conv=notrunc status=none
}

less_than_a_page() {
	fill a 16 && fail_range $(($(offset a 5) + 100)) 10 && is bad_pages a "5..5 1" &&
		repair a 5 5 && is bad_pages a "none 0"
}

across_a_boundary() {
	fill a 16 && fail_range $(($(offset a 5) + PAGE - 1)) 2 && is bad_pages a "5..6 2" &&
		repair a 5 6
}

many_pages() {
	fill a 1000 && fail_range "$(offset a 3)" $((900 * PAGE)) && is bad_pages a "3..902 900" &&
		repair a 3 902 && is bad_pages a "none 0"
}

# Each owner has bad pages for its part of the range.
several_files() {
	fill a 64 && fill b 64 && share a c && share a d $((8 * PAGE)) 0 $((8 * PAGE)) &&
		fail_range "$(offset a 10)" $(($(offset b 20) - $(offset a 10))) &&
		is bad_pages a "10..63 54" && is bad_pages b "0..19 20" &&
		is bad_pages c "10..63 54" && is bad_pages d "2..7 6" && rm a b c d
}

# all_fail START SIZE -- the whole filesystem fails. Only pages of files stay bad, until the files
# are removed.
all_fail() {
	local before

	rm -rf a b && before=$(free_pages) && fill a 64 && fill b 64 && mkdir -p dir &&
		ln -f a dir/a && fail_range "$1" "$2" && is bad_pages a "0..63 64" &&
		is bad_pages b "0..63 64" && is stat -c %h a 2 &&
		wait_for is free_pages $((before - 128)) && fill new 64 && is bad_pages new "none 0" &&
		remount_volume && is bad_pages a "0..63 64" && repair b 0 63 && rm a dir/a new &&
		wait_for is free_pages $((before - 64)) && is bad_pages b "none 0" && rm b &&
		wait_for is free_pages "$before" && remount_volume
}

# not_ours START SIZE -- a failure elsewhere on the disk is declined.
not_ours() {
	fails_with "not supported" modprobe rust_dax_source "device=/dev/$DISK" "start=$1" "size=$2"
}

# --- Partitions ---

on_partition() {
	cd / && unmount && printf 'label: gpt\nsize=64M\nsize=128M\nsize=64M\n' |
		sfdisk -q --wipe always "/dev/$DISK" && settle &&
		mkfs.mendfs -q -f "/dev/${DISK}p2" && mount_mendfs "/dev/${DISK}p2" && cd $MNT &&
		on_exit cd / || return
	FROM=$(($(cat "/sys/class/block/${DISK}p2/start") * 512))
}

remount_volume() {
	cd / && unmount && fsck_clean "/dev/$VOLUME" && mount -t mendfs "/dev/$VOLUME" $MNT && cd $MNT ||
		return
}

borders() {
	not_ours $((FROM - MIB)) $MIB && not_ours $((FROM + 128 * MIB)) $((MIB * MIB)) &&
		fail_range $((FROM - 1)) 2 && wait_repaired && fail_range $((FROM + 128 * MIB - 1)) 2 &&
		wait_repaired && fill a 16 && remount_volume && same_except a -1
}

# --- Mapped devices ---

# on_dm SOURCE -- every owner is signalled, at both ends of the mapped device; data and metadata are
# repaired.
on_dm() {
	mkfs.mendfs -q -f "/dev/$DM" && mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / || return
	fill first 16 && share first clone &&
		fallocate -l $(($(stat -f -c %f .) * PAGE * 3 / 4)) gap &&
		fill last 16 && share last copy &&
		owners_signalled "$1" first,offset=8K clone,offset=8K last,offset=8K,quiet &&
		owners_signalled "$1" last,offset=60K copy,offset=60K first,offset=60K,quiet &&
		is bad_pages clone "2..2 1" && is bad_pages copy "15..15 1" && rm first last &&
		repair clone 2 2 && repair copy 15 15 && metadata_repaired
	local status=$?

	cd / && unmount && fsck_clean "/dev/$DM" && return $status
}

# All memory of the disks below fails.
metadata_repaired() {
	local DISK DISKS=("$STACK"/*)

	DISKS=("${DISKS[@]##*/}")
	for DISK in "${DISKS[@]}"; do
		wait_repaired && fail_range 0 $((MIB * MIB)) || return
	done
	mkdir dir && is bad_pages clone "0..15 16" && rm -r clone copy gap dir || return
	for DISK in "${DISKS[@]}"; do
		wait_repaired || return
	done
	fill new 64 && is bad_pages new "none 0"
}

one_segment() {
	map one <<<"$(linear 0 100 "$A" 16)" && attach "$A" "$DM" && on_dm "$1"
}

out_of_order() {
	map segments <<-EOF && attach "$A" "$DM" && on_dm corrupt-pfn
		$(linear 0 100 "$A" 300)
		$(linear 100 7 "$A" 1)
		$(linear 107 50 "$A" 100)
	EOF
}

two_disks() {
	map two <<-EOF && attach "$A" "$DM" && attach "$B" "$DM" && on_dm corrupt-pfn
		$(linear 0 70 "$B" 300)
		$(linear 70 70 "$A" 64)
	EOF
}

# stripes CHUNK -- the chunk size is in sectors.
stripes() {
	map stripes 0 $((100 * 2048)) striped 2 "$1" "/dev/$A" 2048 "/dev/$B" 4096 &&
		attach "$A" "$DM" && attach "$B" "$DM" && on_dm corrupt-pfn
}

lvm() {
	volume_group "/dev/$A" "/dev/$B" && volume lv -i 2 -I 64k -L 100M &&
		daxmf stack attach /dev/vg/lv && on_exit daxmf stack detach "$DM" && on_dm corrupt-pfn
}

begin 16
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns memmap
require use_mendfs "$NS"
VOLUME=$DISK
FROM=0
SIZE=$(ns_get "$NS" size)

check "less than a page" less_than_a_page
check "two bytes, in two pages" across_a_boundary
check "many pages" many_pages
check "several files" several_files
require on_partition
VOLUME=${DISK}p2
check "several files on a partition" several_files
check "the borders of the partition, and the memory beyond" borders
check "the whole partition" all_fail $FROM $((128 * MIB))
check "the whole disk below the partition" all_fail 0 "$SIZE"
check "all memory up to the largest offset" all_fail 0 0xffffffffffffffff

require cd /
require unmount
require sfdisk -q --delete "/dev/$DISK"
require_disks
require modprobe daxmf_stack
check "one segment" with_undo one_segment corrupt-pfn
check "one segment, a machine check" with_undo one_segment mce
check "segments out of order" with_undo out_of_order
check "two disks" with_undo two_disks
check "stripes of 64 KiB" with_undo stripes 128
check "stripes of a page" with_undo stripes 8
check "a striped volume of LVM" with_undo lvm
finish
