#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Mapped devices on top of each other, with the largest number of levels that can be attached.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

LEVELS=64
# On the debug kernel a level takes seconds. Lockdep allows a task to hold 48 locks, and
# device-mapper holds one for each level.
[ "${KERNEL:-stock}" = stock ] || LEVELS=6

# make_levels -- map linear devices of 400 MiB on top of each other, the lowest device on A; sets
# TOP.
make_levels() {
	local i below=/dev/$A from=$((16 * 2048))

	on_exit remove_levels
	for ((i = 1; i <= LEVELS; i++)); do
		dmsetup create --noudevsync "l$i" \
			--table "0 $((400 * 2048)) linear $below $from" || return
		below=$(dmsetup info -c --noheadings --separator : -o major,minor "l$i") || return
		from=0
	done
	dm_name "l$LEVELS" && TOP=$DM
}

remove_levels() {
	local i

	settle
	for ((i = LEVELS; i > 0; i--)); do
		[ ! -e "/dev/mapper/l$i" ] || dmsetup remove --noudevsync "l$i" || return
	done
	settle
}

attach_top() {
	daxmf stack attach "$TOP" && on_exit daxmf stack detach --all
}

held() {
	hold "$TOP" && on_exit release
}

# all_counted COUNT -- check that each level has delivered COUNT failures.
all_counted() {
	local folder levels=0

	for folder in "$STACK"/*/*/; do
		folder=${folder#"$STACK/"} folder=${folder%/}
		is stack_counters "$folder" "$1 $1 0 0" &&
			is stack_counters "${folder%/*}" "$1 $1 0 0" || return
		levels=$((levels + 1))
	done
	[ $levels = $LEVELS ] || fail "$levels levels"
}

failed_page() {
	attach_top && held && poison $((START + (100 << 20))) && is notified 1 && all_counted 1
}

owners() {
	local DM=$TOP

	attach_top && dm_owners_signalled corrupt-pfn
}

# The removal of the disk is notified as one range, the whole upper device.
removed() {
	attach_top && held && log_mark levels && ns_unbind "$NS" &&
		log_says "memory failure at offset 0x0 length 0x19000000 flags 0x80" levels &&
		is notified 1 && all_counted 1
}

# One level too many cannot be attached, and the other levels still work.
one_more() {
	attach_top && map more <<<"$(linear 0 100 "$TOP" 0)" && log_mark levels &&
		fails_with "$DM above $TOP" daxmf stack attach "$DM" &&
		log_says "\"$DM\" cannot be attached above .*: ELOOP\$" levels || return
	[ ! -e "$STACK/$TOP" ] && held && poison $((START + (101 << 20))) && is notified 1
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack
require make_levels

check "a failed page is forwarded through all levels" \
	with_undo failed_page
check "owners on top of all levels are signalled" \
	with_undo owners
if [ $LEVELS = 64 ]; then
	check "one more level is refused" \
		with_undo one_more
else
	ktap_test_skip "one more level is refused"
fi
check "a removal is forwarded through all levels" \
	with_undo removed
finish
