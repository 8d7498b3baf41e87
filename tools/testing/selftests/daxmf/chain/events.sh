#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The event log: a reader of /dev/daxmf and "daxmf events" get every event, or the number of missed
# events.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The number of events that the log keeps.
CAPACITY=4096
# The flag of the failures of this test. They have it because hwpoison-inject injects them.
INJECTED=sw_simulated

# events [OPTION...] -- print the events after the sequence number LAST, one per line.
events() {
	daxmf events --json "$@" | python3 -c '
import json, sys
names = "event disk offset length source flags outcome reason errno count".split()
for line in sys.stdin:
    event = json.loads(line)
    if event["sequence"] > int(sys.argv[1]):
        values = (event[name] for name in names if name in event)
        print(*(",".join(value) if type(value) is list else value for value in values))
' "$LAST"
}

# mark -- set LAST, so that events() prints only events after this call.
mark() {
	LAST=$(daxmf events --json | tail -n 1 | sed 's/.*"sequence":\([0-9]*\).*/\1/')
	LAST=${LAST:--1}
}

# logged LINE... -- wait until the log has exactly these events after LAST.
logged() {
	wait_for is events "$(printf '%s\n' "$@")"
}

# event NAME PAGE [WORD...] -- print the line of events() for an event in a page of the disk.
event() {
	local name=$1 page=$2

	shift 2
	echo "$name $DISK $((page * PAGE)) $PAGE${*:+ $*}"
}

# bad PAGE -- root adds the page to the bad blocks.
bad() {
	echo $(($1 * 8)) 8 >"/sys/block/$DISK/badblocks"
}

# fail_page PAGE -- make the page fail. Ignore the result, because the event has the outcome.
fail_page() {
	poison $((START + $1 * PAGE)) 2>/dev/null || :
}

write() {
	write_page "/dev/$DISK" "$1" oflag=direct
}

without_holder() {
	mark && fail_page 5 && logged "$(event failure 5 "$INJECTED" declined no_holder)" || return
	mark && write 5 && logged "$(event cleared 5)"
}

found() {
	mark && bad 7 && logged "$(event found 7 user)" "$(event notified 7 not_notified)" || return
	# A page that is already listed causes no event.
	mark && bad 7 && bad 8 && logged "$(event found 8 user)" "$(event notified 8 not_notified)" || return
	mark && write 7 && write 8 && logged "$(event cleared 7)" "$(event cleared 8)"
}

holder_answers() {
	local page

	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK" && fill $MNT/file 16 || return
	page=$(($(file_sector $MNT/file 3) / 8))
	mark && fail_page $page && logged "$(event failure $page "$INJECTED" delivered)" || return
	mark && write_page $MNT/file 3 oflag=direct && logged "$(event cleared $page)"
}

holder_fails() {
	hold "$DISK" answer=-61 && on_exit release && mark && fail_page 9 &&
		logged "$(event failure 9 "$INJECTED" failed 61)" && write 9
}

# The mapped device has no holder, so daxmf_stack declines with no_holder. The disk's event has the
# reason not_supported, because daxmf_stack, the holder of the disk, cannot return its reason.
mapped_device() {
	local page

	map one <<<"$(linear 0 200 "$DISK" 16)" && attach "$DISK" "$DM" || return
	mark && fail_page $((16 * 256 + 3)) || return
	logged "failure $DM $((3 * PAGE)) $PAGE $INJECTED declined no_holder" \
		"$(event failure $((16 * 256 + 3)) "$INJECTED" declined not_supported)" || return
	make_xfs --unsupported "/dev/$DM" && mount_dax "/dev/$DM" && fill $MNT/file 16 &&
		page=$(($(file_sector $MNT/file 3) / 8)) || return
	mark && fail_page $((16 * 256 + page)) || return
	logged "failure $DM $((page * PAGE)) $PAGE $INJECTED delivered" \
		"$(event failure $((16 * 256 + page)) "$INJECTED" delivered)" || return
	is events "/dev/mapper/one" "failure $DM $((page * PAGE)) $PAGE $INJECTED delivered"
}

table() {
	mark && bad 11 && logged "$(event found 11 user)" "$(event notified 11 not_notified)" || return
	write 11 && daxmf events "$DISK" >"$TMP/table" || return
	head -n 1 "$TMP/table" | grep -qx 'TIME  *EVENT  *DEVICE  *OFFSET  *LENGTH  DETAILS' || return
	tail -n 3 "$TMP/table" | sed 's/^[-0-9]* [0-9:.]* *//; s/  */ /g; s/ $//' >"$TMP/last"
	is cat "$TMP/last" "found $DISK 0xb000 0x1000 source=user
notified $DISK 0xb000 0x1000 outcome=not_notified
cleared $DISK 0xb000 0x1000"
}

# in_reader -- run the Python program on standard input, with /dev/daxmf open as "log".
in_reader() {
	timeout $DEADLINE python3 -c "
import errno, os, select, signal, sys, threading
log = os.open('/dev/daxmf', os.O_RDONLY | os.O_NONBLOCK)

def fails(expected, call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        assert error.errno == expected, error
    else:
        raise AssertionError(f'{result} is no error')

def rest():
    records = []
    while select.select([log], [], [], 0)[0]:
        records.append(dict(word.split('=') for word in os.read(log, 4096).decode().split()))
    fails(errno.EAGAIN, os.read, log, 4096)
    return records

def bad(page):
    with open('/sys/block/$DISK/badblocks', 'w') as file:
        file.write(f'{page * 8} 8')

def wait():
    assert select.select([log], [], [], $DEADLINE)[0], 'no event has come'
$(cat)"
}

# Each read returns one whole record. The records come in order, and each reader gets all of them.
reader() {
	in_reader <<-END
		all = [int(record["sequence"]) for record in rest()]
		assert all and all == list(range(all[0], all[0] + len(all))), all
		fails(errno.EBADF, os.write, log, b"x")
		fails(errno.ESPIPE, os.lseek, log, 0, os.SEEK_SET)
		fails(errno.ESPIPE, os.pread, log, 4096, 0)
		bad(13)
		wait()
		fails(errno.EINVAL, os.read, log, 8)
		record = os.read(log, 4096)
		assert record.endswith(b"\n") and b" event=found " in record, record
		wait()
		assert b" event=notified " in os.read(log, 4096)
		fails(errno.EAGAIN, os.read, log, 4096)
	END
}

# An event or a signal ends a read that waits.
waits() {
	in_reader <<-END
		rest()
		os.set_blocking(log, True)
		event = threading.Timer(0.2, bad, [15])
		event.start()
		assert b" event=found " in os.read(log, 4096)
		event.join()
		assert b" event=notified " in os.read(log, 4096)
		class Interrupted(Exception): pass
		def interrupt(*_): raise Interrupted
		signal.signal(signal.SIGALRM, interrupt)
		signal.setitimer(signal.ITIMER_REAL, 0.2)
		try:
		    os.read(log, 4096)
		except Interrupted:
		    pass
		else:
		    raise AssertionError("there was no event")
	END
}

# missed -- a slow reader gets the number of events that it missed, then the events that follow.
missed() {
	in_reader <<-END
		rest()
		disk = os.open("/dev/$DISK", os.O_RDWR | os.O_DIRECT)
		import mmap
		page = mmap.mmap(-1, $PAGE)
		for i in range($CAPACITY // 2):
		    bad(17)
		    os.pwrite(disk, page, 17 * $PAGE)
		records = rest()
		assert records[0]["event"] == "missed", records[0]
		first, count = int(records[0]["sequence"]), int(records[0]["count"])
		numbers = [int(record["sequence"]) for record in records[1:]]
		assert len(numbers) >= $CAPACITY and count >= 1, (count, len(numbers))
		assert numbers == list(range(first + count, first + count + len(numbers))), numbers
		events = [record["event"] for record in records[1:]]
		assert abs(events.count("found") - events.count("cleared")) <= 1, events
	END
}

follows() {
	daxmf events --follow --json "$DISK" >"$TMP/followed" &
	on_exit kill $!
	wait_for grep -q found "$TMP/followed" || return
	bad 19 && wait_for grep -q "\"offset\":$((19 * PAGE)).*\"source\":\"user\"" "$TMP/followed" || return
	write 19 && wait_for grep -q "\"event\":\"cleared\".*\"offset\":$((19 * PAGE))" "$TMP/followed"
}

# A device that is gone can have events, but a partition has none.
other_names() {
	daxmf events --json none0 >"$TMP/none" 2>"$TMP/error" || return
	is cat "$TMP/error" "daxmf: none0: there is no such device now: its old events are listed" &&
		! grep -q '"disk"' "$TMP/none" && fails_with "/dev: not a block device" daxmf events /dev || return
	clear_bad_blocks "$DISK" && make_partition &&
		fails_with "name the disk: $DISK" daxmf events "${DISK}p1" &&
		fails_with "name the disk: $DISK" daxmf events "/dev/${DISK}p1"
}

closed_pipe() {
	daxmf events 2>"$TMP/error" | head -n 1 >/dev/null && is cat "$TMP/error" ''
}

# The tracepoint has the same events.
traced() {
	local tracing=/sys/kernel/tracing

	echo >$tracing/trace && echo 1 >$tracing/events/daxmf/daxmf_event/enable || return
	on_exit eval "echo 0 >$tracing/events/daxmf/daxmf_event/enable"
	mark && bad 21 && fail_page 23 && wait_for grep -q event=notified $tracing/trace || return
	sed -n 's/.*daxmf_event: //p' $tracing/trace | sort >"$TMP/trace"
	is cat "$TMP/trace" "\
event=failure disk=$DISK offset=$((23 * PAGE)) length=$PAGE source= flags=0x20 outcome=declined reason=no_holder error=0
event=found disk=$DISK offset=$((21 * PAGE)) length=$PAGE source=user flags=0x0 outcome= reason= error=0
event=notified disk=$DISK offset=$((21 * PAGE)) length=$PAGE source= flags=0x0 outcome=not_notified reason= error=0" &&
		write 21 && write 23
}

# announced COUNT -- check that the uevents of the disk announced COUNT failures in total.
announced() {
	is eval "sed -n 's/^$DISK //p' '$TMP/announced' | paste -sd+ | bc" "$1"
}

# This case runs first, because a uevent can announce several failures, also those of earlier cases.
udev_hears() {
	mkdir -p /run/udev/rules.d
	cat >/run/udev/rules.d/99-announced.rules <<-END
		ACTION=="change", SUBSYSTEM=="block", ENV{DAXMF_MEMORY_FAILURES}=="?*", \
			RUN+="/bin/sh -c 'echo %k %E{DAXMF_MEMORY_FAILURES} >>$TMP/announced'"
	END
	on_exit rm /run/udev/rules.d/99-announced.rules
	udevadm control --reload && fail_page 25 && bad 27 && bad 29 && wait_for announced 3 &&
		write 25 && write 27 && write 29
}

ordinary_user() {
	fails_with "Permission denied" setpriv --reuid=1000 --clear-groups cat /dev/daxmf &&
		fails_with "needs root" setpriv --reuid=1000 --clear-groups daxmf events
}

no_log() {
	exec 9</dev/daxmf
	unload_modules 2>/dev/null
	fails_with "in use" rmmod daxmf || return
	exec 9<&-
	unload_modules && fails_with "load the module daxmf" daxmf events && modprobe daxmf &&
		is events '' && ns_bind "$NS" >/dev/null
}

begin 17
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
require make_page_data
check "udev gets the failures" with_undo udev_hears
check "a failure without a holder, and the write that clears it" without_holder
check "found errors" found
check "a filesystem delivers a failure" with_undo holder_answers
check "a holder fails with an errno" with_undo holder_fails
check "the holder of a mapped device" with_undo mapped_device
check "events as a table" table
check "one record per read" reader
check "a read waits for an event" waits
check "--follow prints new events" with_undo follows
check "a partition, and the name of no device" with_undo other_names
check "a closed pipe ends the list without a message" closed_pipe
check "events match the JSON schema" eval "daxmf events --json | json_is events"
check "a slow reader gets the number of missed events" missed
check "events are traced" with_undo traced
check "an ordinary user cannot read events" ordinary_user
check "the module daxmf cannot be unloaded while /dev/daxmf is open" no_log
finish
