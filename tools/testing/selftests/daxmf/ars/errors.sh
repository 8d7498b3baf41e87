#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Media errors, from the firmware to the disk and back, as an administrator meets them: the same with
# both drivers.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# SECTOR is the first of page BAD.
SECTOR=800
BAD=$((SECTOR * 512 / PAGE))

# known BLOCKS -- by the disk, by its region, and by ndctl.
known() {
	local listed

	is bad_blocks "$1" && is paste -sd, "$BUS"/region*/badblocks "$1" || return
	listed=$(ndctl list -NM -n "$NS" | grep -E '"(offset|length)":' | tr -dc '0-9\n' | paste -sd' ')
	[ "$listed" = "$1" ] || fail "ndctl lists '$listed', not '$1'"
}

reported() {
	inject $SECTOR 1 && wait_for is bad_blocks "$SECTOR 1" && known "$SECTOR 1"
}

is_refused() {
	fails_with "Input/output error" dax_read "/dev/$DISK" $BAD &&
		dax_read "/dev/$DISK" $((BAD - 1)) && dax_read "/dev/$DISK" $((BAD + 1))
}

write_mends() {
	write_page "/dev/$DISK" $BAD oflag=direct && has_page "/dev/$DISK" $BAD iflag=direct &&
		known "" && is injected ""
}

scrubbed() {
	scrub_ends && inject $SECTOR 8 --no-notify && known "" || return
	scrub_starts && scrub_ends && known "$SECTOR 8" && is_refused
}

# ndctl unbinds the namespace for it, and any driver may have it afterwards that is loaded.
clear_errors() {
	ndctl clear-errors "$NS" && known "" && is injected "" && is ns_driver "$NS" "$DRIVER" &&
		dax_read "/dev/$DISK" $BAD
}

# file_errors -- in a file: read(2) fails, a mapping is signalled, write(2) of the page mends it.
file_errors() {
	local sector

	xfs_on "$NS" && fill $MNT/file 16 && sector=$(file_sector $MNT/file 2) &&
		inject "$sector" 1 && wait_for is bad_blocks "$sector 1" &&
		cannot_read $MNT/file 2 && cannot_touch $MNT/file 2 &&
		write_page $MNT/file 2 && has_page $MNT/file 2 && is_touched $MNT/file 2 &&
		known "" && is injected ""
}

begin 11
require_scrubs
require page_data
for DRIVER in nd_pmem daxmf_pmem; do
	require ns_bind "$NS" $DRIVER
	DISK=$(ns_disk "$NS")
	check "$DRIVER: an error that the firmware reports is listed" reported
	check "$DRIVER: it reads as an error" is_refused
	check "$DRIVER: a write mends it, in the firmware, too" write_mends
	check "$DRIVER: a scrub finds what was not reported" scrubbed
	check "$DRIVER: ndctl clear-errors" clear_errors
	require unload_modules
done
check "an error in a file" file_errors
finish
