#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One of several disks is removed under a mapped device: the holder is notified of the disk's
# ranges, not of the whole device.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# notified_of_removal NS OFFSET LENGTH -- remove the disk, and check that the holder of DM gets one
# notification, of this range. The driver of a disk can be unbound while the disk is in use.
notified_of_removal() {
	local mark=remove.$RANDOM before

	before=$(notified) && log_mark $mark && ns_unbind "$1" &&
		log_says "memory failure at offset $2 length $3 flags 0x80" $mark &&
		is notified $((before + 1))
}

held() {
	hold "$DM" && on_exit release
}

one_of_two() {
	map two <<-EOF && attach "$A" "$DM" && attach "$B" "$DM" && held || return
		$(linear 0 100 "$B" 300)
		$(linear 100 200 "$A" 64)
		$(linear 300 50 "$B" 0)
	EOF
	notified_of_removal "$NS" 0x6400000 0xc800000
}

# The upper device is on one disk completely, in 4096 pieces.
in_pieces() {
	ns_bind "$NS" && map stripes 0 $((256 * 2048)) striped 2 128 "/dev/$A" 2048 "/dev/$A" 409600 &&
		map top <<<"$(linear 0 250 "$DM" 2)" && daxmf stack attach "$DM" &&
		on_exit daxmf stack detach --all && held && notified_of_removal "$NS" 0x0 0xfa00000
}

# There is a level between the disks and the holder. After the removal of the first disk, the
# offsets of the ranges on the other disk stay the same.
one_after_the_other() {
	ns_bind "$NS" && map two <<-EOF && map top <<<"$(linear 0 340 "$DM" 10)" || return
		$(linear 0 100 "$A" 64)
		$(linear 100 100 "$B" 300)
		$(linear 200 100 "$A" 300)
		$(linear 300 50 "$B" 0)
	EOF
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all && held &&
		notified_of_removals "$NS" "$BACK"
}

# notified_of_removals FIRST SECOND -- remove both disks, and check that each removal causes
# notifications of two ranges.
notified_of_removals() {
	local mark=removals.$RANDOM

	log_mark $mark && ns_unbind "$1" && is notified 2 &&
		log_says "memory failure at offset 0x0 length 0x5a00000 flags 0x80" $mark &&
		log_says "memory failure at offset 0xbe00000 length 0x6400000 flags 0x80" $mark &&
		ns_unbind "$2" && is notified 4 &&
		log_says "memory failure at offset 0x5a00000 length 0x6400000 flags 0x80" $mark &&
		log_says "memory failure at offset 0x12200000 length 0x3200000 flags 0x80" $mark
}

# XFS shuts down when the first disk is removed. A process that maps memory of the second disk is
# signalled before that disk is removed. XFS has one allocation group, see chain/remove.
xfs_on_both() {
	local owner status=0

	ns_bind "$NS" && ns_bind "$BACK" && map two <<-EOF || return
		$(linear 0 300 "$A" 64)
		$(linear 300 300 "$B" 300)
	EOF
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all &&
		make_xfs --unsupported -d agcount=1 "/dev/$DM" && mount_dax "/dev/$DM" &&
		fallocate -l 400M $MNT/gap && fill $MNT/behind 16 || return
	python3 -c '
import mmap, os, sys, time
mapping = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
mapping[0] = 1
open(sys.argv[2], "w").close()
time.sleep(1000)
	' $MNT/behind "$TMP/mapped" &
	owner=$!
	wait_for test -e "$TMP/mapped" && ns_unbind "$NS" && ns_unbind "$BACK" || status=1
	wait_for killed $owner || kill $owner
	wait $owner
	[ $? = $((128 + 7)) ] || fail "the owner did not get SIGBUS" || return
	[ $status = 0 ] && unmount
}

killed() {
	! kill -0 "$1"
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
BACK=$(ns_find virtio)
require modprobe daxmf_stack

check "only the ranges on the disk are notified" \
	with_undo one_of_two
check "adjacent pieces are notified as one range" \
	with_undo in_pieces
check "the removal of a second disk is notified, too" \
	with_undo one_after_the_other
check "owners of XFS files on a second disk are signalled" \
	with_undo xfs_on_both
finish
