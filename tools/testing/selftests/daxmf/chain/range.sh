#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The edges of a device: its first page, its last, and what lies beyond.

KIND=${KIND:-nvdimm}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# told_at OFFSET -- the holder is told of exactly this page.
told_at() {
	local mark

	mark=$(printf 'offset 0x%x' "$1")
	log_mark "$mark"
	poison $((START + $1)) &&
		log_says "rust_dax_holder: memory failure at $mark length 0x1000 " "$mark" &&
		bad_range "$DISK" "$1" $PAGE
}

# A page that is not the device's: whatever the kernel makes of it, nobody here is told.
not_told_at() {
	local before told

	before=$(counters "$DISK")
	told=$(notified)
	poison $((START + $1)) && fail "there is no such page" && return 1
	is notified "$told" && counters_moved "$DISK" "$before" 0 0 0
}

# The list of bad blocks takes any sector; one beyond the end harms nothing.
bad_block_beyond() {
	echo "$((SIZE / 512)) 8" >"/sys/block/$DISK/badblocks"
	dax_read "/dev/$DISK" $((SIZE / PAGE - 2)) &&
		fails_with "Input/output error" dax_read "/dev/$DISK" $((SIZE / PAGE - 1)) &&
		is blockdev --getsize64 "/dev/$DISK" "$SIZE"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
SIZE=$(ns_get "$NS" size)
require hold "$DISK"
before=$(counters "$DISK")

check "the first page" \
	told_at 0
check "the last page" \
	told_at $((SIZE - PAGE))
check "the same page once more" \
	told_at 0
check "all were delivered" \
	counters_moved "$DISK" "$before" 3 0 0
check "the page behind the last" \
	not_told_at "$SIZE"
check "a bad block beyond the end" \
	bad_block_beyond
finish
