#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Volumes of LVM, made and changed with its own commands.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

attach_volume() {
	daxmf stack attach "/dev/vg/$1" && on_exit daxmf stack detach "$DM"
}

one_volume() {
	volume_group "/dev/$A" && volume lv -L 400M && attach_volume lv && told_on_dm corrupt-pfn
}

over_two() {
	volume_group "/dev/$A" "/dev/$B" && volume lv -L 1200M && attach_volume lv &&
		told_on_dm corrupt-pfn
}

striped() {
	volume_group "/dev/$A" "/dev/$B" && volume lv -i 2 -I 64k -L 800M && attach_volume lv &&
		told_on_dm corrupt-pfn
}

# It grows, mounted, to where another disk is; a reload of its table.
grown() {
	local grown

	volume_group "/dev/$A" "/dev/$B" && volume lv -L 320M && attach_volume lv &&
		make_xfs "/dev/$DM" && mount_dax "/dev/$DM" &&
		lvm_quietly lvextend -L 1200M vg/lv && xfs_growfs $MNT >/dev/null &&
		daxmf stack attach "/dev/vg/lv" && cd $MNT || return
	fallocate -l 900M gap && fill last 16 && share last copy &&
		told corrupt-pfn last,offset=8K copy,offset=8K
	grown=$?
	cd / && unmount
	return $grown
}

on_partitions() {
	mend "$A" && printf 'label: gpt\nsize=200M\nsize=200M\n' |
		sfdisk -q --wipe always --wipe-partitions always "/dev/$A" && settle &&
		on_exit sfdisk -q --delete "/dev/$A" &&
		volume_group "/dev/${A}p1" "/dev/${A}p2" && volume lv -L 360M && attach_volume lv &&
		told_on_dm corrupt-pfn
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "a volume on one disk" \
	clean one_volume
check "a volume over two disks" \
	clean over_two
check "a striped volume" \
	clean striped
check "a volume that grows while it is mounted" \
	clean grown
check "a volume on two partitions of a disk" \
	clean on_partitions

# The same on a namespace whose data do not start where its memory does.
on_exit make_raw "$NS"
require make_fsdax "$NS" pmem
A=$(ns_disk "$NS")
check "fsdax: a volume on one disk" \
	clean one_volume
check "fsdax: a volume over two disks" \
	clean over_two
check "fsdax: a striped volume" \
	clean striped
finish
