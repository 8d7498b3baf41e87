#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A holder on a partition: it is notified of what fails there, in bytes of the partition.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIB=$((1 << 20))

# Space behind the second partition, for it to grow.
partition_disk() {
	printf 'label: gpt\nsize=64M\nsize=64M\n' | sfdisk -q --wipe always "/dev/$DISK" &&
		on_exit forget_partitions && settle || return
	FROM=$(($(cat "/sys/class/block/${DISK}p2/start") * 512))
	LENGTH=$(blockdev --getsize64 "/dev/${DISK}p2")
}

forget_partitions() {
	ns_bind "$NS" && sfdisk -q --delete "/dev/$(ns_disk "$NS")"
}

# fail_range START SIZE -- of the whole disk, in bytes.
fail_range() {
	modprobe rust_dax_source "device=/dev/$DISK" "start=$1" "size=$2" && rmmod rust_dax_source
}

# told_of OFFSET LENGTH COMMAND... -- the holder gets one notification, of this range.
told_of() {
	local before mark="told.$RANDOM" range

	range=$(printf 'offset 0x%x length 0x%x' "$1" "$2")
	before=$(notified)
	log_mark "$mark"
	shift 2
	"$@" && is notified $((before + 1)) &&
		log_says "^rust_dax_holder: memory failure at $range flags" "$mark"
}

# not_told START SIZE
not_told() {
	local before

	before=$(notified)
	fails_with "not supported" fail_range "$1" "$2" && is notified "$before"
}

in_it() {
	told_of 0 $PAGE poison $((START + FROM)) &&
		told_of $((LENGTH - PAGE)) $PAGE poison $((START + FROM + LENGTH - PAGE)) &&
		told_of $((8 * MIB)) $((2 * MIB)) fail_range $((FROM + 8 * MIB)) $((2 * MIB))
}

around_it() {
	local before

	not_told 0 $PAGE && not_told $((FROM - PAGE)) $PAGE && not_told 0 "$FROM" &&
		not_told $((FROM + LENGTH)) $PAGE && not_told $((FROM + LENGTH)) $((MIB * MIB)) ||
		return
	before=$(counters "$DISK")
	poison $((START + FROM - PAGE))
	counters_moved "$DISK" "$before" 0 1 0
}

over_its_edges() {
	told_of 0 $PAGE fail_range $((FROM - PAGE)) $((2 * PAGE)) &&
		told_of 0 1 fail_range $((FROM - 1)) 2 &&
		told_of $((LENGTH - PAGE)) $PAGE fail_range $((FROM + LENGTH - PAGE)) $((2 * PAGE))
}

all_of_it() {
	told_of 0 "$LENGTH" fail_range 0 0xffffffffffffffff &&
		told_of 0 "$LENGTH" fail_range 0 $((FROM + LENGTH))
}

# resize SIZE -- of the second partition. It is open meanwhile, as with a filesystem on it: otherwise
# partx and udev put another one in its place.
resize() {
	echo "size=$1" | sfdisk -q --no-reread --no-tell-kernel -N 2 "/dev/$DISK" &&
		settle && partx -u -n 2 "/dev/$DISK"
} 3<"/dev/${DISK}p2"

grows() {
	local length=$((80 * MIB))

	not_told $((FROM + LENGTH)) $PAGE && resize 80M &&
		is blockdev --getsize64 "/dev/${DISK}p2" $length &&
		told_of "$LENGTH" $PAGE fail_range $((FROM + LENGTH)) $PAGE &&
		told_of 0 $length fail_range 0 0xffffffffffffffff && LENGTH=$length
}

removed() {
	told_of 0 "$LENGTH" ns_unbind "$NS"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_disk "$KIND"
require partition_disk
require hold "${DISK}p2"
on_exit release

check "what fails in it" \
	in_it
check "what fails before it and behind it" \
	around_it
check "what fails on both sides of an edge" \
	over_its_edges
check "all of it, and more" \
	all_of_it
check "what it has grown by" \
	grows
check "its disk is removed" \
	removed
finish
