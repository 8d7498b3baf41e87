#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The limits of a device: its first page, its last page, and the page after it.

KIND=${KIND:-nvdimm}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# notified_at OFFSET -- check that the holder is notified of exactly this page.
notified_at() {
	local mark

	mark=$(printf 'offset 0x%x' "$1")
	log_mark "$mark"
	poison $((START + $1)) &&
		log_says "rust_dax_holder: memory failure at $mark length 0x1000 " "$mark" &&
		bad_range "$DISK" "$1" $PAGE
}

# not_notified_at OFFSET -- check that a failure of a page outside the device is an error, and that
# the holder is not notified.
not_notified_at() {
	local before count

	before=$(counters "$DISK")
	count=$(notified)
	poison $((START + $1)) && fail "a failure outside the device succeeded" && return 1
	is notified "$count" && counters_moved "$DISK" "$before" 0 0 0
}

# The driver refuses a bad block beyond the end of the device. Afterwards the device has the same
# size, its last page is still bad, and the page before is still good.
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
	notified_at 0
check "the last page" \
	notified_at $((SIZE - PAGE))
check "the same page again" \
	notified_at 0
check "all failures were delivered" \
	counters_moved "$DISK" "$before" 3 0 0
check "the page after the last" \
	not_notified_at "$SIZE"
check "a bad block beyond the end" \
	bad_block_beyond
finish
