#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invalid attachments are refused with a reason, and nothing changes.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# refused WHY LOWER UPPER -- check that the kernel refuses to attach UPPER above LOWER, and logs
# WHY.
refused() {
	local mark="attach $RANDOM" why=$1

	log_mark "$mark"
	mkdir -p "$STACK/$2"
	mkdir "$STACK/$2/$3" && fail "$3 was attached above $2" && return 1
	rmdir "$STACK/$2" || return
	log_says "^daxmf_stack: .*\"$3\" cannot be attached above .*\"$2\": $why\$" "$mark"
}

# refused_below WHY LOWER -- check that the kernel refuses LOWER as a lower device, and logs WHY.
refused_below() {
	local mark="attach $RANDOM"

	log_mark "$mark"
	mkdir "$STACK/$2" && rmdir "$STACK/$2" && fail "$2 can be below another device" && return 1
	log_says "^daxmf_stack: .*\"$2\" cannot be a lower device: $1\$" "$mark"
}

without_dax_below() {
	local loop

	modprobe loop && truncate -s 16M "$TMP/disk" && loop=$(losetup -f --show "$TMP/disk") &&
		on_exit losetup -d "$loop" && refused_below EOPNOTSUPP "${loop#/dev/}"
}

# After all attachments are gone, a filesystem on the disk itself can become its holder.
holder_is_free() {
	clear_bad_blocks "$A" && make_xfs "/dev/$A" && mount_dax "/dev/$A" && cd $MNT || return
	fill first 16 && share first clone && owners_signalled corrupt-pfn first,offset=8K clone,offset=8K
	local status=$?
	cd / && unmount
	return $status
}

# A filesystem on one partition is the holder of the whole disk.
held_by_filesystem() {
	printf 'label: gpt\nsize=400M\nsize=200M\n' | sfdisk -q "/dev/$B" && settle &&
		on_exit sfdisk -q --delete "/dev/$B" &&
		mkfs.xfs -q -f -m rmapbt=1,reflink=0 "/dev/${B}p1" && mount_dax "/dev/${B}p1" &&
		refused_below EINVAL "${B}p2" &&
		map one <<<"$(linear 0 100 "${B}p2" 16)" && refused EBUSY "$B" "$DM" &&
		fails_with "$B below it is in use: xfs on $MNT" daxmf stack attach "$DM"
}

looped() {
	local low

	map low <<<"$(linear 0 100 "$A" 16)" && low=$DM && map high <<<"$(linear 0 50 "$low" 0)" &&
		attach "$low" "$DM" && refused ELOOP "$DM" "$low" && refused ELOOP "$A" "$A"
}

without_dax() {
	local loop

	modprobe loop && truncate -s 16M "$TMP/disk" && loop=$(losetup -f --show "$TMP/disk") &&
		on_exit losetup -d "$loop" && map plain 0 2048 linear "$loop" 0 &&
		refused EOPNOTSUPP "$A" "$DM"
}

module_stays() {
	map one <<<"$(linear 0 100 "$A" 16)" && attach "$A" "$DM" &&
		fails_with "in use" rmmod daxmf_stack
}

# An attached mapped device can be removed.
not_pinned() {
	map one <<<"$(linear 0 100 "$A" 16)" && attach "$A" "$DM" && unmap one &&
		! poison "$(ns_get "$NS" resource)" || return
	is stack_counters "$A" "1 0 1 0"
}

begin 11
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "a device that does not exist" \
	refused ENOENT "$A" dm-77
check "a disk that does not exist" \
	refused_below ENOENT pmem77
check "a disk without DAX" \
	with_undo without_dax_below
check "a device without memory of the lower disk" \
	refused ENODEV "$A" "$B"
check "a device without DAX" \
	with_undo without_dax
check "a loop" \
	with_undo looped
check "a disk with nothing below it" \
	fails_with "no disk is below it" daxmf stack attach "/dev/$A"
check "a mapped device can be removed while it is attached" \
	with_undo not_pinned
check "the module stays while something is attached" \
	with_undo module_stays
check "a disk that a filesystem holds" \
	with_undo held_by_filesystem
check "a filesystem can hold the disk afterwards" \
	holder_is_free
finish
