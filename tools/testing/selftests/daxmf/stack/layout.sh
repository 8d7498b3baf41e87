#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# daxmf_stack computes the offset of a failure from the current table, also after failures with an
# earlier table.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# notified_at PAGE OFFSET... -- make the page of A fail, and check that the holder of the mapped
# device is notified of exactly these offsets in the mapped device.
notified_at() {
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
	notified_at $((100 * 256)) 0x0 && notified_at $((201 * 256)) 0xb00000 && reload one <<-EOF || return
		$(linear 0 10 "$A" 200)
		$(linear 10 10 "$A" 100)
	EOF
	notified_at $((100 * 256 + 1)) 0xa01000 && notified_at $((200 * 256 + 1)) 0x1000
}

# The new table maps new memory, and does not map the old memory any more.
is_exchanged() {
	held <<<"$(linear 0 10 "$A" 100)" && notified_at $((101 * 256)) 0x100000 &&
		reload one <<<"$(linear 0 10 "$A" 50)" && notified_at $((50 * 256)) 0x0 &&
		notified_at $((51 * 256)) 0x100000 || return
	poison $((START + 102 * 256 * PAGE))
	is notified 3
}

is_mapped_twice() {
	held <<-EOF && notified_at $((103 * 256)) 0x300000 0xd00000 && notified_at $((104 * 256)) 0x400000 0xe00000
		$(linear 0 10 "$A" 100)
		$(linear 10 10 "$A" 100)
	EOF
}

stripes() {
	map one 0 $((256 * 2048)) striped 2 128 "/dev/$A" 0 "/dev/$A" $((256 * 2048)) &&
		attach "$A" "$DM" && hold "$DM" && on_exit release || return
	notified_at 0 0x0 && notified_at 16 0x20000 && notified_at $((256 * 256 + 17)) 0x31000
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "memory that moves within the device" \
	with_undo moves
check "memory that is mapped and unmapped" \
	with_undo is_exchanged
check "memory that is mapped twice" \
	with_undo is_mapped_twice
check "memory in stripes" \
	with_undo stripes
finish
