# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the tests read LEASE
#
# Files: their contents, shared extents, and where a page is on the disk.

# pattern [PAGE] -- print up to 64 MiB of data, from this page on. Each page has other data.
pattern() {
	seq $((1000000 + ${1:-0} * PAGE / 8)) 9999999 2>/dev/null
}

# fill FILE PAGES -- write the pattern, and sync.
fill() {
	pattern | head -c $(($2 * PAGE)) >"$1" && sync "$1"
}

# share SOURCE FILE [SOURCE_OFFSET FILE_OFFSET LENGTH] -- reflink the whole file or a part.
share() {
	if [ $# = 2 ]; then
		cp --reflink=always "$1" "$2"
	else
		xfs_io -f -c "reflink $1 $3 $4 $5" "$2"
	fi
	sync "$2"
}

# make_self_shared FILE COUNT -- make a file of COUNT blocks that all share one block of the disk.
make_self_shared() {
	python3 - "$@" <<-'END'
		import fcntl, os, struct, sys
		FICLONERANGE = 0x4020940d
		file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
		os.pwrite(file, b"many" * 1024, 0)
		os.fsync(file)
		count, wanted = 1, int(sys.argv[2])
		while count < wanted:
		    more = min(count, wanted - count)
		    fcntl.ioctl(file, FICLONERANGE, struct.pack("qQQQ", file, 0, more * 4096, count * 4096))
		    count += more
	END
}

# file_sector FILE PAGE -- print the first sector of the page on the disk.
file_sector() {
	xfs_io -r -c "fiemap $(($2 * PAGE)) $PAGE" "$1" | sed -n 's/.*: \([0-9]*\)\.\..*/\1/p'
}

# address FILE PAGE -- print the physical address of the page. Uses START.
address() {
	echo $((START + $(file_sector "$1" "$2") * 512))
}

# extent_count FILE -- print the number of extents.
extent_count() {
	xfs_io -r -c fiemap "$1" | grep -c '\.\.[0-9]*$'
}

# dax_read FILE PAGE -- read one page with O_DIRECT.
dax_read() {
	dd if="$1" of=/dev/null bs="$PAGE" skip="$2" count=1 iflag=direct status=none
}

# make_page_data -- make the page that write_page() writes and has_page() expects.
make_page_data() {
	pattern 10000 | head -c "$PAGE" >"$TMP/page"
}

# write_page FILE PAGE [OPERAND...] -- write the whole page. The operands are for dd.
write_page() {
	dd if="$TMP/page" of="$1" bs="$PAGE" seek="$2" count=1 conv=notrunc status=none "${@:3}"
}

# has_page FILE PAGE [OPERAND...] -- check that write_page() has written the page.
has_page() {
	dd if="$1" bs="$PAGE" skip="$2" count=1 status=none "${@:3}" | cmp - "$TMP/page"
}

# same_except FILE PAGE -- check that all other pages have the data of fill(); with PAGE -1, all
# pages.
same_except() {
	local after=$(($2 + 1)) size

	size=$(stat -c %s "$1") || return
	{ [ "$2" -le 0 ] || pattern | cmp -n $(($2 * PAGE)) - "$1"; } &&
		pattern $after | cmp -n $((size - after * PAGE)) -i 0:$((after * PAGE)) - "$1"
}

# set_lease_break_time SECONDS -- set how long an open waits for a process with a lease on the file.
set_lease_break_time() {
	echo "$1" >/proc/sys/fs/lease-break-time
}

# hold_lease FILE -- start a process that has a lease on the file, until the end of the case; sets
# LEASE. An open of the file waits longer than any test.
hold_lease() {
	local before

	before=$(cat /proc/sys/fs/lease-break-time) && set_lease_break_time 3600 &&
		on_exit set_lease_break_time "$before" || return
	python3 - "$1" <<-'END' >"$TMP/leased" &
		import fcntl, os, signal, sys
		signal.signal(signal.SIGIO, signal.SIG_IGN)
		file = os.open(sys.argv[1], os.O_RDWR)
		fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
		print("leased", flush=True)
		signal.pause()
	END
	LEASE=$!
	on_exit end_process $LEASE && wait_for grep -q leased "$TMP/leased"
}
