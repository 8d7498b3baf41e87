#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures of any length, from less than a page to the whole device; on a disk, a partition, and
# mapped devices.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIB=$((1 << 20))

# fail_range START SIZE -- of the whole disk, in bytes.
fail_range() {
	modprobe rust_dax_source "device=/dev/$DISK" "start=$1" "size=$2" && rmmod rust_dax_source
}

# offset FILE PAGE -- where it is on the disk.
offset() {
	echo $((FROM + $(file_sector "$1" "$2") * 512))
}

# bad_pages FILE -- which pages of it cannot be read.
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

# heal FILE FIRST LAST -- writes pages whole, one after the other.
heal() {
	dd if=/dev/zero of="$1" bs=$PAGE seek="$2" count=$(($3 - $2 + 1)) conv=notrunc status=none
}

less_than_a_page() {
	fill a 16 && fail_range $(($(offset a 5) + 100)) 10 && is bad_pages a "5..5 1" &&
		heal a 5 5 && is bad_pages a "none 0"
}

across_a_boundary() {
	fill a 16 && fail_range $(($(offset a 5) + PAGE - 1)) 2 && is bad_pages a "5..6 2" &&
		heal a 5 6
}

many_pages() {
	fill a 1000 && fail_range "$(offset a 3)" $((900 * PAGE)) && is bad_pages a "3..902 900" &&
		heal a 3 902 && is bad_pages a "none 0"
}

# All owners, with what each of them has of it.
several_files() {
	fill a 64 && fill b 64 && share a c && share a d $((8 * PAGE)) 0 $((8 * PAGE)) &&
		fail_range "$(offset a 10)" $(($(offset b 20) - $(offset a 10))) &&
		is bad_pages a "10..63 54" && is bad_pages b "0..19 20" &&
		is bad_pages c "10..63 54" && is bad_pages d "2..7 6" && rm a b c d
}

# all_fail START SIZE -- all of the filesystem: only what files have is lost, until they go.
all_fail() {
	local before

	rm -rf a b && before=$(free_pages) && fill a 64 && fill b 64 && mkdir -p dir &&
		ln -f a dir/a && fail_range "$1" "$2" && is bad_pages a "0..63 64" &&
		is bad_pages b "0..63 64" && is stat -c %h a 2 &&
		wait_for is free_pages $((before - 128)) && fill new 64 && is bad_pages new "none 0" &&
		remount && is bad_pages a "0..63 64" && heal b 0 63 && rm a dir/a new &&
		wait_for is free_pages $((before - 64)) && is bad_pages b "none 0" && rm b &&
		wait_for is free_pages "$before" && remount
}

# What lies elsewhere on the disk is not ours.
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

remount() {
	cd / && unmount && fsck_clean "/dev/$VOLUME" && mount -t mendfs "/dev/$VOLUME" $MNT && cd $MNT ||
		return
}

borders() {
	not_ours $((FROM - MIB)) $MIB && not_ours $((FROM + 128 * MIB)) $((MIB * MIB)) &&
		fail_range $((FROM - 1)) 2 && mended && fail_range $((FROM + 128 * MIB - 1)) 2 &&
		mended && fill a 16 && remount && same_but a -1
}

# --- Mapped devices ---

# on_dm SOURCE -- every owner is told, at both ends of the mapped device; data and metadata heal.
on_dm() {
	mkfs.mendfs -q -f "/dev/$DM" && mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / || return
	fill first 16 && share first clone &&
		fallocate -l $(($(stat -f -c %f .) * PAGE * 3 / 4)) gap &&
		fill last 16 && share last copy &&
		told "$1" first,offset=8K clone,offset=8K last,offset=8K,quiet &&
		told "$1" last,offset=60K copy,offset=60K first,offset=60K,quiet &&
		is bad_pages clone "2..2 1" && is bad_pages copy "15..15 1" && rm first last &&
		heal clone 2 2 && heal copy 15 15 && metadata_mended
	local status=$?

	cd / && unmount && fsck_clean "/dev/$DM" && return $status
}

# All of the disks below fails.
metadata_mended() {
	local DISK DISKS=("$STACK"/*)

	DISKS=("${DISKS[@]##*/}")
	for DISK in "${DISKS[@]}"; do
		mended && fail_range 0 $((MIB * MIB)) || return
	done
	mkdir dir && is bad_pages clone "0..15 16" && rm -r clone copy gap dir || return
	for DISK in "${DISKS[@]}"; do
		mended || return
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

# stripes CHUNK -- in sectors.
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
check "two bytes of two pages" across_a_boundary
check "many pages" many_pages
check "several files" several_files
require on_partition
VOLUME=${DISK}p2
check "a part of a partition" several_files
check "its borders, and what lies beyond" borders
check "all of a partition" all_fail $FROM $((128 * MIB))
check "all of the disk, of which it is a part" all_fail 0 "$SIZE"
check "everything" all_fail 0 0xffffffffffffffff

require cd /
require unmount
require sfdisk -q --delete "/dev/$DISK"
require_disks
require modprobe daxmf_stack
check "one segment" clean one_segment corrupt-pfn
check "one segment, a machine check" clean one_segment mce
check "segments out of order" clean out_of_order
check "two disks" clean two_disks
check "stripes of 64 KiB" clean stripes 128
check "stripes of a page" clean stripes 8
check "a striped volume of LVM" clean lvm
finish
