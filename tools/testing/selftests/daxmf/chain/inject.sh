#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "daxmf inject" injects a failure or a bad block at the given offset, and nowhere else.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The holder is notified of the failure.
failure() {
	local offset

	fill file 16 && offset=$(($(file_sector file 5) * 512)) &&
		daxmf inject --yes --json "$DISK" $offset >"$TMP/said" || return
	json_is inject <"$TMP/said" && is cat "$TMP/said" "{\"device\":\"$DISK\",\"kind\":\"failure\",\"length\":4096,\"offset\":$offset}" &&
		daxmf events "$DISK" | tail -n 1 | grep "failure .* $(printf %#x $offset) .* 0x1000 .*outcome=delivered" &&
		is bad_blocks ''
}

pages() {
	local before

	before=$(daxmf events "$DISK" | grep -c ' failure ')
	daxmf inject -y "$DISK" 0x100000 0x3000 &&
		is eval "daxmf events $DISK | grep -c ' failure '" $((before + 3))
}

error() {
	daxmf inject --yes --error "/dev/$DISK" 0x200200 512 && is bad_blocks "4097 1" &&
		wait_for found_event &&
		write_page "/dev/$DISK" 512 oflag=direct && is bad_blocks ''
}

# The event has the whole page of the sector.
found_event() {
	daxmf events "$DISK" | grep -q "found .* 0x200000 .* 0x1000 .*source=user"
}

# Without --yes, "daxmf inject" asks for confirmation. Without the answer "yes" it injects nothing.
asks() {
	local events

	events=$(daxmf events "$DISK" | wc -l)
	fails_with "use --yes" daxmf inject "$DISK" 0 </dev/null &&
		script -qec "daxmf inject $DISK 0" /dev/null <<<no >"$TMP/no" && return 1
	grep "Type 'yes' to continue" "$TMP/no" && grep "nothing was injected" "$TMP/no" &&
		is eval "daxmf events $DISK | wc -l" "$events" || return
	script -qec "daxmf inject --json --error $DISK 0x300000 >$TMP/said" /dev/null <<<yes &&
		json_is inject <"$TMP/said" && is bad_blocks "6144 8" &&
		write_page "/dev/$DISK" 768 oflag=direct
}

# The disk is removed while the command waits for the answer, and another one gets its name.
asks_again() {
	local asked=$TMP/asked status=0

	# shellcheck disable=SC2094 # it waits for what the command writes
	{ wait_for grep -q "Type 'yes'" "$asked" && ns_unbind "$NS" >&2 && ns_bind "$NS" >&2 && echo yes; } |
		script -qfec "daxmf inject --error $DISK 0x400000" /dev/null >"$asked" || status=$?
	cat "$asked"
	is ns_disk "$NS" "$DISK" && [ $status != 0 ] && grep -q "another disk than before" "$asked" &&
		is bad_blocks '' && use_default
}

# use_default -- daxmf_pmem does with a simulated failure what it does by default.
use_default() {
	echo tell >"/sys/block/$DISK/memory_failure/simulated"
}

refuses() {
	fails_with "needs root" setpriv --reuid 65534 --clear-groups daxmf inject -y "$DISK" 0 &&
		fails_with "must be multiples of 4096" daxmf inject -y "$DISK" 512 &&
		fails_with "must be multiples of 512" daxmf inject -y --error "$DISK" 0 100 &&
		fails_with "no such range" daxmf inject -y "$DISK" 0 0 &&
		fails_with "no such range" daxmf inject -y "$DISK" 0xfffffffffffff000 8192 &&
		fails_with "none: not a block device" daxmf inject -y none 0 &&
		fails_with "/dev: not a block device" daxmf inject -y /dev 0 && make_partition &&
		fails_with "name the disk: $DISK" daxmf inject -y "${DISK}p1" 0
}

begin 7
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
require make_page_data
use_default
check "invalid arguments are refused" with_undo refuses
check "--error adds a bad block" error
check "the command asks for a confirmation" asks
check "a confirmation is only for the disk that it names" asks_again
require make_xfs "/dev/$DISK"
require mount_dax "/dev/$DISK"
require cd $MNT
on_exit cd /
check "a failure is delivered" failure
check "a failure of several pages" pages
check "a simulated failure adds no bad block" is bad_blocks ''
finish
