#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The holder is released while a notification is in flight: release must wait for the callback, and
# every failure must be counted.
#
#   RUNTIME=SECONDS	how long to hold and release, instead of ROUNDS times

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The duration of the holder's callback.
DELAY_MS=2000
ROUNDS=10

# start_slow_failure MARK -- hold the disk and make a page fail. Return when the callback of the
# holder has begun.
start_slow_failure() {
	hold "$DISK" delay_ms=$DELAY_MS || return
	poison "$START" &
	wait_for log_says "rust_dax_holder: memory failure at" "$1"
}

# callback_ended NAME -- check that the callback ended before the mark "NAME end".
callback_ended() {
	log_since "$1 start" | sed "/^$1 end/q" >"$TMP/log"
	grep -q "^$1 end" "$TMP/log" || fail "no mark in the log" || return
	grep -q "rust_dax_holder: memory failure handled" "$TMP/log" ||
		fail "the callback was still running"
}

# in_flight NAME COMMAND... -- check that the command waits for a callback that has begun.
in_flight() {
	local name=$1

	shift
	log_mark "$name start"
	start_slow_failure "$name start" && "$@" || return
	log_mark "$name end"
	wait
	callback_ended "$name"
}

# fail_pages -- fail pages until the file stop exists; write their number to the file failures.
fail_pages() {
	local n=0

	until [ -e "$TMP/stop" ]; do
		poison $((START + n % 1024 * PAGE))
		n=$((n + 1))
	done 2>/dev/null
	echo $n >"$TMP/failures"
}

# Pages fail all the time, while the sample holder claims and releases the device again and again.
storm() {
	local i failures status=0 start=$SECONDS
	local -a was now

	read -ra was <<<"$(counters "$DISK")"
	fail_pages &
	for ((i = 0; status == 0; i++)); do
		if [ -n "${RUNTIME-}" ]; then
			[ $((SECONDS - start)) -lt "$RUNTIME" ] || break
		else
			[ $i -lt $ROUNDS ] || break
		fi
		hold "$DISK" && release || status=1
	done
	touch "$TMP/stop"
	wait
	failures=$(cat "$TMP/failures")
	read -ra now <<<"$(counters "$DISK")"
	echo "$failures failures; received delivered declined failed: ${was[*]}, then ${now[*]}"
	[ $status = 0 ] || fail "a holder could not hold or release the device" || return
	[ $((now[0] - was[0])) = "$failures" ] || fail "not all failures were received" || return
	[ $((now[1] + now[2] + now[3])) = "${now[0]}" ] ||
		fail "the counters do not add up" || return
	[ "${now[1]}" -gt "${was[1]}" ] || fail "no holder was notified"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))
require modprobe hwpoison-inject
require ns_bind "$NS"
DISK=$(ns_disk "$NS")

check "release waits for the callback" \
	in_flight "release" release
check "every failure is counted during hold and release" \
	storm
check "removal of the device waits for the callback" \
	in_flight "removal" ns_unbind "$NS"
finish
