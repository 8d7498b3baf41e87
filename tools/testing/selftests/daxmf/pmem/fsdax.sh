#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures in an fsdax namespace, whose data starts after the start of the namespace.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

owners_are_signalled() {
	xfs_on "$NS" && fill $MNT/file 16 && share $MNT/file $MNT/clone &&
		owners_signalled corrupt-pfn $MNT/file,offset=8K $MNT/clone,offset=8K && unmount &&
		clear_bad_blocks "$DISK"
}

# The holder is notified of offsets in the disk, at both ends of the disk.
holder_is_notified() {
	hold "$DISK" && on_exit release && notified_at 0x0 &&
		notified_at "$(printf %#x $(($(blockdev --getsize64 "/dev/$DISK") - PAGE)))"
}

notified_at() {
	poison $((START + $1)) &&
		log_says "rust_dax_holder: memory failure at offset $1 length 0x1000" &&
		is bad_blocks "$(($1 / 512)) 8" && clear_bad_blocks "$DISK" && is bad_blocks ''
}

# The memory before the data belongs to the driver: the info block, and the page map if it is on the
# device.
before_the_data() {
	local before address

	hold "$DISK" && on_exit release || return
	before=$(counters "$DISK")
	for address in $(($(ns_get "$NS" resource))) $((START - PAGE)); do
		poison "$address" && fail "a failure at $address was handled" && return 1
	done
	# Frames that hold the page map have no struct pages, so the kernel does not notify the
	# driver.
	is notified 0 && is bad_blocks '' &&
		{ [ "$MAP" = pmem ] || counters_moved "$DISK" "$before" 0 0 2; }
}

# After a machine check, a read of the page fails at once. The page is good after a write.
machine_check_is_repaired() {
	local failed=$((START + 5 * PAGE)) good=$((START + 6 * PAGE))

	raise_machine_check $failed && is bad_blocks "40 8" && frame_poisoned $failed $good &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 5 && dax_read "/dev/$DISK" 4 &&
		clear_bad_blocks "$DISK" && dax_read "/dev/$DISK" 5 && ! frame_poisoned $failed $good
}

# Between the info block and the data there are struct pages, and not only zeroes.
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
	check "map in $MAP: the holder is notified of offsets in the disk" \
		with_undo holder_is_notified
	check "map in $MAP: no holder is notified of a failure before the data" \
		with_undo before_the_data
done
check "owners are signalled" \
	owners_are_signalled
check "a machine check is repaired by a write" \
	machine_check_is_repaired
check "the page map is on the device" \
	page_map_is_there
finish
