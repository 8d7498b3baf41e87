# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The bad blocks of a disk, and their repair.

# bad_blocks -- print the bad blocks of DISK, separated by commas.
bad_blocks() {
	paste -sd, "/sys/block/$DISK/badblocks"
}

# bad_range DISK OFFSET LENGTH -- check that one listed bad range contains this range of bytes.
bad_range() {
	local start count first=$(($2 / 512)) end=$((($2 + $3) / 512))

	while read -r start count; do
		[ "$start" -le $first ] && [ $((start + count)) -ge $end ] && return
	done <"/sys/block/$1/badblocks"
	fail "badblocks of $1 lacks sectors $first..$end: $(paste -sd, "/sys/block/$1/badblocks")"
}

# file_page_bad FILE PAGE -- check that the page is in the list of bad blocks of DISK.
file_page_bad() {
	bad_range "$DISK" $(($(file_sector "$1" "$2") * 512)) "$PAGE"
}

# clear_bad_blocks DISK -- clear all bad blocks by writing zeroes to them.
clear_bad_blocks() {
	local start count

	while read -r start count && [ -n "$start" ]; do
		dd if=/dev/zero "of=/dev/$1" seek="$start" count="$count" oflag=direct status=none ||
			return
	done <<<"$(cat "/sys/block/$1/badblocks")"
}

# wait_repaired -- wait until the list of bad blocks of DISK is empty.
wait_repaired() {
	wait_for is cat "/sys/block/$DISK/badblocks" ''
}
