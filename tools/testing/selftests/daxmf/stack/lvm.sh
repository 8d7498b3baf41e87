#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Volumes of LVM, made and changed with LVM's commands.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

attach_volume() {
	daxmf stack attach "/dev/vg/$1" && on_exit daxmf stack detach "$DM"
}

one_volume() {
	volume_group "/dev/$A" && volume lv -L 400M && attach_volume lv && dm_owners_signalled corrupt-pfn
}

over_two() {
	volume_group "/dev/$A" "/dev/$B" && volume lv -L 1200M && attach_volume lv &&
		dm_owners_signalled corrupt-pfn
}

striped() {
	volume_group "/dev/$A" "/dev/$B" && volume lv -i 2 -I 64k -L 800M && attach_volume lv &&
		dm_owners_signalled corrupt-pfn
}

# A mounted volume grows onto another disk: its table is reloaded.
grown() {
	local grown

	volume_group "/dev/$A" "/dev/$B" && volume lv -L 320M && attach_volume lv &&
		make_xfs "/dev/$DM" && mount_dax "/dev/$DM" &&
		lvm_quietly lvextend -L 1200M vg/lv && xfs_growfs $MNT >/dev/null &&
		daxmf stack attach "/dev/vg/lv" && cd $MNT || return
	fallocate -l 900M gap && fill last 16 && share last copy &&
		owners_signalled corrupt-pfn last,offset=8K copy,offset=8K
	grown=$?
	cd / && unmount
	return $grown
}

on_partitions() {
	clear_bad_blocks "$A" && printf 'label: gpt\nsize=200M\nsize=200M\n' |
		sfdisk -q --wipe always --wipe-partitions always "/dev/$A" && settle &&
		on_exit sfdisk -q --delete "/dev/$A" &&
		volume_group "/dev/${A}p1" "/dev/${A}p2" && volume lv -L 360M && attach_volume lv &&
		dm_owners_signalled corrupt-pfn
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "a volume on one disk" \
	with_undo one_volume
check "a volume over two disks" \
	with_undo over_two
check "a striped volume" \
	with_undo striped
check "a mounted volume grows" \
	with_undo grown
check "a volume on two partitions of a disk" \
	with_undo on_partitions

# The same on a namespace whose data starts after the start of its memory.
on_exit make_raw "$NS"
require make_fsdax "$NS" pmem
A=$(ns_disk "$NS")
check "fsdax: a volume on one disk" \
	with_undo one_volume
check "fsdax: a volume over two disks" \
	with_undo over_two
check "fsdax: a striped volume" \
	with_undo striped
finish
