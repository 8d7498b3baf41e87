#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "daxmf monitor": each event once, to the journal, to a command and to Prometheus.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# bad PAGE, good PAGE -- root says so; an event each, and one that nobody was notified.
bad() {
	echo $(($1 * 8)) 8 >"/sys/block/$DISK/badblocks"
}

good() {
	write_page "/dev/$DISK" "$1" oflag=direct
}

# news OPTION... -- what is new, a line each, without the time.
news() {
	daxmf monitor --once --no-journal --state "$TMP/state" "$@" >"$TMP/news" || return
	sed 's/^[-0-9]* [0-9:.]* *//; s/  */ /g' "$TMP/news"
}

# The holder is notified in a work item, so wait for that.
settled() {
	wait_for eval "daxmf events $DISK | tail -n 1 | grep -q '$1'"
}

once() {
	news >/dev/null && bad 5 && settled notified || return
	is news "found $DISK 0x5000 0x1000 source=user
notified $DISK 0x5000 0x1000 outcome=not_notified" && is news '' || return
	good 5 && is news "cleared $DISK 0x5000 0x1000 "
}

# The numbers of events begin anew.
new_module() {
	unload_modules && ns_bind "$NS" && bad 7 && settled notified || return
	is eval "news | wc -l" 2 && is news '' && good 7
}

# All events are new after a boot, even if the clock was set back.
new_boot() {
	news >/dev/null && is news '' && sed -i 's/^[^ ]*/other/' "$TMP/state" && ! is news ''
}

command_runs() {
	news >/dev/null && bad 9 && settled notified || return
	news --exec "echo \$DAXMF_EVENT \$DAXMF_DISK \$DAXMF_OFFSET \$DAXMF_SOURCE >>$TMP/run" >/dev/null &&
		is cat "$TMP/run" "found $DISK $((9 * PAGE)) user
notified $DISK $((9 * PAGE))" || return
	# The monitor goes on after a command that fails.
	good 9 && fails_with "exit status: 3" news --exec "exit 3" && is news ''
}

metrics() {
	bad 11 && settled notified && news --metrics "$TMP/daxmf.prom" >/dev/null || return
	grep -qx "daxmf_bad_bytes{disk=\"$DISK\"} 4096" "$TMP/daxmf.prom" &&
		grep -q "^daxmf_events_total{event=\"found\",disk=\"$DISK\",outcome=\"\"} [1-9]" \
			"$TMP/daxmf.prom" || return
	good 11 && news --metrics "$TMP/daxmf.prom" >/dev/null &&
		grep -qx "daxmf_bad_bytes{disk=\"$DISK\"} 0" "$TMP/daxmf.prom" &&
		fails_with "no such directory" news --metrics "$TMP/none/daxmf.prom"
}

# Nobody reads half a file.
full_disk() {
	mkdir "$TMP/full" && mount -t tmpfs -o size=4k none "$TMP/full" && on_exit umount "$TMP/full" || return
	echo old >"$TMP/full/daxmf.prom"
	fails_with "No space left" news --metrics "$TMP/full/daxmf.prom" && is cat "$TMP/full/daxmf.prom" old
}

# By its protocol: this guest has no journald.
journal() {
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
	wait_for grep -q ready "$TMP/journal" && news >/dev/null && bad 13 && settled notified || return
	is daxmf monitor --once --state "$TMP/state" '' && wait_for grep -q DAXMF_EVENT=notified "$TMP/journal" &&
		grep -qx "MESSAGE=found $DISK offset 0xd000 length 0x1000 source=user" "$TMP/journal" &&
		grep -qx "PRIORITY=4" "$TMP/journal" && grep -qx "DAXMF_DISK=$DISK" "$TMP/journal" && good 13
}

goes_on() {
	daxmf monitor --no-journal >"$TMP/lines" &
	on_exit kill $!
	wait_for grep -q . "$TMP/lines" && bad 15 && wait_for grep -q "notified .* 0xf000 " "$TMP/lines" && good 15 &&
		wait_for grep -q "cleared .* 0xf000 " "$TMP/lines"
}

# lost_by FILE -- those who listen hear that it has lost data.
lost_by() {
	cat "$TMP/errors"
	grep -q "inode $(stat -c %i "$1")" "$TMP/errors"
}

# XFS does not want to be notified of what was found. It reads that itself, in a file and a whole page.
xfs_verifies() {
	local sector

	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK" || return
	fill $MNT/file 16 && sector=$(file_sector $MNT/file 3) && news >/dev/null || return
	mfchain errors $MNT >"$TMP/errors" &
	on_exit kill $!
	wait_for grep -q listening "$TMP/errors" && bad $((sector / 8)) && settled notified || return
	! grep inode "$TMP/errors" && news && wait_for lost_by $MNT/file && good $((sector / 8))
}

begin 10
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
require page_data
check "each event is reported once" once
check "also those of a module that was loaded anew" new_module
check "a state of another boot does not count" new_boot
check "a command is run for each" command_runs
check "metrics" metrics
check "metrics on a disk that is full" clean full_disk
check "the journal" clean journal
check "it goes on" clean goes_on
check "XFS reports what is lost" clean xfs_verifies
check "an ordinary user" fails_with "needs root" setpriv --reuid=1000 --clear-groups daxmf monitor
finish
