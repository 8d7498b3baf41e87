#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A failure is found where the memory is, not where the one before has found it.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# told_at PAGE OFFSET... -- the holder on top is told of a page of A at these offsets of the device,
# and at no others.
told_at() {
	local mark=layout.$RANDOM before offset page=$1

	shift
	before=$(notified)
	log_mark $mark && poison $((START + page * PAGE))
	for offset; do
		log_says "memory failure at offset $offset length 0x1000 " $mark || return
	done
	is notified $((before + $#))
}

held() {
	map one && attach "$A" "$DM" && hold "$DM" && on_exit release
}

moves() {
	held <<-EOF || return
		$(linear 0 10 "$A" 100)
		$(linear 10 10 "$A" 200)
	EOF
	told_at $((100 * 256)) 0x0 && told_at $((201 * 256)) 0xb00000 && reload one <<-EOF || return
		$(linear 0 10 "$A" 200)
		$(linear 10 10 "$A" 100)
	EOF
	told_at $((100 * 256 + 1)) 0xa01000 && told_at $((200 * 256 + 1)) 0x1000
}

# The table has memory that it did not have, and has lost some.
is_exchanged() {
	held <<<"$(linear 0 10 "$A" 100)" && told_at $((101 * 256)) 0x100000 &&
		reload one <<<"$(linear 0 10 "$A" 50)" && told_at $((50 * 256)) 0x0 &&
		told_at $((51 * 256)) 0x100000 || return
	poison $((START + 102 * 256 * PAGE))
	is notified 3
}

is_there_twice() {
	held <<-EOF && told_at $((103 * 256)) 0x300000 0xd00000 && told_at $((104 * 256)) 0x400000 0xe00000
		$(linear 0 10 "$A" 100)
		$(linear 10 10 "$A" 100)
	EOF
}

stripes() {
	map one 0 $((256 * 2048)) striped 2 128 "/dev/$A" 0 "/dev/$A" $((256 * 2048)) &&
		attach "$A" "$DM" && hold "$DM" && on_exit release || return
	told_at 0 0x0 && told_at 16 0x20000 && told_at $((256 * 256 + 17)) 0x31000
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "memory that moves in the device" \
	clean moves
check "memory that comes and goes" \
	clean is_exchanged
check "memory that is there twice" \
	clean is_there_twice
check "memory in stripes" \
	clean stripes
finish
