#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# XFS on a mapped device is told of failures of the persistent memory below, whatever the mapping.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

one_segment() {
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && told_on_dm "$1"
}

out_of_order() {
	map segments <<-EOF && attach "$A" "$DM" && told_on_dm corrupt-pfn
		$(linear 0 100 "$A" 300)
		$(linear 100 7 "$A" 1)
		$(linear 107 193 "$A" 100)
		$(linear 300 100 "$A" 400)
	EOF
}

two_disks() {
	map two <<-EOF && attach "$A" "$DM" && attach "$B" "$DM" && told_on_dm corrupt-pfn
		$(linear 0 200 "$B" 300)
		$(linear 200 200 "$A" 64)
	EOF
}

# stripes CHUNK -- in sectors.
stripes() {
	map stripes 0 $((800 * 2048)) striped 2 "$1" "/dev/$A" 2048 "/dev/$B" 4096 &&
		attach "$A" "$DM" && attach "$B" "$DM" && told_on_dm corrupt-pfn
}

# Two volumes side by side: only the owner's is told.
two_volumes() {
	local other

	map other <<<"$(linear 0 64 "$A" 432)" && other=$DM && attach "$A" "$other" || return
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && told_on_dm corrupt-pfn || return
	is stack_counters "$A/$DM" "2 2 0 0" && is stack_counters "$A/$other" "0 0 0 0" &&
		is daxmf stack list --json "[$(listed "$A" 2 "$(listed "$other" 0),$(listed "$DM" 2)")]" &&
		daxmf stack list --json | json_is stack
}

# listed DEVICE COUNT [UPPER...] -- in JSON, with as many failures, all delivered.
listed() {
	printf '{"device":"%s","memory_failures":' "$1"
	printf '{"declined":0,"delivered":%s,"failed":0,"received":%s}' "$2" "$2"
	case $# in
	2) printf ',"state":"attached"' ;;
	*) printf ',"uppers":[%s]' "$3" ;;
	esac
	printf '}'
}

# The disk has the kernel's own driver.
on_nd_pmem() {
	local A

	ns_bind "$NS" nd_pmem && A=$(ns_disk "$NS") && one_segment corrupt-pfn
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks

check "one segment" \
	clean one_segment corrupt-pfn
check "a machine check" \
	clean one_segment mce
check "segments out of order" \
	clean out_of_order
check "two disks in a volume" \
	clean two_disks
check "stripes of 64 KiB" \
	clean stripes 128
check "stripes of a page" \
	clean stripes 8
check "two volumes on a disk" \
	clean two_volumes
check "one segment on a disk of nd_pmem" \
	clean on_nd_pmem
finish
