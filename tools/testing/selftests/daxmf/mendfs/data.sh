#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Contents of files in memory that has failed: who is told of it, what can be read, and what heals.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# --- Who is told ---

listen() {
	mfchain errors $MNT >"$TMP/errors" &
	LISTENER=$!
	on_exit kill $LISTENER
	wait_for grep -q listening "$TMP/errors"
}

# reported COUNT FILE... -- as many errors have come, the first one of one of the files.
reported() {
	local count=$1 file inodes=()

	shift
	for file; do
		inodes+=("$(stat -c %i "$file")")
	done
	wait_for counted "$count" && sed 1d "$TMP/errors" || return
	sed -n '2s/^inode \([0-9]*\): errno 5, .*/\1/p' "$TMP/errors" |
		grep -qxF "$(printf '%s\n' "${inodes[@]}")"
}

counted() {
	[ "$(awk 'NR > 1 { n += $(NF - 2) } END { print n + 0 }' "$TMP/errors")" = "$1" ]
}

tells_listeners() {
	fill one 16 && listen && told corrupt-pfn one,offset=8K && reported 1 one
}

tells_of_all_owners() {
	fill some 16 && share some other && listen &&
		told corrupt-pfn some,offset=8K other,offset=8K && reported 2 some other
}

# Not even its inode is in memory.
tells_of_unused() {
	local where

	fill unused 16 && where=$(address unused 3) && stat -c %i unused >"$TMP/inode" &&
		listen && echo 2 >/proc/sys/vm/drop_caches && poison "$where" &&
		wait_for grep -q "^inode $(cat "$TMP/inode"): errno 5" "$TMP/errors"
}

# --- Reading ---

reads_up_to_it() {
	fill across 16 && spoil across 2 &&
		is sh -c 'head -c 64K across 2>/dev/null | wc -c' $((2 * PAGE)) &&
		is sh -c 'dd if=across bs=64K skip=12K iflag=skip_bytes status=none | wc -c' \
			$((13 * PAGE)) && same_but across 2 && cannot_touch across 2 &&
		is_touched across 3
}

# The list of bad blocks is empty when a device of RAM is bound again.
stays_bad_elsewhere() {
	cd / && unmount && fsck_clean "/dev/$DISK" && ns_unbind "$NS" && ns_bind "$NS" &&
		is cat "/sys/block/$DISK/badblocks" '' && mount_mendfs "/dev/$DISK" && cd $MNT &&
		on_exit cd / && cannot_read stays 5 && same_but stays 5 && write_page stays 5 && has_page stays 5
}

# --- Healing ---

# What is written in part would be zeroes for the rest.
written_in_part() {
	fill part 16 && spoil part 5 || return
	fails_with "Input/output error" xfs_io -c "pwrite $((5 * PAGE)) 100" part &&
		fails_with "Input/output error" xfs_io -c "pwrite $((5 * PAGE + 1)) $((PAGE - 1))" part &&
		cannot_read part 5 || return
	# The page before it is written, and a part of this one is not.
	is sh -c "xfs_io -c 'pwrite -b 1m $((4 * PAGE)) $((PAGE + 100))' part 2>&1 |
		sed -n 's,^wrote \([0-9]*\)/.*,\1,p'" $PAGE && cannot_read part 5 &&
		write_page part 4 && write_page part 5 && has_page part 5
}

# The last page of a file is whole with what the file has of it.
end_of_file() {
	fill end 3 && truncate -s 9000 end && spoil end 2 && cannot_read end 2 &&
		fails_with "Input/output error" xfs_io -c 'pwrite 8192 807' end &&
		xfs_io -c 'pwrite -q -S 9 8192 808' end && truncate -s 12K end &&
		is sh -c "tail -c $PAGE end | tr -d '\\11' | wc -c" $((PAGE - 808)) &&
		is sh -c "tail -c $PAGE end | tr -d '\\0' | wc -c" 808 && mended
}

punched() {
	fill punched 16 && spoil punched 5 && fallocate -p -o $((5 * PAGE)) -l $PAGE punched &&
		is sh -c "dd if=punched bs=$PAGE skip=5 count=1 status=none | tr -d '\\0' | wc -c" 0 &&
		same_but punched 5 && mended
}

zeroed() {
	fill zeroed 16 && spoil zeroed 5 && fallocate -z -o $((5 * PAGE)) -l $PAGE zeroed &&
		is sh -c "dd if=zeroed bs=$PAGE skip=5 count=1 status=none | tr -d '\\0' | wc -c" 0 &&
		is_touched zeroed 5 write && mended
}

# stores_by_mapping FILE PAGE -- and has it written back; prints how many pages were.
stores_by_mapping() {
	local tracing=/sys/kernel/tracing

	echo 1 >$tracing/events/fs_dax/dax_writeback_one/enable && echo >$tracing/trace &&
		xfs_io -c 'mmap -rw 0 64k' -c "mwrite -S 7 $(($2 * PAGE)) 10" -c fsync "$1" &&
		grep -c 'dax_writeback_one:' $tracing/trace
	echo 0 >$tracing/events/fs_dax/dax_writeback_one/enable
}

# At once, before the failure has been settled.
stored_after_it_was_written() {
	fill anew 16 && poison "$(address anew 5)" && write_page anew 5 &&
		is stores_by_mapping anew 5 1 && poison "$(address anew 6)" &&
		fallocate -p -o $((6 * PAGE)) -l $PAGE anew && write_page anew 6 &&
		is stores_by_mapping anew 6 1
}

# What is not zeroed of a block would be lost. Nothing is changed then.
zeroed_in_part() {
	local way

	fill zero-part 16 && spoil zero-part 5 || return
	for way in -p -z; do
		fails_with "Input/output error" fallocate $way -o $((5 * PAGE + 100)) -l 200 zero-part &&
			fails_with "Input/output error" \
				fallocate $way -o $((4 * PAGE + 100)) -l $PAGE zero-part &&
			fails_with "Input/output error" \
				fallocate $way -o $((5 * PAGE + 1)) -l $((2 * PAGE)) zero-part || return
	done
	cannot_read zero-part 5 && same_but zero-part 5 && truncate -s $((5 * PAGE + 1)) zero-part &&
		write_page zero-part 5
}

truncated() {
	fill short 16 && spoil short 5 && truncate -s $((5 * PAGE + 100)) short && cannot_read short 5 &&
		truncate -s $((6 * PAGE + 100)) short && cannot_read short 5 && echo more >>short &&
		is tail -c 5 short more && truncate -s $((5 * PAGE)) short && same_but short -1 && mended
}

removed() {
	fill gone 16 && spoil gone 5 && rm gone && mended
}

# Each copy is healed by itself.
shared() {
	fill first 16 && share first second && spoil first 5 && cannot_read second 5 &&
		cannot_touch second 5 write && write_page first 5 && has_page first 5 &&
		cannot_read second 5 && same_but second 5 && [ -s "/sys/block/$DISK/badblocks" ] &&
		share second third && cannot_read third 5 && rm second &&
		fallocate -p -o $((5 * PAGE)) -l $PAGE third && mended && has_page first 5
}

# A copy of its neighbours does not need it.
shared_neighbours() {
	fill near 16 && share near far && spoil near 5 && write_page far 4 && write_page far 6 &&
		is_touched far 7 write && cannot_read far 5 && has_page far 4 && has_page far 6 &&
		same_but near 5 && rm near far && mended
}

# --- Huge pages ---

HUGE=$((2 << 20))

# hold_huge -- have the first huge page of the file mapped, by a process that is told late.
hold_huge() {
	python3 - >"$TMP/held" <<-END &
		import mmap, os, signal
		memory = mmap.mmap(os.open("huge", os.O_RDWR), $HUGE)
		memory[:] = b"\5" * $HUGE
		print("ready", flush=True)
		signal.pause()
	END
	HOLDER=$!
	wait_for grep -q ready "$TMP/held"
}

let_go() {
	kill "$HOLDER"
	wait "$HOLDER"
	is echo $? $((128 + 15))
}

huge() {
	fallocate -l $((2 * HUGE)) huge && told corrupt-pfn "huge,write,length=$HUGE,lsb=21" &&
		cannot_touch huge 0 && is_touched huge 1 && is_touched huge 511 write &&
		write_page huge 0 && has_page huge 0 && mended
}

# The kernel marks the first frame of a huge page, but not the one that has failed.
huge_marks() {
	local head failed before after bit

	rm huge && fallocate -l $HUGE huge && hold_huge &&
		head=$(address huge 0) && failed=$(address huge 7) &&
		frame_flags "$head" "$failed" && before=${FLAGS[*]} && poison "$failed" &&
		frame_flags "$head" "$failed" && after=${FLAGS[*]} && let_go || return
	echo "flags of first and failed frame: $before, then $after"
	bit=$((${after#* } ^ ${before#* }))
	[ $bit != 0 ] && [ $((bit & (bit - 1))) = 0 ] || fail "the failed one lacks its mark" || return
	[ $((${after% *} & bit)) = 0 ] || fail "the first one is marked"
}

# What was written through the mapping is there, but for the page that failed.
huge_contents() {
	cannot_touch huge 7 write && is sh -c "head -c $((7 * PAGE)) huge | tr -d '\\5' | wc -c" 0 &&
		xfs_io -c fsync huge && remount && cannot_read huge 7 &&
		is sh -c "tail -c +$((8 * PAGE + 1)) huge | tr -d '\\5' | wc -c" 0 && write_page huge 7
}

# --- Copies ---

# bad_sectors FIRST COUNT -- without anybody telling the filesystem.
bad_sectors() {
	echo never >"/sys/block/$DISK/memory_failure/found" && echo "$1 $2" >"/sys/block/$DISK/badblocks"
}

# mark_bad FILE PAGE
mark_bad() {
	bad_sectors "$(file_sector "$1" "$2")" 8
}

# The copy fails half-way; the file is as it was.
copy_fails() {
	fill source 16 && share source copy && mark_bad copy 5 &&
		fails_with "BUS" is_touched copy 5 write && cannot_read copy 5 &&
		fails_with "BUS" is_touched copy 5 write && is_touched copy 6 write &&
		same_but source 5 && rm source && write_page copy 5 && has_page copy 5 &&
		is_touched copy 5 write && has_page copy 5 && mended
}

# What cannot be compared is not shared, whatever a kernel before 7.3 says of it.
not_compared() {
	fill left 16 && fill right 16 && write_page right 5 && mark_bad left 5 || return
	xfs_io -c "dedupe left $((5 * PAGE)) $((5 * PAGE)) $((11 * PAGE))" right
	has_page right 5 && same_but right 5 && cannot_read left 5 && write_page left 5 && mended
}

# Written whole, it need not be copied.
copy_is_written() {
	fill source 16 && share source whole && mark_bad whole 5 && write_page whole 5 &&
		has_page whole 5 && cannot_read source 5 && write_page source 5 && mended
}

# Bad blocks that the filesystem does not know of are in the way of nobody who wants a new one.
target_is_bad() {
	local sector

	fill source 16 && share source copy && fill behind 1 && sector=$(file_sector behind 0) &&
		rm behind && bad_sectors $((sector + 8)) $((32 * 8)) &&
		is_touched copy 5 write && write_page copy 6 && fill new 300 && same_but copy 6 &&
		same_but new -1 && mended
}

# --- Machine checks ---

dirty_huge_fails() {
	fallocate -l $((2 * HUGE)) dirty && xfs_io -c "mmap 0 4m" -c "mwrite -S 5 0 4m" dirty &&
		machine_check "$(address dirty 777)" &&
		xfs_io -c fsync dirty && cannot_read dirty 777 && write_page dirty 777 &&
		has_page dirty 777
}

begin 28
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require use_mendfs "$NS"

check "fanotify is told of the file" clean tells_listeners
check "fanotify is told of all files that share the page" clean tells_of_all_owners
check "fanotify is told of a file that nobody uses" clean tells_of_unused
check "a read ends in front of a bad page, and begins behind it" reads_up_to_it
check "a bad page is bad after a mount" stays_bad
check "a bad page is bad where the device does not know of it" stays_bad_elsewhere
check "a bad page that is written whole is good" written_whole
check "a store to it is written back then" stored_after_it_was_written
check "a bad page that is written in part stays bad" written_in_part
check "the end of a file is written whole" end_of_file
check "a bad page that is punched is a hole" punched
check "a bad page that is zeroed is zeroes" zeroed
check "a bad page cannot be zeroed or punched in part" zeroed_in_part
check "a file is truncated to a bad page" truncated
check "a file with a bad page is removed" removed
check "files that share a bad page are healed one by one" shared
check "pages near a shared one that is bad are copied" shared_neighbours
check "a page of a huge page" huge
check "only the frame that failed is marked" huge_marks
check "the others of the huge page have their contents" huge_contents
check "a copy of a page fails" copy_fails
check "contents that cannot be compared are not shared" not_compared
check "a shared page that is bad is written whole" copy_is_written
check "new pages are not bad ones" target_is_bad
check "a free page that fails is used again when it was mended" free_fails
check "a page that was written to fails, by a machine check" dirty_fails
check "a page of a huge page that was written to fails" dirty_huge_fails
check "all is well on the media" remount
finish
