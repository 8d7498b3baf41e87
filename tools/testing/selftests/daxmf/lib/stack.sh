# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# daxmf_stack: functions that attach devices and read the counters.

STACK=/sys/kernel/config/daxmf_stack

# attach LOWER UPPER -- attach the device UPPER to LOWER. Both are names of the kernel.
attach() {
	modprobe daxmf_stack && mkdir -p "$STACK/$1/$2" || return
	on_exit detach "$1" "$2"
}

detach() {
	[ ! -d "$STACK/$1/$2" ] || rmdir "$STACK/$1/$2" || return
	[ ! -d "$STACK/$1" ] || rmdir --ignore-fail-on-non-empty "$STACK/$1"
}

# stack_counters LOWER[/UPPER] -- print received, delivered, declined and failed.
stack_counters() {
	counters_in "/sys/kernel/debug/daxmf_stack/$1"
}

# dm_owners_signalled SOURCE -- check that every owner of a shared page is signalled, at both ends
# of the mapped device DM.
dm_owners_signalled() {
	local source=$1 status=0

	make_xfs "/dev/$DM" && mount_dax "/dev/$DM" && cd "$MNT" || return
	fill first 16 && share first clone &&
		fallocate -l $(($(blockdev --getsize64 "/dev/$DM") * 3 / 4)) gap &&
		fill last 16 && share last copy &&
		owners_signalled "$source" first,offset=8K clone,offset=8K last,offset=8K,quiet &&
		owners_signalled "$source" last,offset=60K copy,offset=60K first,offset=60K,quiet || status=1
	cd / && unmount
	return $status
}
