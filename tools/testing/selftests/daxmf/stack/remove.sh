#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One of several disks goes away under a mapped device: its ranges are told, not the whole.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# told_of_removal OFFSET LENGTH -- what the holder of the device on top is told when A goes, and
# nothing else. The driver of a disk in use can be unbound, as a device can be pulled.
told_of_removal() {
	local mark=remove.$RANDOM

	hold "$DM" && on_exit release && log_mark $mark && ns_unbind "$NS" &&
		log_says "memory failure at offset $1 length $2 flags 0x80" $mark && is notified 1
}

one_of_two() {
	map two <<-EOF && attach "$A" "$DM" && attach "$B" "$DM" || return
		$(linear 0 100 "$B" 300)
		$(linear 100 200 "$A" 64)
		$(linear 300 50 "$B" 0)
	EOF
	told_of_removal 0x6400000 0xc800000
}

# All of the device on top lies on the disk, in 4096 pieces.
in_pieces() {
	ns_bind "$NS" && map stripes 0 $((256 * 2048)) striped 2 128 "/dev/$A" 2048 "/dev/$A" 409600 &&
		map top <<<"$(linear 0 250 "$DM" 2)" && daxmf stack attach "$DM" &&
		on_exit daxmf stack detach --all && told_of_removal 0x0 0xfa00000
}

begin 2
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "only the ranges that lie on it are told" \
	clean one_of_two
check "what lies on it in pieces is told as one" \
	clean in_pieces
finish
