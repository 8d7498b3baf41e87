#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Mapped devices on mapped devices, and tables that change.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# A linear device on a striped device on two linear devices.
three_deep() {
	local a b stripe

	map a <<<"$(linear 0 300 "$A" 16)" && a=$DM && map b <<<"$(linear 0 300 "$B" 400)" &&
		b=$DM &&
		map stripe 0 $((600 * 2048)) striped 2 32 "/dev/$a" 0 "/dev/$b" 0 &&
		stripe=$DM && map top <<<"$(linear 0 500 "$stripe" 50)" &&
		daxmf stack attach "$DM" && on_exit daxmf stack detach --all &&
		dm_owners_signalled corrupt-pfn
}

# The blocks of a filesystem move to other memory, as with pvmove.
moved() {
	local status=0

	clear_bad_blocks "$B" && map one <<<"$(linear 0 320 "$B" 16)" && attach "$B" "$DM" &&
		make_xfs "/dev/$DM" && mount_dax "/dev/$DM" && fill $MNT/first 16 &&
		share $MNT/first $MNT/clone && unmount || return
	dd if="/dev/$B" of="/dev/$B" bs=1M skip=16 seek=500 count=320 iflag=direct oflag=direct \
		status=none && reload one <<<"$(linear 0 320 "$B" 500)" && mount_dax "/dev/$DM" || return
	owners_signalled corrupt-pfn $MNT/first,offset=8K $MNT/clone,offset=8K || status=1
	unmount
	return $status
}

# While the device is suspended, its table stays in use.
suspended() {
	local status

	map one <<<"$(linear 0 320 "$A" 16)" && attach "$A" "$DM" && make_xfs "/dev/$DM" &&
		mount_dax "/dev/$DM" && fill $MNT/first 16 && share $MNT/first $MNT/clone || return
	dmsetup suspend --noflush --nolockfs one && owners_signalled corrupt-pfn $MNT/first,offset=8K \
		$MNT/clone,offset=8K
	status=$?
	dmsetup resume one && unmount
	return $status
}

# notified_once ADDRESS FOLDER... -- make the frame fail. Check that the holder of DM is notified
# once, and that the counters in these folders count one failure.
notified_once() {
	hold "$DM" && on_exit release && poison "$1" && is notified 1 && shift &&
		is_counted "$@"
}

# is_counted FOLDER... -- check that each folder counts one delivered failure.
is_counted() {
	local folder

	for folder; do
		is stack_counters "$folder" "1 1 0 0" || return
	done
}

# A device is attached above the disk, and above another device on the disk.
shortcut() {
	local low

	map low <<<"$(linear 0 200 "$A" 16)" && low=$DM && map high <<<"$(linear 0 200 "$low" 0)" &&
		attach "$A" "$low" && attach "$low" "$DM" && attach "$A" "$DM" &&
		notified_once $((START + (100 << 20))) "$A" "$A/$low" "$low" "$low/$DM" "$A/$DM"
}

# A device is on two devices side by side. One of these maps the failed page.
side_by_side() {
	local left right

	map left <<<"$(linear 0 100 "$A" 16)" && left=$DM &&
		map right <<<"$(linear 0 100 "$A" 216)" && right=$DM && map top <<-EOF || return
			$(linear 0 100 "$left" 0)
			$(linear 100 100 "$right" 0)
		EOF
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all &&
		notified_once $((START + (230 << 20))) "$A" "$A/$right" "$right" "$right/$DM" &&
		is stack_counters "$A/$left" "0 0 0 0" && is stack_counters "$left/$DM" "0 0 0 0"
}

# The lower device maps the failed page, and the upper device does not.
unused_between() {
	local low

	map low <<<"$(linear 0 200 "$A" 16)" && low=$DM && map high <<<"$(linear 0 50 "$low" 0)" &&
		daxmf stack attach "$DM" && on_exit daxmf stack detach --all && hold "$DM" &&
		on_exit release || return
	! poison $((START + (100 << 20))) && is notified 0 && is stack_counters "$A/$low" "1 0 1 0" &&
		is stack_counters "$low" "1 0 1 0" && is stack_counters "$low/$DM" "0 0 0 0"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "three levels" \
	with_undo three_deep
check "a table that was reloaded" \
	with_undo moved
check "a device that is suspended" \
	with_undo suspended
check "the holder of a device that is attached twice is notified once" \
	with_undo shortcut
check "a device without the failed page counts nothing" \
	with_undo side_by_side
check "a failure that the upper device does not map is declined" \
	with_undo unused_between
finish
