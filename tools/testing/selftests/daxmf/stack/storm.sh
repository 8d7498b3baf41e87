#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many failures, and devices that are attached and detached under them: none is lost.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

IN_A_ROW=10000
AT_ONCE=1000
MEANWHILE=5
ROUNDS=20

# page_of DISK -- the number of the page frame that fails.
page_of() {
	local address

	address=$(cat "/sys/block/$1/device/resource") &&
		printf '%#x' $(((address + (100 << 20)) / PAGE))
}

# fail_page NUMBER -- what the kernel makes of it is counted.
fail_page() {
	echo "$1" >/sys/kernel/debug/hwpoison/corrupt-pfn || true
} 2>/dev/null

# failures DISK COUNT -- of the same page, in a row.
failures() {
	local page i

	page=$(page_of "$1") || return
	for ((i = 0; i < $2; i++)); do
		fail_page "$page"
	done
}

# failures_while FILE DISK -- as long as the file is there; prints how many.
failures_while() {
	local page count

	page=$(page_of "$2") || return
	for ((count = 0; ; count++)); do
		[ -e "$1" ] || break
		fail_page "$page"
	done
	echo $count
}

in_a_row() {
	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && failures "$A" $IN_A_ROW && is notified $IN_A_ROW &&
		is stack_counters "$A" "$IN_A_ROW $IN_A_ROW 0 0" &&
		is stack_counters "$A/$DM" "$IN_A_ROW $IN_A_ROW 0 0"
}

# all_counted DISK COUNT BEFORE -- every failure was delivered or declined.
all_counted() {
	local -a was now

	read -ra was <<<"$3"
	read -ra now <<<"$(counters "$1")"
	echo "$1: received, delivered, declined, failed: ${was[*]}, then ${now[*]}"
	[ $((now[0] - was[0])) = "$2" ] || fail "not all were received" || return
	[ $((now[1] + now[2] - was[1] - was[2])) = "$2" ] || fail "some were lost"
}

# some_delivered DISK BEFORE
some_delivered() {
	local -a was now

	read -ra was <<<"$2"
	read -ra now <<<"$(counters "$1")"
	[ "${now[1]}" -gt "${was[1]}" ] || fail "none was delivered"
}

# meanwhile COMMAND... -- do it some times while failures come on A, and see that none is lost.
meanwhile() {
	local before i job

	before=$(counters "$A")
	touch "$TMP/go"
	failures_while "$TMP/go" "$A" >"$TMP/count" &
	job=$!
	for ((i = 0; i < MEANWHILE; i++)); do
		"$@" || break
	done
	rm "$TMP/go"
	wait $job
	[ $i = $MEANWHILE ] || fail "$1 failed" || return
	all_counted "$A" "$(cat "$TMP/count")" "$before" && some_delivered "$A" "$before"
}

# table FIRST SECOND -- segments of 100 MiB of A, in place of what is there.
table() {
	reload one <<-EOF
		$(linear 0 100 "$A" "$1")
		$(linear 100 100 "$A" "$2")
	EOF
}

# The failed page is in the first segment, then in the second, then gone.
swap_tables() {
	table 216 16 && table 16 216 && table 150 260
}

swapped() {
	map one <<<"$(linear 0 200 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && meanwhile swap_tables
}

# Removed while it is attached, which nothing prevents; the other volume stays.
come_and_go() {
	local DM

	dmsetup create two --table "$(linear 0 100 "$A" 32)" && dm_name two &&
		mkdir "$STACK/$A/$DM" && dmsetup remove two && rmdir "$STACK/$A/$DM"
}

removed() {
	map one <<<"$(linear 0 200 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && meanwhile come_and_go
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
		all_counted "$A" $((AT_ONCE + 1)) "$before_a" && some_delivered "$A" "$before_a" &&
		all_counted "$B" $((AT_ONCE + 1)) "$before_b" && some_delivered "$B" "$before_b"
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack
require modprobe hwpoison-inject

check "ten thousand failures in a row are all told" \
	clean in_a_row
check "none is lost while the table of the volume is swapped" \
	clean swapped
check "none is lost while another volume comes and goes" \
	clean removed
check "none is lost while the volume is attached and detached" \
	clean at_once
finish
