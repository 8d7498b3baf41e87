#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Stacks of stacks, and tables that change.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# A stripe over two linear devices, and a linear one over that.
three_deep() {
	local a b stripe

	map a <<<"$(linear 0 300 "$A" 16)" && a=$DM && map b <<<"$(linear 0 300 "$B" 400)" &&
		b=$DM &&
		map stripe 0 $((600 * 2048)) striped 2 32 "/dev/$a" 0 "/dev/$b" 0 &&
		stripe=$DM && map top <<<"$(linear 0 500 "$stripe" 50)" &&
		daxmf stack attach "$DM" && on_exit daxmf stack detach --all &&
		told_on_dm corrupt-pfn
}

# The blocks of a filesystem move to other memory, as pvmove does it.
moved() {
	local status=0

	mend "$B" && map one <<<"$(linear 0 320 "$B" 16)" && attach "$B" "$DM" &&
		make_xfs "/dev/$DM" && mount_dax "/dev/$DM" && fill $MNT/first 16 &&
		share $MNT/first $MNT/clone && unmount || return
	dd if="/dev/$B" of="/dev/$B" bs=1M skip=16 seek=500 count=320 iflag=direct oflag=direct \
		status=none && reload one <<<"$(linear 0 320 "$B" 500)" && mount_dax "/dev/$DM" || return
	told corrupt-pfn $MNT/first,offset=8K $MNT/clone,offset=8K || status=1
	unmount
	return $status
}

# While it is suspended, the old table is in place.
suspended() {
	local status

	map one <<<"$(linear 0 320 "$A" 16)" && attach "$A" "$DM" && make_xfs "/dev/$DM" &&
		mount_dax "/dev/$DM" && fill $MNT/first 16 && share $MNT/first $MNT/clone || return
	dmsetup suspend --noflush --nolockfs one && told corrupt-pfn $MNT/first,offset=8K \
		$MNT/clone,offset=8K
	status=$?
	dmsetup resume one && unmount
	return $status
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "three levels" \
	clean three_deep
check "a table that was reloaded" \
	clean moved
check "a device that is suspended" \
	clean suspended
finish
