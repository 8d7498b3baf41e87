#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A holder on a partition is notified of failures in it. Offsets are in bytes of the partition.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIB=$((1 << 20))

# Make two partitions. Free space follows the second partition, so that it can grow.
partition_disk() {
	printf 'label: gpt\nsize=64M\nsize=64M\n' | sfdisk -q --wipe always "/dev/$DISK" &&
		on_exit forget_partitions && settle || return
	FROM=$(($(cat "/sys/class/block/${DISK}p2/start") * 512))
	LENGTH=$(blockdev --getsize64 "/dev/${DISK}p2")
}

forget_partitions() {
	ns_bind "$NS" && sfdisk -q --delete "/dev/$(ns_disk "$NS")"
}

# fail_range START SIZE -- make a range fail. The numbers are in bytes of the whole disk.
fail_range() {
	modprobe rust_dax_source "device=/dev/$DISK" "start=$1" "size=$2" && rmmod rust_dax_source
}

# notified_of OFFSET LENGTH COMMAND... -- check that the command causes one notification of the
# holder, of this range.
notified_of() {
	local before mark="notified.$RANDOM" range

	range=$(printf 'offset 0x%x length 0x%x' "$1" "$2")
	before=$(notified)
	log_mark "$mark"
	shift 2
	"$@" && is notified $((before + 1)) &&
		log_says "^rust_dax_holder: memory failure at $range flags" "$mark"
}

# not_notified START SIZE -- check that a failure of this range is declined.
not_notified() {
	local before

	before=$(notified)
	fails_with "not supported" fail_range "$1" "$2" && is notified "$before"
}

inside() {
	notified_of 0 $PAGE poison $((START + FROM)) &&
		notified_of $((LENGTH - PAGE)) $PAGE poison $((START + FROM + LENGTH - PAGE)) &&
		notified_of $((8 * MIB)) $((2 * MIB)) fail_range $((FROM + 8 * MIB)) $((2 * MIB))
}

outside() {
	local before

	not_notified 0 $PAGE && not_notified $((FROM - PAGE)) $PAGE && not_notified 0 "$FROM" &&
		not_notified $((FROM + LENGTH)) $PAGE && not_notified $((FROM + LENGTH)) $((MIB * MIB)) ||
		return
	before=$(counters "$DISK")
	poison $((START + FROM - PAGE))
	counters_moved "$DISK" "$before" 0 1 0
}

over_its_edges() {
	notified_of 0 $PAGE fail_range $((FROM - PAGE)) $((2 * PAGE)) &&
		notified_of 0 1 fail_range $((FROM - 1)) 2 &&
		notified_of $((LENGTH - PAGE)) $PAGE fail_range $((FROM + LENGTH - PAGE)) $((2 * PAGE))
}

all_of_it() {
	notified_of 0 "$LENGTH" fail_range 0 0xffffffffffffffff &&
		notified_of 0 "$LENGTH" fail_range 0 $((FROM + LENGTH))
}

# resize SIZE -- resize the second partition. The redirection keeps the partition open, as a mount
# does. Otherwise partx and udev would delete it and make another partition.
resize() {
	echo "size=$1" | sfdisk -q --no-reread --no-tell-kernel -N 2 "/dev/$DISK" &&
		settle && partx -u -n 2 "/dev/$DISK"
} 3<"/dev/${DISK}p2"

grows() {
	local length=$((80 * MIB))

	not_notified $((FROM + LENGTH)) $PAGE && resize 80M &&
		is blockdev --getsize64 "/dev/${DISK}p2" $length &&
		notified_of "$LENGTH" $PAGE fail_range $((FROM + LENGTH)) $PAGE &&
		notified_of 0 $length fail_range 0 0xffffffffffffffff && LENGTH=$length
}

removed() {
	notified_of 0 "$LENGTH" ns_unbind "$NS"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_disk "$KIND"
require partition_disk
require hold "${DISK}p2"
on_exit release

check "failures in the partition" \
	inside
check "failures before and after the partition" \
	outside
check "failures across its borders" \
	over_its_edges
check "failures of the whole partition and more" \
	all_of_it
check "a failure in the new part of a grown partition" \
	grows
check "the disk is removed" \
	removed
finish
