#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory fails again and again, while changes wait for the repair of their metadata.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# storm ADDRESS... -- make these pages fail in turn, twenty pages a second, until $TMP/stop exists.
# Write the longest pause between two failures to $TMP/pause, in ms.
storm() {
	python3 - "$TMP" "$@" <<-END
		import itertools, os, sys, time

		corrupt = os.open("/sys/kernel/debug/hwpoison/corrupt-pfn", os.O_WRONLY)
		last, pause = time.monotonic(), 0
		for address in itertools.cycle(sys.argv[2:]):
		    if os.path.exists(sys.argv[1] + "/stop"):
		        break
		    os.write(corrupt, b"%#x" % (int(address) // $PAGE))
		    now = time.monotonic()
		    last, pause = now, max(pause, now - last)
		    time.sleep(0.05)
		with open(sys.argv[1] + "/pause", "w") as file:
		    print(int(pause * 1000), file=file)
	END
}

received() {
	cat "/sys/block/$DISK/memory_failure/received"
}

# during "ADDRESS..." COMMAND... -- run the command while these pages fail again and again. Before
# the command, both copies of a metadata block fail, so that the filesystem can make no change
# before the repair of this block. Check that all blocks are repaired at the end. Try again if the
# machine was too busy for a storm.
during() {
	local try

	for try in 1 2 3; do
		during_once "$@" && return
		[ "$(cat "$TMP/pause")" -gt 400 ] || return
		echo "try $try: nothing failed for $(cat "$TMP/pause") ms"
	done
	return 1
}

during_once() {
	local addresses=$1 before job status=0

	shift
	before=$(received) && rm -f "$TMP/stop" || return
	# shellcheck disable=SC2086 # these are words
	storm $addresses &
	job=$!
	wait_for is_storming "$before" && poison "$COPY" && poison "$OTHER_COPY" && "$@" || status=1
	touch "$TMP/stop"
	wait $job && [ $status = 0 ] && wait_repaired && mkdir "after.$RANDOM"
}

is_storming() {
	[ "$(received)" -gt $(($1 + 2)) ]
}

# ends JOB SECONDS -- check that the job ends within this time.
ends() {
	local end=$((SECONDS + $2))

	while kill -0 "$1" 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "still waits after $2 s" || return
		sleep 0.1
	done
}

sleeps() {
	grep -q '^State:.*D' "/proc/$1/status"
}

# elsewhere -- print the addresses of free blocks in the middle of the device.
elsewhere() {
	local middle=$((BLOCKS / 2))

	seq $((START + middle * PAGE)) $((2 * PAGE)) $((START + (middle + 800) * PAGE))
}

change_succeeds() {
	mkdir "dir.$RANDOM" &
	ends $! 25 && wait $!
}

can_be_killed() {
	local name=killed.$RANDOM

	mkdir "$name" &
	wait_for sleeps $! && kill $! && ends $! 10 && fails_with "No such file" stat "$name"
}

# A write of a page in place needs no change of metadata. The new time of the file needs one.
gives_up() {
	local start=$SECONDS waited

	write_page kept 0 && stat -c %y kept >"$TMP/time" || return
	fails_with "Input/output error" sync kept || return
	waited=$((SECONDS - start))
	[ $waited -ge 28 ] && [ $waited -le 45 ] || fail "waited $waited s" || return
	fails_with "Input/output error" mkdir "late.$RANDOM" && [ $((SECONDS - start)) -le $((waited + 5)) ]
}

has_time() {
	remount && is stat -c %y kept "$(cat "$TMP/time")" && has_page kept 0
}

# hold_removed -- start a process that has a file open, and remove the file; sets HOLDER.
hold_removed() {
	fill gone 64 && exec 9<gone || return
	sleep 1000 &
	HOLDER=$!
	exec 9<&-
	rm gone
}

# The process that closes a removed file does not wait.
closes() {
	kill "$HOLDER" && ends "$HOLDER" 10
}

removed_file_freed() {
	local free

	free=$(free_pages) && hold_removed && during_once "$COPY $OTHER_COPY" closes &&
		wait_for is free_pages "$free" && remount
}

begin 5
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns virtio
require modprobe hwpoison-inject
require use_mendfs "$NS"
require read_geometry
COPY=$((START + $(metadata 0 0) * PAGE))
OTHER_COPY=$((START + $(metadata 1 0) * PAGE))
require fill kept 1

check "a change waits for the repair that it needs, while other pages fail" during "$(elsewhere)" change_succeeds
check "a waiting process can be killed" during "$COPY $OTHER_COPY" can_be_killed
check "a change waits for half a minute at most" during "$COPY $OTHER_COPY" gives_up
check "the time of a store is kept" has_time
check "a removed file is closed without a wait, and freed afterwards" removed_file_freed
finish
