#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures in an fsdax namespace, whose data do not start where the namespace does.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# Every owner is told.
owners_are_told() {
	xfs_on "$NS" && fill $MNT/file 16 && share $MNT/file $MNT/clone &&
		told corrupt-pfn $MNT/file,offset=8K $MNT/clone,offset=8K && unmount &&
		mend "$DISK"
}

# The holder is told of the offset in the device, at both ends of it.
holder_is_told() {
	hold "$DISK" && on_exit release && at_is_told 0x0 &&
		at_is_told "$(printf %#x $(($(blockdev --getsize64 "/dev/$DISK") - PAGE)))"
}

at_is_told() {
	poison $((START + $1)) &&
		log_says "rust_dax_holder: memory failure at offset $1 length 0x1000" &&
		is bad_blocks "$(($1 / 512)) 8" && mend "$DISK" && is bad_blocks ''
}

# What lies before the data is the driver's: the info block, and the page map if it lies there.
before_the_data() {
	local before address

	hold "$DISK" && on_exit release || return
	before=$(counters "$DISK")
	for address in $(($(ns_get "$NS" resource))) $((START - PAGE)); do
		poison "$address" && fail "a failure at $address was handled" && return 1
	done
	# Frames that hold the page map have no pages: the kernel does not ask the driver.
	is notified 0 && is bad_blocks '' &&
		{ [ "$MAP" = pmem ] || counters_moved "$DISK" "$before" 0 0 2; }
}

# A machine check: the page reads as an error at once, and is good when it was written.
machine_check_is_repaired() {
	local failed=$((START + 5 * PAGE)) good=$((START + 6 * PAGE))

	machine_check $failed && is bad_blocks "40 8" && frame_flagged $failed $good &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 5 && dax_read "/dev/$DISK" 4 &&
		mend "$DISK" && dax_read "/dev/$DISK" 5 && ! frame_flagged $failed $good
}

# There are struct pages in front of the data, behind the info block, where there were zeroes.
page_map_is_there() {
	as_raw "$NS" fails_with differ cmp_zeroes 8192 $((START - $(ns_get "$NS" resource) - 8192))
}

cmp_zeroes() {
	cmp -n "$2" -i "$1:0" "/dev/$DISK" /dev/zero
}

begin 7
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns memmap
on_exit make_raw "$NS"
for MAP in ram pmem; do
	require make_fsdax "$NS" $MAP
	DISK=$(ns_disk "$NS")
	START=$(ns_start "$NS")
	check "map in $MAP: the holder is told of offsets in the disk" \
		clean holder_is_told
	check "map in $MAP: a failure before the data reaches nobody" \
		clean before_the_data
done
check "owners are told" \
	owners_are_told
check "a machine check is repaired by a write" \
	machine_check_is_repaired
check "the page map is on the device" \
	page_map_is_there
finish
