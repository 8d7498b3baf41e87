#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Contents of files in failed memory: who is notified, which pages can be read, and how pages are
# repaired.

KIND=${KIND:-virtio}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# --- Notification ---

listen() {
	mfchain errors $MNT >"$TMP/errors" &
	LISTENER=$!
	on_exit kill $LISTENER
	wait_for grep -q listening "$TMP/errors"
}

# reported COUNT FILE... -- wait until the listener has got COUNT errors, and check that the first
# error is one of these files.
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

listeners_notified() {
	fill one 16 && listen && owners_signalled corrupt-pfn one,offset=8K && reported 1 one
}

all_owners_notified() {
	fill some 16 && share some other && listen &&
		owners_signalled corrupt-pfn some,offset=8K other,offset=8K && reported 2 some other
}

# The inode of the file is not in memory.
unused_notified() {
	local where

	fill unused 16 && where=$(address unused 3) && stat -c %i unused >"$TMP/inode" &&
		listen && echo 2 >/proc/sys/vm/drop_caches && poison "$where" &&
		wait_for grep -q "^inode $(cat "$TMP/inode"): errno 5" "$TMP/errors"
}

# --- Reading ---

reads_up_to_it() {
	fill across 16 && poison_page across 2 &&
		is sh -c 'head -c 64K across 2>/dev/null | wc -c' $((2 * PAGE)) &&
		is sh -c 'dd if=across bs=64K skip=12K iflag=skip_bytes status=none | wc -c' \
			$((13 * PAGE)) && same_except across 2 && cannot_touch across 2 &&
		can_touch across 3
}

# The list of bad blocks is empty when a device of RAM is bound again.
stays_bad_elsewhere() {
	cd / && unmount && fsck_clean "/dev/$DISK" && ns_unbind "$NS" && ns_bind "$NS" &&
		is cat "/sys/block/$DISK/badblocks" '' && mount_mendfs "/dev/$DISK" && cd $MNT &&
		on_exit cd / && cannot_read stays 5 && same_except stays 5 && write_page stays 5 && has_page stays 5
}

# --- Repair ---

# A write of a part of a bad page fails, because the rest of the page has no data.
written_in_part() {
	fill part 16 && poison_page part 5 || return
	fails_with "Input/output error" xfs_io -c "pwrite $((5 * PAGE)) 100" part &&
		fails_with "Input/output error" xfs_io -c "pwrite $((5 * PAGE + 1)) $((PAGE - 1))" part &&
		cannot_read part 5 || return
	# A larger write stores the good page before, and not the part of the bad page.
	is sh -c "xfs_io -c 'pwrite -b 1m $((4 * PAGE)) $((PAGE + 100))' part 2>&1 |
		sed -n 's,^wrote \([0-9]*\)/.*,\1,p'" $PAGE && cannot_read part 5 &&
		write_page part 4 && write_page part 5 && has_page part 5
}

# A write of a whole bad page fails if the buffer ends early.
cut_short() {
	fill cut 16 && poison_page cut 5 && python3 - <<-END && cannot_read cut 5 &&
		import ctypes, mmap, os
		c = ctypes.CDLL(None, use_errno=True)
		c.mmap.restype = ctypes.c_void_p
		c.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
		flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
		area = c.mmap(None, 2 * $PAGE, mmap.PROT_READ, flags, -1, 0)
		c.munmap(ctypes.c_void_p(area + $PAGE), $PAGE)
		f = os.open("cut", os.O_RDWR)
		assert c.pwrite(f, area + $PAGE - 2000, $PAGE, 5 * $PAGE) == -1, "the write succeeded"
		assert ctypes.get_errno() == 5, os.strerror(ctypes.get_errno())
		try:
		    os.fsync(f)
		except OSError:
		    pass
		else:
		    raise AssertionError("fsync() returned no error")
	END
		write_page cut 5 && has_page cut 5
}

# A write of the last page up to the end of the file repairs it.
end_of_file() {
	fill end 3 && truncate -s 9000 end && poison_page end 2 && cannot_read end 2 &&
		fails_with "Input/output error" xfs_io -c 'pwrite 8192 807' end &&
		xfs_io -c 'pwrite -q -S 9 8192 808' end && truncate -s 12K end &&
		is sh -c "tail -c $PAGE end | tr -d '\\11' | wc -c" $((PAGE - 808)) &&
		is sh -c "tail -c $PAGE end | tr -d '\\0' | wc -c" 808 && wait_repaired
}

punched() {
	fill punched 16 && poison_page punched 5 && fallocate -p -o $((5 * PAGE)) -l $PAGE punched &&
		is sh -c "dd if=punched bs=$PAGE skip=5 count=1 status=none | tr -d '\\0' | wc -c" 0 &&
		same_except punched 5 && wait_repaired
}

zeroed() {
	fill zeroed 16 && poison_page zeroed 5 && fallocate -z -o $((5 * PAGE)) -l $PAGE zeroed &&
		is sh -c "dd if=zeroed bs=$PAGE skip=5 count=1 status=none | tr -d '\\0' | wc -c" 0 &&
		can_touch zeroed 5 write && wait_repaired
}

# stores_by_mapping FILE PAGE -- store through a mapping and sync. Print how many pages the kernel
# wrote back.
stores_by_mapping() {
	local tracing=/sys/kernel/tracing

	echo 1 >$tracing/events/fs_dax/dax_writeback_one/enable && echo >$tracing/trace &&
		xfs_io -c 'mmap -rw 0 64k' -c "mwrite -S 7 $(($2 * PAGE)) 10" -c fsync "$1" &&
		grep -c 'dax_writeback_one:' $tracing/trace
	echo 0 >$tracing/events/fs_dax/dax_writeback_one/enable
}

# Write at once, before mendfs has handled the failure.
stored_after_it_was_written() {
	fill anew 16 && poison "$(address anew 5)" && write_page anew 5 &&
		is stores_by_mapping anew 5 1 && poison "$(address anew 6)" &&
		fallocate -p -o $((6 * PAGE)) -l $PAGE anew && write_page anew 6 &&
		is stores_by_mapping anew 6 1
}

# Zeroing a part of a bad page fails and changes nothing, because the rest of the page has no data.
zeroed_in_part() {
	local way

	fill zero-part 16 && poison_page zero-part 5 || return
	for way in -p -z; do
		fails_with "Input/output error" fallocate $way -o $((5 * PAGE + 100)) -l 200 zero-part &&
			fails_with "Input/output error" \
				fallocate $way -o $((4 * PAGE + 100)) -l $PAGE zero-part &&
			fails_with "Input/output error" \
				fallocate $way -o $((5 * PAGE + 1)) -l $((2 * PAGE)) zero-part || return
	done
	cannot_read zero-part 5 && same_except zero-part 5 && truncate -s $((5 * PAGE + 1)) zero-part &&
		write_page zero-part 5
}

truncated() {
	fill short 16 && poison_page short 5 && truncate -s $((5 * PAGE + 100)) short && cannot_read short 5 &&
		truncate -s $((6 * PAGE + 100)) short && cannot_read short 5 && echo more >>short &&
		is tail -c 5 short more && truncate -s $((5 * PAGE)) short && same_except short -1 && wait_repaired
}

removed() {
	fill gone 16 && poison_page gone 5 && rm gone && wait_repaired
}

# A write repairs the page of one file. Other files that share the page keep a bad page.
shared() {
	fill first 16 && share first second && poison_page first 5 && cannot_read second 5 &&
		cannot_touch second 5 write && write_page first 5 && has_page first 5 &&
		cannot_read second 5 && same_except second 5 && [ -s "/sys/block/$DISK/badblocks" ] &&
		share second third && cannot_read third 5 && rm second &&
		fallocate -p -o $((5 * PAGE)) -l $PAGE third && wait_repaired && has_page first 5
}

# Pages beside a bad shared page can be written and copied.
shared_neighbours() {
	fill near 16 && share near far && poison_page near 5 && write_page far 4 && write_page far 6 &&
		can_touch far 7 write && cannot_read far 5 && has_page far 4 && has_page far 6 &&
		same_except near 5 && rm near far && wait_repaired
}

# --- Huge pages ---

HUGE=$((2 << 20))

# hold_huge -- start a process without early signals that maps the first huge page of the file; sets
# HOLDER.
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

end_holder() {
	kill "$HOLDER"
	wait "$HOLDER"
	is echo $? $((128 + 15))
}

huge() {
	fallocate -l $((2 * HUGE)) huge && owners_signalled corrupt-pfn "huge,write,length=$HUGE,lsb=21" &&
		cannot_touch huge 0 && can_touch huge 1 && can_touch huge 511 write &&
		write_page huge 0 && has_page huge 0 && wait_repaired
}

# mf_dax_kill_procs() poisons the first frame of a huge page. rust/fs corrects this, so that only
# the failed frame is poisoned.
huge_marks() {
	local head failed before after bit

	rm huge && fallocate -l $HUGE huge && hold_huge &&
		head=$(address huge 0) && failed=$(address huge 7) &&
		read_frame_flags "$head" "$failed" && before=${FLAGS[*]} && poison "$failed" &&
		read_frame_flags "$head" "$failed" && after=${FLAGS[*]} && end_holder || return
	echo "flags of first and failed frame: $before, then $after"
	bit=$((${after#* } ^ ${before#* }))
	[ $bit != 0 ] && [ $((bit & (bit - 1))) = 0 ] || fail "the failed frame is not poisoned" || return
	[ $((${after% *} & bit)) = 0 ] || fail "the first frame is poisoned"
}

# The data written through the mapping is there, except in the failed page.
huge_contents() {
	cannot_touch huge 7 write && is sh -c "head -c $((7 * PAGE)) huge | tr -d '\\5' | wc -c" 0 &&
		xfs_io -c fsync huge && remount && cannot_read huge 7 &&
		is sh -c "tail -c +$((8 * PAGE + 1)) huge | tr -d '\\5' | wc -c" 0 && write_page huge 7
}

# --- Copies ---

# bad_sectors FIRST COUNT -- add bad blocks without notifying the filesystem.
bad_sectors() {
	echo never >"/sys/block/$DISK/memory_failure/found" && echo "$1 $2" >"/sys/block/$DISK/badblocks"
}

# mark_bad FILE PAGE -- the same for a page of a file.
mark_bad() {
	bad_sectors "$(file_sector "$1" "$2")" 8
}

# A store to a shared page copies the page first. The copy fails half-way, because the page is bad,
# and the file stays unchanged.
copy_fails() {
	fill source 16 && share source copy && mark_bad copy 5 &&
		fails_with "BUS" can_touch copy 5 write && cannot_read copy 5 &&
		fails_with "BUS" can_touch copy 5 write && can_touch copy 6 write &&
		same_except source 5 && rm source && write_page copy 5 && has_page copy 5 &&
		can_touch copy 5 write && has_page copy 5 && wait_repaired
}

# A deduplication does not share pages that cannot be compared. For such pages kernels before 7.3
# return 1 instead of an errno.
not_compared() {
	fill left 16 && fill right 16 && write_page right 5 && mark_bad left 5 || return
	xfs_io -c "dedupe left $((5 * PAGE)) $((5 * PAGE)) $((11 * PAGE))" right
	has_page right 5 && same_except right 5 && cannot_read left 5 && write_page left 5 && wait_repaired
}

# A write of the whole page does not copy it.
copy_is_written() {
	fill source 16 && share source whole && mark_bad whole 5 && write_page whole 5 &&
		has_page whole 5 && cannot_read source 5 && write_page source 5 && wait_repaired
}

# An allocation skips bad blocks of which the filesystem was not notified.
target_is_bad() {
	local sector

	fill source 16 && share source copy && fill behind 1 && sector=$(file_sector behind 0) &&
		rm behind && bad_sectors $((sector + 8)) $((32 * 8)) &&
		can_touch copy 5 write && write_page copy 6 && fill new 300 && same_except copy 6 &&
		same_except new -1 && wait_repaired
}

# A write of a bad page needs metadata for the new block. If there is no space, the write fails.
written_without_room() {
	fill full 4 && poison_page full 1 && touch file &&
		fallocate -l $((($(stat -f -c %f .) - 47) * PAGE)) space &&
		until_full "os.link('file', f'name.{n}')" && [ "$(stat -f -c %f .)" -gt 0 ] &&
		fails_with "Input/output error" xfs_io -c "pwrite $PAGE $PAGE" full &&
		cannot_read full 1 && rm file name.* space && write_page full 1 && has_page full 1 &&
		wait_repaired
}

# --- Machine checks ---

dirty_huge_fails() {
	fallocate -l $((2 * HUGE)) dirty && xfs_io -c "mmap 0 4m" -c "mwrite -S 5 0 4m" dirty &&
		raise_machine_check "$(address dirty 777)" &&
		xfs_io -c fsync dirty && cannot_read dirty 777 && write_page dirty 777 &&
		has_page dirty 777
}

begin 30
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require use_mendfs "$NS"

check "fanotify reports the file" with_undo listeners_notified
check "fanotify reports all files that share the page" with_undo all_owners_notified
check "fanotify reports a file that no process uses" with_undo unused_notified
check "a read ends before a bad page, and starts after it" reads_up_to_it
check "a bad page stays bad after a mount" stays_bad
check "a bad page stays bad when the device does not list it" stays_bad_elsewhere
check "a write of the whole page repairs it" written_whole
check "a store to the repaired page is written back" stored_after_it_was_written
check "a write of a part of a bad page fails" written_in_part
check "a write of a whole bad page whose buffer ends early" cut_short
check "a write up to the end of the file repairs the last page" end_of_file
check "punching a bad page makes a hole" punched
check "zeroing a bad page repairs it" zeroed
check "a bad page cannot be zeroed or punched in part" zeroed_in_part
check "a file is truncated to a bad page" truncated
check "a file with a bad page is removed" removed
check "files that share a bad page are repaired one by one" shared
check "pages beside a bad shared page are copied" shared_neighbours
check "a page of a huge page" huge
check "only the failed frame is poisoned" huge_marks
check "the other pages of the huge page have their contents" huge_contents
check "a copy of a page fails" copy_fails
check "contents that cannot be compared are not shared" not_compared
check "a bad shared page is written whole" copy_is_written
check "new pages are good" target_is_bad
check "a free page that fails is used again after its repair" free_fails
check "a write of a bad page fails without space for metadata" written_without_room
check "a dirty page fails by a machine check" dirty_fails
check "a page of a dirty huge page fails" dirty_huge_fails
check "fsck finds no damage" remount
finish
