#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "daxmf monitor" reports each event once: to the journal, to a command and to Prometheus.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# bad PAGE, good PAGE -- root adds the page to the bad blocks, or writes it. Each causes an event;
# bad causes a second event, that no holder was notified.
bad() {
	echo $(($1 * 8)) 8 >"/sys/block/$DISK/badblocks"
}

good() {
	write_page "/dev/$DISK" "$1" oflag=direct
}

# new_events OPTION... -- print the new events, one per line, without the time.
new_events() {
	daxmf monitor --once --no-journal --state "$TMP/state" "$@" >"$TMP/new" || return
	sed 's/^[-0-9]* [0-9:.]* *//; s/  */ /g' "$TMP/new"
}

# settled EVENT -- wait until this is the last event, because the holder is notified in a work item.
settled() {
	wait_for eval "daxmf events $DISK | tail -n 1 | grep -q '$1'"
}

once() {
	new_events >/dev/null && bad 5 && settled notified || return
	is new_events "found $DISK 0x5000 0x1000 source=user
notified $DISK 0x5000 0x1000 outcome=not_notified" && is new_events '' || return
	good 5 && is new_events "cleared $DISK 0x5000 0x1000 "
}

# A reloaded module starts the sequence numbers at 0.
new_module() {
	unload_modules && ns_bind "$NS" && bad 7 && settled notified || return
	is eval "new_events | wc -l" 2 && is new_events '' && good 7
}

# After a boot all events are new, even if the clock was set back.
new_boot() {
	new_events >/dev/null && is new_events '' && sed -i 's/^[^ ]*/other/' "$TMP/state" && ! is new_events ''
}

# An earlier version stored the number and the time of the last event.
old_state() {
	echo "$(cat /proc/sys/kernel/random/boot_id) 9999 9999999999.000000000" >"$TMP/state" &&
		new_events >/dev/null && [ -s "$TMP/new" ] && is new_events ''
}

command_runs() {
	new_events >/dev/null && bad 9 && settled notified || return
	new_events --exec "echo \$DAXMF_EVENT \$DAXMF_DISK \$DAXMF_OFFSET \$DAXMF_SOURCE >>$TMP/run" >/dev/null &&
		is cat "$TMP/run" "found $DISK $((9 * PAGE)) user
notified $DISK $((9 * PAGE))" || return
	# The monitor goes on after a command that fails.
	good 9 && fails_with "exit status: 3" new_events --exec "exit 3" && is new_events ''
}

metrics() {
	bad 11 && settled notified && new_events --metrics "$TMP/daxmf.prom" >/dev/null || return
	grep -qx "daxmf_bad_bytes{disk=\"$DISK\"} 4096" "$TMP/daxmf.prom" &&
		grep -q "^daxmf_events_total{event=\"found\",disk=\"$DISK\",outcome=\"\"} [1-9]" \
			"$TMP/daxmf.prom" || return
	good 11 && new_events --metrics "$TMP/daxmf.prom" >/dev/null &&
		grep -qx "daxmf_bad_bytes{disk=\"$DISK\"} 0" "$TMP/daxmf.prom" &&
		fails_with "no such directory" new_events --metrics "$TMP/none/daxmf.prom"
}

# If the new file does not fit, the old one stays, and no reader sees a part of a file.
full_disk() {
	mkdir "$TMP/full" && mount -t tmpfs -o size=4k none "$TMP/full" && on_exit umount "$TMP/full" || return
	echo old >"$TMP/full/daxmf.prom"
	fails_with "No space left" new_events --metrics "$TMP/full/daxmf.prom" && is cat "$TMP/full/daxmf.prom" old
}

# The directory of the metrics can belong to another account, which makes FILE.new a link.
linked() {
	echo old >"$TMP/victim" && ln -s "$TMP/victim" "$TMP/linked.prom.new" || return
	new_events --metrics "$TMP/linked.prom" >/dev/null && is cat "$TMP/victim" old &&
		is stat -c '%F %a' "$TMP/linked.prom" "regular file 644"
}

# A socket with the protocol of journald, because the guest has no journald.
records_in_journal() {
	mkdir -p /run/systemd/journal && python3 - >"$TMP/journal" <<-END &
		import os, socket
		journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		journal.bind("/run/systemd/journal/socket")
		print("ready", flush=True)
		while True:
		    print(journal.recv(65536).decode(), flush=True)
	END
	on_exit rm -f /run/systemd/journal/socket
	on_exit kill $!
	wait_for grep -q ready "$TMP/journal" && new_events >/dev/null && bad 13 && settled notified || return
	is daxmf monitor --once --state "$TMP/state" '' && wait_for grep -q DAXMF_EVENT=notified "$TMP/journal" &&
		grep -qx "MESSAGE=found $DISK offset 0xd000 length 0x1000 source=user" "$TMP/journal" &&
		grep -qx "PRIORITY=4" "$TMP/journal" && grep -qx "DAXMF_DISK=$DISK" "$TMP/journal" && good 13
}

runs_until_stopped() {
	daxmf monitor --no-journal >"$TMP/lines" &
	on_exit kill $!
	wait_for grep -q . "$TMP/lines" && bad 15 && wait_for grep -q "notified .* 0xf000 " "$TMP/lines" && good 15 &&
		wait_for grep -q "cleared .* 0xf000 " "$TMP/lines"
}

# The command kills the monitor at the second event. Only this event is reported again.
killed() {
	local append="echo \$DAXMF_EVENT >>$TMP/killed"

	new_events >/dev/null && bad 17 && settled notified || return
	new_events --exec "$append; [ \$DAXMF_EVENT = found ] || kill -9 \$PPID" >/dev/null && return 1
	new_events --exec "$append" >/dev/null && is cat "$TMP/killed" "found
notified
notified" && good 17
}

# reported_for FILE -- the listener gets an error of this file.
reported_for() {
	cat "$TMP/errors"
	grep -q "inode $(stat -c %i "$1")" "$TMP/errors"
}

# XFS is not notified of found errors by default. The monitor has XFS verify the range, and XFS
# reports the file.
xfs_verifies() {
	local sector

	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK" || return
	fill $MNT/file 16 && sector=$(file_sector $MNT/file 3) && new_events >/dev/null || return
	mfchain errors $MNT >"$TMP/errors" &
	on_exit kill $!
	wait_for grep -q listening "$TMP/errors" && bad $((sector / 8)) && settled notified || return
	! grep inode "$TMP/errors" && new_events && wait_for reported_for $MNT/file && good $((sector / 8))
}

begin 13
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
require make_page_data
check "each event is reported once" once
check "events of a reloaded module are reported" new_module
check "the state of another boot is ignored" new_boot
check "the state of an earlier version is ignored" old_state
check "a command is run for each event" command_runs
check "metrics" metrics
check "metrics on a full disk" with_undo full_disk
check "a link in place of the new metrics is not followed" linked
check "messages in the journal" with_undo records_in_journal
check "the monitor reports events until it is stopped" with_undo runs_until_stopped
check "a monitor that is killed repeats only the event that it was reporting" killed
check "XFS reports the file with the error" with_undo xfs_verifies
check "an ordinary user is refused" fails_with "needs root" setpriv --reuid=1000 --clear-groups daxmf monitor
finish
