#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many failures, and devices that are attached and detached under them: none is lost.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

IN_A_ROW=10000
AT_ONCE=1000
ROUNDS=20

# failures DISK COUNT -- of the same page, in a row.
failures() {
	local address i pfn

	address=$(cat "/sys/block/$1/device/resource") || return
	pfn=$(printf '%#x' $(((address + (100 << 20)) / PAGE)))
	for ((i = 0; i < $2; i++)); do
		# What the kernel makes of it is counted.
		echo "$pfn" >/sys/kernel/debug/hwpoison/corrupt-pfn || true
	done 2>/dev/null
}

in_a_row() {
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && failures "$A" $IN_A_ROW && is notified $IN_A_ROW &&
		is stack_counters "$A" "$IN_A_ROW $IN_A_ROW 0 0" &&
		is stack_counters "$A/$DM" "$IN_A_ROW $IN_A_ROW 0 0"
}

# all_counted DISK COUNT BEFORE -- every failure was delivered or declined, and some were each.
all_counted() {
	local -a was now

	read -ra was <<<"$3"
	read -ra now <<<"$(counters "$1")"
	echo "$1: received, delivered, declined, failed: ${was[*]}, then ${now[*]}"
	[ $((now[0] - was[0])) = "$2" ] || fail "not all were received" || return
	[ $((now[1] + now[2] - was[1] - was[2])) = "$2" ] || fail "some were lost" || return
	[ "${now[1]}" -gt "${was[1]}" ] || fail "none was delivered"
}

reload_module() {
	rmmod daxmf_stack && modprobe daxmf_stack
}

# Failures on both disks at once, while the volume above is attached and detached.
at_once() {
	local before_a before_b i jobs=()

	before_a=$(counters "$A")
	before_b=$(counters "$B")
	map stripes 0 $((800 * 2048)) striped 2 128 "/dev/$A" 2048 "/dev/$B" 2048 &&
		hold "$DM" && on_exit release || return
	failures "$A" $AT_ONCE &
	jobs=($!)
	failures "$B" $AT_ONCE &
	jobs+=($!)
	for ((i = 0; i < ROUNDS; i++)); do
		mkdir -p "$STACK/$A/$DM" "$STACK/$B/$DM" || break
		detach "$A" "$DM" || break
		detach "$B" "$DM" || break
		[ $((i % 5)) != 0 ] || reload_module || break
	done
	attach "$A" "$DM" && attach "$B" "$DM" && wait "${jobs[@]}"
	[ $i = $ROUNDS ] || fail "the volume could not be attached or detached" || return
	failures "$A" 1 && failures "$B" 1 &&
		all_counted "$A" $((AT_ONCE + 1)) "$before_a" &&
		all_counted "$B" $((AT_ONCE + 1)) "$before_b"
}

begin 2
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack
require modprobe hwpoison-inject

check "ten thousand failures in a row are all told" \
	clean in_a_row
check "none is lost while the volume is attached and detached" \
	clean at_once
finish
