#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A read of a bad block fails. A write repairs it if the device can be repaired.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SECTOR=8192
BAD=$((SECTOR * 512 / PAGE))

bad_block_fails() {
	echo "$SECTOR 8" >"/sys/block/$DISK/badblocks"
	fails_with "Input/output error" dax_read "/dev/$DISK" $BAD &&
		dax_read "/dev/$DISK" $((BAD - 1)) &&
		dax_read "/dev/$DISK" $((BAD + 1))
}

# store RANGE -- root adds it to the list of bad blocks.
store() {
	echo "$1" >"/sys/block/$DISK/badblocks"
}

# A sector beyond the end of the disk is refused, because no write could ever repair it.
beyond_is_refused() {
	local range size

	size=$(cat "/sys/block/$DISK/size")
	for range in "$size 1" "$((size - 1)) 2" "5 4294967296" "5 -1" "36028797018963967 1"; do
		fails_with "Invalid argument" store "$range" && is bad "" || return
	done
	[ "$1" = nvdimm ] || { store "$((size - 1)) 1" && is bad "$((size - 1)) 1" && clear_bad_blocks "$DISK"; }
}

write_bad_page() {
	seq 100000 | head -c $PAGE >"$TMP/page"
	dd if="$TMP/page" of="/dev/$DISK" bs=$PAGE seek=$BAD oflag=direct conv=notrunc status=none
}

write_repairs() {
	write_bad_page || return
	dd if="/dev/$DISK" bs=$PAGE skip=$BAD count=1 iflag=direct status=none |
		cmp - "$TMP/page" &&
		is cat "/sys/block/$DISK/badblocks" ''
}

write_fails() {
	fails_with "Input/output error" write_bad_page && bad_range "$DISK" $((SECTOR * 512)) $PAGE
}

# The bad page of a file: read(2) fails, an access through a mapping is signalled, and write(2) of
# the page repairs it.
file_is_repaired() {
	xfs_on "$1" && fill $MNT/file 16 || return
	echo "$(file_sector $MNT/file 2) 8" >"/sys/block/$DISK/badblocks"
	fails_with "Input/output error" dax_read $MNT/file 2 &&
		fails_with "BUS_MCEERR_AR" mfchain touch $MNT/file,offset=8K &&
		dd if="$TMP/page" of=$MNT/file bs=$PAGE seek=2 conv=notrunc status=none &&
		dd if=$MNT/file bs=$PAGE skip=2 count=1 status=none | cmp - "$TMP/page" &&
		mfchain touch $MNT/file,offset=8K &&
		is cat "/sys/block/$DISK/badblocks" ''
	local status=$?
	unmount
	return $status
}

# write_sector N -- write the Nth sector of the bad page.
write_sector() {
	dd if=/dev/zero of="/dev/$DISK" bs=512 seek=$((SECTOR + $1)) count=1 oflag=direct conv=notrunc \
		status=none
}

# Two sectors of a page are bad. After both are written, the page is good and its frame is not
# poisoned.
sectors_are_repaired() {
	local start

	start=$(($(ns_get "$NS" resource) + BAD * PAGE))
	echo "$SECTOR 1" >"/sys/block/$DISK/badblocks"
	echo "$((SECTOR + 4)) 1" >"/sys/block/$DISK/badblocks"
	raise_machine_check $start || return
	for sector in 1 2 3 5 6 7; do
		write_sector $sector || return
	done
	is bad "$SECTOR 1,$((SECTOR + 4)) 1" && write_sector 0 && is bad "$((SECTOR + 4)) 1" &&
		frame_poisoned $start $((start + PAGE)) && write_sector 4 && is bad "" &&
		! frame_poisoned $start $((start + PAGE)) && dax_read "/dev/$DISK" $BAD
}

bad() {
	paste -sd, "/sys/block/$DISK/badblocks"
}

# nfit's record of a machine check reaches the disk's list of bad blocks, and a process that polls
# the list.
platform_record() {
	on_exit reset_nfit
	xfs_on "$1" && fill $MNT/file 16 || return
	mfchain run --source mce --watch "/sys/block/$DISK/badblocks" $MNT/file,offset=8K || return
	wait_for grep -q . "$ND/devices/$1/../badblocks" &&
		bad_range "$DISK" $(($(file_sector $MNT/file 2) * 512)) $PAGE
}

KINDS=(virtio memmap nvdimm)
# For the driver, virtio and memmap are the same.
[ "${KERNEL:-stock}" = stock ] || KINDS=(virtio nvdimm)

begin $((${#KINDS[@]} * 5 - 1))
for kind in "${KINDS[@]}"; do
	NS=$(ns_find "$kind") || skip_all "no namespace of kind $kind"
	require ns_bind "$NS"
	DISK=$(ns_disk "$NS")
	check_ours "$kind: sectors beyond the end are refused" beyond_is_refused "$kind"
	check "$kind: a read of a bad block fails" bad_block_fails
	if [ "$kind" = nvdimm ]; then
		check "$kind: a write fails, and the block stays bad" write_fails
		require ns_unbind "$NS"
		check_ours "$kind: a machine check is recorded by the platform" platform_record "$NS"
	else
		check "$kind: a write repairs it" write_repairs
		check_ours "$kind: a page is good when all its sectors are written" sectors_are_repaired
		check "$kind: a write repairs the bad page of a file" file_is_repaired "$NS"
	fi
done
finish
