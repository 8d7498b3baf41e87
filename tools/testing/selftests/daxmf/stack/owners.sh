#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# XFS on a mapped device signals the owners of failed persistent memory below, with every kind of
# table.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

one_segment() {
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && dm_owners_signalled "$1"
}

out_of_order() {
	map segments <<-EOF && attach "$A" "$DM" && dm_owners_signalled corrupt-pfn
		$(linear 0 100 "$A" 300)
		$(linear 100 7 "$A" 1)
		$(linear 107 193 "$A" 100)
		$(linear 300 100 "$A" 400)
	EOF
}

two_disks() {
	map two <<-EOF && attach "$A" "$DM" && attach "$B" "$DM" && dm_owners_signalled corrupt-pfn
		$(linear 0 200 "$B" 300)
		$(linear 200 200 "$A" 64)
	EOF
}

# stripes CHUNK -- the chunk size is in sectors.
stripes() {
	map stripes 0 $((800 * 2048)) striped 2 "$1" "/dev/$A" 2048 "/dev/$B" 4096 &&
		attach "$A" "$DM" && attach "$B" "$DM" && dm_owners_signalled corrupt-pfn
}

# Two volumes side by side: only the volume with the failed page is notified.
two_volumes() {
	local other

	map other <<<"$(linear 0 64 "$A" 432)" && other=$DM && attach "$A" "$other" || return
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && dm_owners_signalled corrupt-pfn || return
	is stack_counters "$A/$DM" "2 2 0 0" && is stack_counters "$A/$other" "0 0 0 0" &&
		is daxmf stack list --json "[$(listed "$A" 2 "$(listed "$other" 0),$(listed "$DM" 2)")]" &&
		daxmf stack list --json | json_is stack
}

# listed DEVICE COUNT [UPPERS] -- print the JSON of a device with COUNT failures, all delivered.
listed() {
	printf '{"device":"%s","memory_failures":' "$1"
	printf '{"declined":0,"delivered":%s,"failed":0,"received":%s}' "$2" "$2"
	case $# in
	2) printf ',"state":"attached"' ;;
	*) printf ',"uppers":[%s]' "$3" ;;
	esac
	printf '}'
}

on_nd_pmem() {
	local A

	ns_bind "$NS" nd_pmem && A=$(ns_disk "$NS") && one_segment corrupt-pfn
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks

check "one segment" \
	with_undo one_segment corrupt-pfn
check "a machine check" \
	with_undo one_segment mce
check "segments out of order" \
	with_undo out_of_order
check "two disks in a volume" \
	with_undo two_disks
check "stripes of 64 KiB" \
	with_undo stripes 128
check "stripes of a page" \
	with_undo stripes 8
check "two volumes on a disk" \
	with_undo two_volumes
check "one segment on a disk of nd_pmem" \
	with_undo on_nd_pmem
finish
