#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fallocate() removes ranges from files (FALLOC_FL_COLLAPSE_RANGE), and inserts holes
# (FALLOC_FL_INSERT_RANGE).
#
#   SEED=N	seed of the random numbers [1]

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}

edges() {
	xfs_io -f -c "pwrite -q -S 1 0 4k" -c "pwrite -q -S 2 4k 4k" -c "pwrite -q -S 3 8k 100" f || return
	fails_with "Invalid argument" xfs_io -c "fcollapse 100 4096" f &&
		fails_with "Invalid argument" xfs_io -c "fcollapse 0 100" f &&
		fails_with "Invalid argument" xfs_io -c "fcollapse 4k 8k" f &&
		fails_with "Invalid argument" xfs_io -c "fcollapse 8k 4k" f &&
		fails_with "Invalid argument" xfs_io -c "fcollapse 1m 4k" f &&
		fails_with "Invalid argument" xfs_io -c "finsert 100 4k" f &&
		fails_with "Invalid argument" xfs_io -c "finsert 12k 4k" f &&
		fails_with "File too large" xfs_io -c "finsert 0 0x7ffffffffffff000" f &&
		is stat -c '%s %b' f '8292 24' && xfs_io -c "fcollapse 4k 4k" f && is stat -c '%s %b' f '4196 16' &&
		is sh -c "tail -c 100 f | tr -d '\\3' | wc -c" 0 && xfs_io -c "finsert 4k 8k" f &&
		is stat -c '%s %b' f '12388 16' && is sh -c "tail -c 8292 f | head -c 8192 | tr -d '\\0' | wc -c" 0 &&
		is sh -c "tail -c 100 f | tr -d '\\3' | wc -c" 0
}

# A program stores bytes after the end of the file through a mapping. When the end of the file
# moves, these bytes read as zeroes.
hidden() {
	xfs_io -f -c "pwrite -q -S 1 0 5000" -c "mmap 0 8k" -c "mwrite -S 9 5000 3192" -c "finsert 0 4k" \
		-c "truncate 12k" g && is sh -c "tail -c 3192 g | tr -d '\\0' | wc -c" 0
}

# Blocks after the end must not move beyond the largest offset.
far() {
	xfs_io -f -c "pwrite -q 0 8k" -c "falloc -k 0x7fffffffffffe000 4k" h &&
		fails_with "File too large" xfs_io -c "finsert 0 4k" h && is stat -c '%s %b' h '8192 24' && rm h
}

# shifts SEED -- shift ranges of a mapped file of many extents, some of them shared, 40 times.
shifts() {
	python3 - "$1" <<-'END'
		import ctypes, fcntl, mmap, os, random, struct, sys
		PAGE, COLLAPSE, INSERT, PUNCH = 4096, 8, 32, 3
		FICLONERANGE = 0x4020940d
		seed = int(sys.argv[1])
		print("seed", seed)
		rng = random.Random(seed)
		libc = ctypes.CDLL(None, use_errno=True)
		libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]

		def fallocate(file, mode, start, length):
		    if libc.fallocate(file, mode, start, length):
		        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

		file, other = (os.open(name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("shifted", "other"))
		want = bytearray()
		for page in range(1500):
		    want += struct.pack("I", page) * (PAGE // 4)
		want += b"tail" * 25
		os.pwrite(file, want, 0)
		os.pwrite(other, want, 0)
		for page in range(0, 1500, 3):
		    fallocate(file, PUNCH, page * PAGE, PAGE)
		    want[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
		for page in range(1, 1500, 7):
		    fcntl.ioctl(file, FICLONERANGE, struct.pack("qQQQ", other, page * PAGE, PAGE, page * PAGE))
		    want[page * PAGE:(page + 1) * PAGE] = struct.pack("I", page) * (PAGE // 4)
		for _ in range(40):
		    pages = len(want) // PAGE
		    start, count = rng.randrange(pages - 20), rng.randrange(1, 20)
		    at = rng.randrange(len(want) - 8)
		    with mmap.mmap(file, len(want)) as memory:
		        memory[at:at + 8] = b"shifting"
		        want[at:at + 8] = b"shifting"
		        if rng.random() < 0.5:
		            fallocate(file, COLLAPSE, start * PAGE, count * PAGE)
		            del want[start * PAGE:(start + count) * PAGE]
		        else:
		            fallocate(file, INSERT, start * PAGE, count * PAGE)
		            want[start * PAGE:start * PAGE] = bytes(count * PAGE)
		        size = min(len(want), len(memory))
		        assert memory[:size] == want[:size], "through the mapping"
		    assert os.fstat(file).st_size == len(want)
		    assert os.pread(file, len(want) + 1, 0) == want
		with open("/tmp/wanted", "wb") as saved:
		    saved.write(want)
	END
}

# The journal has room for a few extents only.
many_extents() {
	mendfs_on "$NS" --journal 8 && cd $MNT && on_exit cd / && on_exit rm -f /tmp/wanted &&
		shifts "$SEED" && remount && cmp shifted /tmp/wanted
}

# Extents that are contiguous again become one.
joined() {
	local n

	fill whole 50 && fill apart 50 || return
	for n in {0..24}; do
		xfs_io -c "finsert $((2 * n * PAGE)) 4k" apart || return
	done
	is extent_count apart 25 && remount || return
	for n in {0..24}; do
		xfs_io -c "fcollapse $((n * PAGE)) 4k" apart || return
	done
	is extent_count apart 1 && cmp whole apart && rm whole apart
}

# The owners of a page are found after it was shifted.
owners_follow() {
	cd $MNT && fill shifted 16 && share shifted clone && xfs_io -c "fcollapse 0 8k" shifted &&
		xfs_io -c "finsert 4k 4k" clone &&
		mfchain run --source madvise shifted,offset=8K clone,offset=20K shifted,offset=12K,quiet &&
		rm shifted clone && wait_repaired
}

# has_rest FILE -- check that the file has a hole, then blocks 0, 3, 4 and 6 to 15 of fill().
has_rest() {
	cmp <(head -c $PAGE /dev/zero; fill "$TMP/filled" 16; for page in 0 3 4 {6..15}; do
		dd if="$TMP/filled" bs=$PAGE skip="$page" count=1 status=none
	done) "$1"
}

# A bad page stays bad when it is shifted.
bad_page_follows() {
	fill lost 16 && poison_page lost 5 && cannot_read lost 5 && xfs_io -c "fcollapse 4k 8k" lost &&
		cannot_read lost 3 && dax_read lost 5 && remount && cannot_read lost 3 &&
		xfs_io -c "finsert 0 4k" lost && cannot_read lost 4 && cannot_touch lost 4 &&
		xfs_io -c "fcollapse 16k 4k" lost && is stat -c %b lost 104 &&
		has_rest lost && wait_repaired
}

begin 7
require_ns "$KIND"
check "a file of many extents, and a small journal" with_undo many_extents
require mendfs_on "$NS"
START=$(ns_start "$NS")
cd $MNT || exit
on_exit cd /
check "invalid ranges are refused" edges
check "bytes stored after the end stay hidden" hidden
check "blocks far after the end" far
check "extents that are contiguous again become one" joined
check "owners of shifted pages are signalled" owners_follow
check "bad pages that were shifted" bad_page_follows
finish
