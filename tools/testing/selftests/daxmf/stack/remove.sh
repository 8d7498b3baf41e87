#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One of several disks goes away under a mapped device: its ranges are told, not the whole.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# told_of_removal NS OFFSET LENGTH -- what the holder of the device on top is told when the disk goes,
# and nothing else. The driver of a disk in use can be unbound, as a device can be pulled.
told_of_removal() {
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
	told_of_removal "$NS" 0x6400000 0xc800000
}

# All of the device on top lies on the disk, in 4096 pieces.
in_pieces() {
	ns_bind "$NS" && map stripes 0 $((256 * 2048)) striped 2 128 "/dev/$A" 2048 "/dev/$A" 409600 &&
		map top <<<"$(linear 0 250 "$DM" 2)" && daxmf stack attach "$DM" &&
		on_exit daxmf stack detach --all && held && told_of_removal "$NS" 0x0 0xfa00000
}

# The first leaves a hole, over a level in between, and what is behind it is told as before.
one_after_the_other() {
	ns_bind "$NS" && map two <<-EOF && map top <<<"$(linear 0 340 "$DM" 10)" || return
		$(linear 0 100 "$A" 64)
		$(linear 100 100 "$B" 300)
		$(linear 200 100 "$A" 300)
		$(linear 300 50 "$B" 0)
	EOF
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all && held &&
		told_of_removals "$NS" "$BACK"
}

# told_of_removals FIRST SECOND -- of two ranges each, the second one behind the hole of the first.
told_of_removals() {
	local mark=removals.$RANDOM

	log_mark $mark && ns_unbind "$1" && is notified 2 &&
		log_says "memory failure at offset 0x0 length 0x5a00000 flags 0x80" $mark &&
		log_says "memory failure at offset 0xbe00000 length 0x6400000 flags 0x80" $mark &&
		ns_unbind "$2" && is notified 4 &&
		log_says "memory failure at offset 0x5a00000 length 0x6400000 flags 0x80" $mark &&
		log_says "memory failure at offset 0x12200000 length 0x3200000 flags 0x80" $mark
}

# XFS shuts down when the first disk goes. Who has memory of the second one mapped is told in time.
# It has one allocation group, see chain/remove.
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
	[ $? = $((128 + 7)) ] || fail "the owner had no SIGBUS" || return
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

check "only the ranges that lie on it are told" \
	clean one_of_two
check "what lies on it in pieces is told as one" \
	clean in_pieces
check "a disk that goes after another is told, too" \
	clean one_after_the_other
check "owners of what XFS has on a second disk are told in time" \
	clean xfs_on_both
finish
