#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Media errors, from the firmware to the disk and back, as an administrator sees them. The cases are
# the same for both drivers.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# SECTOR is the first of page BAD.
SECTOR=800
BAD=$((SECTOR * 512 / PAGE))

# known BLOCKS -- check that the disk, its region and ndctl list exactly these bad blocks.
known() {
	local listed

	is bad_blocks "$1" && is paste -sd, "$BUS"/region*/badblocks "$1" || return
	listed=$(ndctl list -NM -n "$NS" | grep -E '"(offset|length)":' | tr -dc '0-9\n' | paste -sd' ')
	[ "$listed" = "$1" ] || fail "ndctl lists '$listed', not '$1'"
}

reported() {
	inject $SECTOR 1 && wait_for is bad_blocks "$SECTOR 1" && known "$SECTOR 1"
}

read_fails() {
	fails_with "Input/output error" dax_read "/dev/$DISK" $BAD &&
		dax_read "/dev/$DISK" $((BAD - 1)) && dax_read "/dev/$DISK" $((BAD + 1))
}

write_repairs() {
	write_page "/dev/$DISK" $BAD oflag=direct && has_page "/dev/$DISK" $BAD iflag=direct &&
		known "" && is firmware_errors ""
}

scrubbed() {
	wait_scrub && inject $SECTOR 8 --no-notify && known "" || return
	start_scrub && wait_scrub && known "$SECTOR 8" && read_fails
}

# "ndctl clear-errors" unbinds the namespace, and has it bound again. Any loaded driver could bind
# it then, so only DRIVER is loaded.
clear_errors() {
	ndctl clear-errors "$NS" && known "" && is firmware_errors "" && is ns_driver "$NS" "$DRIVER" &&
		dax_read "/dev/$DISK" $BAD
}

# An error in a file: read(2) fails, an access through a mapping is signalled, and write(2) of the
# page repairs it.
file_errors() {
	local sector

	xfs_on "$NS" && fill $MNT/file 16 && sector=$(file_sector $MNT/file 2) &&
		inject "$sector" 1 && wait_for is bad_blocks "$sector 1" &&
		cannot_read $MNT/file 2 && cannot_touch $MNT/file 2 &&
		write_page $MNT/file 2 && has_page $MNT/file 2 && can_touch $MNT/file 2 &&
		known "" && is firmware_errors ""
}

begin 11
require_scrubs
require make_page_data
for DRIVER in nd_pmem daxmf_pmem; do
	require ns_bind "$NS" $DRIVER
	DISK=$(ns_disk "$NS")
	check "$DRIVER: an error that the firmware reports is listed" reported
	check "$DRIVER: a read of it fails" read_fails
	check "$DRIVER: a write repairs it, in the firmware too" write_repairs
	check "$DRIVER: a scrub finds an unreported error" scrubbed
	check "$DRIVER: ndctl clear-errors" clear_errors
	require unload_modules
done
check "an error in a file" file_errors
finish
