#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Contents of files: written, mapped, sparse, shared.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

sum() {
	sha256sum <"$1"
}

written() {
	dd if=/dev/urandom of=/tmp/random bs=1M count=8 status=none && on_exit rm -f /tmp/random &&
		cp /tmp/random big && cmp big /tmp/random &&
		dd if=/tmp/random of=odd bs=1000 count=77 status=none && cmp -n 77000 odd /tmp/random &&
		is stat -c %s odd 77000 && echo more >>odd && is stat -c %s odd 77005 &&
		is tail -c 5 odd more
}

sparse() {
	truncate -s 1G sparse && echo end >>sparse && is stat -c %b sparse 8 &&
		is sh -c 'head -c 1M sparse | tr -d "\0" | wc -c' 0 &&
		is xfs_io -r -c 'seek -d 0' sparse "$(printf 'Whence\tResult\nDATA\t1073741824')" &&
		truncate -s 5000 big && truncate -s 10000 big &&
		is sh -c 'tail -c 5000 big | tr -d "\0" | wc -c' 0
}

fallocated() {
	xfs_io -f -c 'falloc -k 0 1m' -c 'pwrite -q -S 7 0 64k' -c 'fpunch 5000 20000' \
		-c 'fzero 40000 4000' f && is stat -c %s f 65536 || return
	python3 - <<-'END'
		data = open("f", "rb").read()
		want = bytearray(b"\7" * 65536)
		want[5000:25000] = bytes(20000)
		want[40000:44000] = bytes(4000)
		assert data == want
	END
}

# A fallocate() that fails for lack of space keeps no block.
fallocated_too_much() {
	local free

	free=$(stat -f -c %f .) && echo text >much &&
		fails_with "No space" fallocate -l $(((free + 2) * PAGE)) much &&
		is stat -c '%s %b' much '5 8' &&
		fails_with "No space" fallocate -n -l $((1 << 60)) much &&
		is stat -f -c %f . $((free - 1)) && rm much
}

# Blocks after the end stay when the file grows. A truncate to the current size frees them.
allocated_behind() {
	xfs_io -f -c 'falloc -k 0 1m' -c 'pwrite -q 0 6000' behind && is stat -c %b behind 2048 &&
		truncate -s 7000 behind && is stat -c %b behind 2048 &&
		truncate -s 7000 behind && is stat -c '%s %b' behind '7000 16' &&
		is sh -c 'tail -c 1000 behind | tr -d "\0" | wc -c' 0
}

mapped() {
	xfs_io -f -c 'truncate 4m' -c 'mmap 0 4m' -c 'mwrite -S 5 100 8000' -c 'msync -s' m &&
		is sh -c 'tr -d "\0" <m | wc -c' 8000 &&
		xfs_io -c 'pwrite -q -S 6 3m 10' -c 'mmap 0 4m' -c 'mread -v 3m 2' m | grep -q '06 06' &&
		xfs_io -c 'mmap -S 0 4m' -c 'mwrite -S 8 2m 1' m
}

# flushes COMMAND... -- print how often the command flushes the device.
flushes() {
	local tracing=/sys/kernel/tracing

	echo p:daxmf/flush blkdev_issue_flush >$tracing/kprobe_events &&
		echo 1 >$tracing/events/daxmf/flush/enable && "$@" >/dev/null &&
		awk '$1 == "flush" { print $2 }' $tracing/kprobe_profile
	echo 0 >$tracing/events/daxmf/flush/enable
	echo >$tracing/kprobe_events
}

stores_synchronously() {
	xfs_io -c "mmap -S 0 $2" -c "mwrite -S 8 0 $2" "$1"
}

# The changes of a page fault are durable when it returns. A page that it copies belongs to the file
# only then.
mapped_synchronously() {
	truncate -s 256k synchronous && is flushes stores_synchronously synchronous 256k 0 &&
		is sh -c 'tr -d "\0" <synchronous | wc -c' 262144 && share synchronous copied &&
		is flushes stores_synchronously copied 12k 3
}

# A write to one copy changes this copy only, by write() and through a mapping.
shared() {
	fill s 600 && share s t && share s u && is sum t "$(sum s)" &&
		xfs_io -c 'pwrite -q -S 1 5000 10' t && ! cmp -s s t &&
		xfs_io -c 'mmap 0 1m' -c 'mwrite -S 2 9000 10' -c 'msync -s' u && ! cmp -s s u &&
		same_except s -1 &&
		is sh -c 'cmp -l s t | wc -l' 10 && is sh -c 'cmp -l s u | wc -l' 10
}

# Blocks are copied one by one, in random order. The copies form few extents.
copied_in_any_order() {
	fill original 2048 && share original shuffled && python3 - shuffled <<-END &&
		import os, random, sys
		blocks = list(range(2048))
		random.Random(1).shuffle(blocks)
		file = os.open(sys.argv[1], os.O_RDWR)
		for block in blocks:
		    os.pwrite(file, b"%d" % block, block * $PAGE)
	END
		[ "$(extent_count shuffled)" -le 8 ] && same_except original -1 && rm original shuffled
}

part_shared() {
	fill p 64 && fill q 64 && xfs_io -c 'reflink p 0 16384 8192' q &&
		is cmp -n 8192 -i 16384:0 q p "" && truncate -s 3000 p && truncate -s 8192 p &&
		is sh -c 'tail -c +20481 q | head -c 4096 | tr -d "\0" | wc -c' 4096 &&
		xfs_io -c 'dedupe q 0 32768 4096' q | grep -qv deduped
	rm p
}

# The copied blocks lie right before those of the extent that they cut, in the file and on the device, but
# a hole comes between them. A later case compares the file with what a mount finds.
cut_by_copy() {
	fill cut 8 && cp cut "$TMP/cut" && share cut head 0 0 $((2 * PAGE)) &&
		truncate -s $((3 * PAGE)) head && fallocate -p -l $((2 * PAGE)) cut &&
		share head cut 0 0 $((3 * PAGE)) || return
	fallocate -p -o $((2 * PAGE)) -l $PAGE "$TMP/cut" && cmp cut "$TMP/cut"
}

# RWF_NOWAIT writes only to blocks that are allocated and not shared. Another write sets the times
# of the file just before, so that this write need not.
nowait() {
	fill nowait 64 && share nowait other && truncate -s 1M nowait && python3 - <<-END
		import os

		def written(at):
		    os.pwrite(file, page, 768 << 10)
		    try:
		        return os.pwritev(file, [page], at, os.RWF_NOWAIT)
		    except BlockingIOError:
		        return 0

		page = bytes($PAGE)
		file = os.open("nowait", os.O_RDWR | os.O_DIRECT)
		os.pwrite(file, page, 768 << 10)
		blocks = os.fstat(file).st_blocks
		for _ in range(10):
		    # Shared, a hole, and after the end.
		    assert not written(0) and not written(512 << 10) and not written(2 << 20)
		assert os.fstat(file).st_blocks == blocks and os.fstat(file).st_size == 1 << 20
		assert any(written(768 << 10) for _ in range(100))
		assert os.preadv(file, [bytearray(2 * $PAGE)], 0, os.RWF_NOWAIT) == 2 * $PAGE
	END
}

map_huge() {
	local before after

	before=$(sed -n 's/^thp_fault_fallback //p' /proc/vmstat)
	fallocate -l 8M huge && xfs_io -c 'mmap 0 8m' -c 'mwrite 0 8m' huge &&
		after=$(sed -n 's/^thp_fault_fallback //p' /proc/vmstat) || return
	[ "$before" = "$after" ] || fail "small pages are mapped"
}

# After a mount, the search for free blocks begins where there are also small files.
mapped_huge() {
	map_huge && is sh -c 'xfs_io -r -c fiemap huge | grep -c "\["' 1 && remount && rm huge &&
		map_huge
}

# written_back COMMAND... -- print how many bytes of the volume the command writes back.
written_back() {
	local tracing=/sys/kernel/tracing

	echo 'p:daxmf/written_back dax_flush size=%dx:u64' >$tracing/kprobe_events &&
		echo >$tracing/trace && echo 1 >$tracing/events/daxmf/written_back/enable && "$@" >/dev/null
	echo 0 >$tracing/events/daxmf/written_back/enable
	sed -n 's/.* written_back: .*size=//p' $tracing/trace | awk '{ sum += $1 } END { print sum + 0 }'
	echo >$tracing/kprobe_events
}

# The kernel removes the record that a huge page is dirty as a whole. So a punch and a truncation write
# back the rest of the huge page first.
cut_huge_page() {
	fallocate -l 4M dirty && xfs_io -c 'mmap 0 4m' -c 'mwrite 0 4m' dirty &&
		is written_back xfs_io -c 'fpunch 8k 4k' dirty $(((2 << 20) - PAGE)) &&
		is written_back truncate -s 3M dirty $((1 << 20)) && rm dirty
}

# A clone from the middle of a huge page to the end of the file unmaps the whole huge page, also from a
# process that maps it by small pages because its address is not aligned.
cloned_from_huge_page() {
	fallocate -l 4M huge && xfs_io -c 'mmap 0 4m' -c 'mwrite -S 7 0 4m' huge && python3 - <<-'END' &&
		import ctypes, fcntl, mmap, os, struct
		FICLONERANGE = 0x4020940d
		c = ctypes.CDLL(None)
		c.mmap.restype = ctypes.c_void_p
		c.mmap.argtypes = [ctypes.c_void_p] + 4 * [ctypes.c_long] + [ctypes.c_long]
		f, copy = os.open("huge", os.O_RDWR), os.open("copy", os.O_RDWR | os.O_CREAT)
		area = c.mmap(None, 8 << 20, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
		address = ((area + (2 << 20)) & ~((2 << 20) - 1)) + 4096
		at = c.mmap(address, 2 << 20, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | 0x10, f, 0)
		assert at == address
		assert ctypes.string_at(at, 1) == b"\7"
		with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
		    def is_mapped():
		        pagemap.seek(at // 4096 * 8)
		        return struct.unpack("Q", pagemap.read(8))[0] >> 63
		    assert is_mapped()
		    fcntl.ioctl(copy, FICLONERANGE, struct.pack("qQQQ", f, 1 << 20, 0, 0))
		    assert not is_mapped(), "the first page is still mapped"
		assert ctypes.string_at(at, 1) == b"\7"
		os._exit(0)
	END
		rm huge copy
}

fio_runs() {
	fio --name=verify --directory=. --size=16M --rw=randwrite --bs=4k --verify=crc32c \
		--ioengine="$1" --direct="$2" --end_fsync=1 --minimal &&
		rm verify*
}

full() {
	local free

	free=$(stat -f -c %f .) && fallocate -l $(((free - 16) * PAGE)) full &&
		fails_with "No space left" dd if=/dev/zero of=more bs=$PAGE count=17 &&
		is stat -c %s more $((16 * PAGE)) && is stat -f -c %f . 0 &&
		fails_with "No space left" fallocate -l $PAGE none &&
		rm full more none && is stat -f -c %f . "$free"
}

# picture -- print sizes and checksums of all files. The hole of 1 GiB is not read.
picture() {
	(
		cd $MNT && stat -c '%n %s %b' ./* && find . -type f ! -name sparse | sort | xargs sha256sum &&
			xfs_io -r -c 'seek -a -r 0' sparse && tail -c 1M sparse | sha256sum
	)
}

stays() {
	local before

	cd / && before=$(picture) && check_and_mount && cd $MNT && is picture "$before"
}

# Truncation to a shared block waits until the block is not in use. Pages after the new end that are
# used in the meantime keep their blocks until they are not in use, either.
truncated_in_use() {
	fill cut 64 && share cut other 0 0 $PAGE && python3 - <<-END
		import ctypes, mmap, os, threading, time
		class Part(ctypes.Structure):
		    _fields_ = [("start", ctypes.c_void_p), ("len", ctypes.c_size_t)]
		c = ctypes.CDLL(None)
		f = os.open("cut", os.O_RDWR)
		pages = mmap.mmap(f, 64 * $PAGE)
		start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
		def use(page):
		    pages[page * $PAGE]
		    pipe = os.pipe()
		    part = Part(start + page * $PAGE, $PAGE)
		    assert c.vmsplice(pipe[1], ctypes.byref(part), 1, 0) == $PAGE
		    return lambda: os.read(pipe[0], $PAGE)
		end_first = use(0)
		truncation = threading.Thread(target=os.ftruncate, args=(f, 100))
		truncation.start()
		time.sleep(0.2)
		assert truncation.is_alive(), "the shared block is in use"
		end_second = use(5)
		end_first()
		truncation.join(2)
		assert truncation.is_alive(), "page 5 is in use, and its block was freed"
		end_second()
		truncation.join()
		assert os.fstat(f).st_size == 100
		os._exit(0)
	END
}

# Deduplication changes no times, not even those that a mount reads.
deduplicated() {
	local times

	fill one 4 && cp --reflink=never one two && touch -d '2001-02-03 04:05:06' two && sync two &&
		times=$(stat -c '%y %z' two) &&
		xfs_io -c "dedupe one 0 0 $((4 * PAGE))" two | grep -q deduped &&
		is stat -c '%y %z' two "$times" && remount && is stat -c '%y %z' two "$times"
}

# A mount finds shared blocks: ranges that overlap, and a range within one file.
shared_before() {
	local file page

	fill v 64 && share v w $((8 * PAGE)) 0 $((8 * PAGE)) &&
		share v x $((12 * PAGE)) 0 $((8 * PAGE)) && share v v 0 $((64 * PAGE)) $PAGE &&
		cp v w x "$TMP" && remount || return
	while read -r file page; do
		xfs_io -c "pwrite -q -S 1 $((page * PAGE)) 9" "$file" &&
			xfs_io -c "pwrite -q -S 1 $((page * PAGE)) 9" "$TMP/$file" || return
	done <<-'END'
		w 4
		x 1
		v 64
	END
	cmp v "$TMP/v" && cmp w "$TMP/w" && cmp x "$TMP/x"
}

begin 23
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /

check "written data is read back" written
check "sparse files, truncation" sparse
check "fallocate" fallocated
check "fallocate of more than the free space" fallocated_too_much
check "blocks after the end" allocated_behind
check "mappings, with and without MAP_SYNC" mapped
check "MAP_SYNC flushes only when it copies" mapped_synchronously
check "copies share their blocks until they are written to" shared
check "blocks copied in random order form few extents" copied_in_any_order
check "copies of a range" part_shared
check "a copy with a hole at its end" cut_by_copy
check "truncation waits for pages in use" truncated_in_use
check "RWF_NOWAIT allocates nothing" nowait
check "huge pages" mapped_huge
check "a cut into a dirty huge page writes back the rest" cut_huge_page
check "a clone from the middle of a huge page unmaps all of it" cloned_from_huge_page
check "deduplication changes no times" deduplicated
check "fio, write()" fio_runs psync 0
check "fio, O_DIRECT" fio_runs psync 1
check "fio, mappings" fio_runs mmap 0
check "a full device" full
check "all files are unchanged after a mount" stays
check "copies made before a mount share their blocks until they are written to" shared_before
finish
