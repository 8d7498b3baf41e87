#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many failures while devices are attached and detached: every failure is counted.
#
#   RUNTIME=SECONDS	how long the test takes, instead of fixed numbers of rounds

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

IN_A_ROW=1000
MEANWHILE=3
ROUNDS=6
# On the debug kernel one round takes seconds.
[ "${KERNEL:-stock}" = stock ] || IN_A_ROW=300 MEANWHILE=1 ROUNDS=2
CASES=4

# has_ended ROUND COUNT -- check whether a case has run COUNT rounds; with RUNTIME, whether its
# share of RUNTIME is over. A case sets START.
has_ended() {
	if [ -n "${RUNTIME-}" ]; then
		[ $((SECONDS - START)) -ge $((RUNTIME / CASES)) ]
	else
		[ "$1" -ge "$2" ]
	fi
}

# page_of DISK -- print the number of the page frame that fails.
page_of() {
	local address

	address=$(cat "/sys/block/$1/device/resource") &&
		printf '%#x' $(((address + (100 << 20)) / PAGE))
}

# fail_page NUMBER -- make the page frame fail. Ignore the result, because the counters count it.
fail_page() {
	echo "$1" >/sys/kernel/debug/hwpoison/corrupt-pfn || true
} 2>/dev/null

# failures DISK COUNT -- make the same page fail again and again; sets FAILURES, the number of
# failures.
failures() {
	local page

	page=$(page_of "$1") || return
	for ((FAILURES = 0; ; FAILURES++)); do
		! has_ended $FAILURES "$2" || break
		fail_page "$page"
	done
}

# failures_while FILE DISK -- make a page fail while the file exists; print the number of failures.
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
	local START=$SECONDS

	map one <<<"$(linear 0 400 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && failures "$A" $IN_A_ROW && echo "failures: $FAILURES" &&
		is notified "$FAILURES" && is stack_counters "$A" "$FAILURES $FAILURES 0 0" &&
		is stack_counters "$A/$DM" "$FAILURES $FAILURES 0 0"
}

# all_counted DISK COUNT BEFORE -- check that COUNT failures were received since BEFORE, and that
# each of them was delivered or declined.
all_counted() {
	local -a was now

	read -ra was <<<"$3"
	read -ra now <<<"$(counters "$1")"
	echo "$1: received, delivered, declined, failed: ${was[*]}, then ${now[*]}"
	[ $((now[0] - was[0])) = "$2" ] || fail "not all failures were received" || return
	[ $((now[1] + now[2] - was[1] - was[2])) = "$2" ] || fail "some failed"
}

# some_delivered DISK BEFORE -- check that at least one failure was delivered since BEFORE.
some_delivered() {
	local -a was now

	read -ra was <<<"$2"
	read -ra now <<<"$(counters "$1")"
	[ "${now[1]}" -gt "${was[1]}" ] || fail "no failure was delivered"
}

# meanwhile COMMAND... -- run the command several times while a page of A fails, and check that all
# failures are counted.
meanwhile() {
	local before i job status=0 START=$SECONDS

	before=$(counters "$A")
	touch "$TMP/go"
	failures_while "$TMP/go" "$A" >"$TMP/count" &
	job=$!
	for ((i = 0; status == 0; i++)); do
		! has_ended $i $MEANWHILE || break
		"$@" || status=1
	done
	rm "$TMP/go"
	wait $job
	[ $status = 0 ] || fail "$1 failed" || return
	all_counted "$A" "$(cat "$TMP/count")" "$before" && some_delivered "$A" "$before"
}

# table FIRST SECOND -- reload the table with two segments of A, of 100 MiB each.
table() {
	reload one <<-EOF
		$(linear 0 100 "$A" "$1")
		$(linear 100 100 "$A" "$2")
	EOF
}

# The failed page is in the second segment, then in the first, then not mapped.
swap_tables() {
	table 216 16 && table 16 216 && table 150 260
}

swapped() {
	map one <<<"$(linear 0 200 "$A" 16)" && attach "$A" "$DM" && hold "$DM" &&
		on_exit release && meanwhile swap_tables
}

# A second volume is removed while it is attached. The first volume stays.
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

# Pages of both disks fail while the volume on them is attached and detached.
at_once() {
	local before_a before_b i jobs status=0 START=$SECONDS

	before_a=$(counters "$A")
	before_b=$(counters "$B")
	map stripes 0 $((800 * 2048)) striped 2 128 "/dev/$A" 2048 "/dev/$B" 2048 &&
		hold "$DM" && on_exit release || return
	touch "$TMP/go"
	failures_while "$TMP/go" "$A" >"$TMP/count.a" &
	jobs=($!)
	failures_while "$TMP/go" "$B" >"$TMP/count.b" &
	jobs+=($!)
	for ((i = 0; status == 0; i++)); do
		! has_ended $i $ROUNDS || break
		mkdir -p "$STACK/$A/$DM" "$STACK/$B/$DM" && detach "$A" "$DM" && detach "$B" "$DM" ||
			status=1
		[ $((i % 5)) != 0 ] || reload_module || status=1
	done
	rm "$TMP/go"
	attach "$A" "$DM" && attach "$B" "$DM" && wait "${jobs[@]}"
	[ $status = 0 ] || fail "the volume could not be attached or detached" || return
	fail_page "$(page_of "$A")" && fail_page "$(page_of "$B")" &&
		all_counted "$A" $(($(cat "$TMP/count.a") + 1)) "$before_a" &&
		some_delivered "$A" "$before_a" &&
		all_counted "$B" $(($(cat "$TMP/count.b") + 1)) "$before_b" &&
		some_delivered "$B" "$before_b"
}

begin $CASES
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack
require modprobe hwpoison-inject

check "the holder is notified of all failures in a row" \
	with_undo in_a_row
check "all failures are counted while the table is reloaded" \
	with_undo swapped
check "all failures are counted while another volume is made and removed" \
	with_undo removed
check "all failures are counted while the volume is attached and detached" \
	with_undo at_once
finish
