#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A namespace of every kind goes away with a mounted filesystem, files mapped and I/O in flight; bound
# again, what was synced is there.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# mounted [OPTION...] -- XFS of one allocation group, as in chain/remove, with a file.
mounted() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") || return
	make_xfs --unsupported -d agcount=1 "/dev/$DISK" && mkdir -p $MNT && mount "$@" "/dev/$DISK" $MNT &&
		on_exit unmount && fill $MNT/file 16 && cp $MNT/file "$TMP/file"
}

# busy -- write to the filesystem and to the disk until they go.
busy() {
	while dd if=/dev/zero of=$MNT/busy bs=64K count=64 oflag=direct status=none; do :; done 2>/dev/null &
	WRITER=$!
	while dd if="/dev/$DISK" of=/dev/null bs=1M count=16 iflag=direct status=none; do :; done 2>/dev/null &
	READER=$!
	wait_for test -s $MNT/busy
}

survives() {
	wait "$WRITER" "$READER"
	fails_with "has no disk" ns_disk "$NS" && timeout $DEADLINE umount $MNT || return
	ns_bind "$NS" && mount "$@" "/dev/$(ns_disk "$NS")" $MNT && cmp "$TMP/file" $MNT/file && unmount
}

with_dax() {
	mounted -o dax=always && fill $MNT/mapped 16 && busy &&
		told unbind $MNT/file,offset=8K $MNT/mapped,late && survives -o dax=always
}

without_dax() {
	mounted && busy && ns_unbind "$NS" && survives
}

# keep FILE -- a process has its first page mapped, which it writes to when it starts and when a file
# says so, and the second one in a pipe, until another file says so.
keep() {
	rm -f "$TMP"/{kept,write,release}
	python3 - "$1" "$TMP" <<-END &
		import ctypes, mmap, os, sys, time
		name, folder = sys.argv[1:]
		def wait_for(file):
		    while not os.path.exists(f"{folder}/{file}"):
		        time.sleep(0.05)
		class Piece(ctypes.Structure):
		    _fields_ = ("start", ctypes.c_void_p), ("size", ctypes.c_size_t)
		file = os.open(name, os.O_RDWR)
		memory = mmap.mmap(file, 2 * $PAGE)
		memory[0] = memory[$PAGE] = memory[0]
		page = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + $PAGE
		pipe = os.pipe()
		assert ctypes.CDLL(None).vmsplice(pipe[1], ctypes.byref(Piece(page, $PAGE)), 1, 0) == $PAGE
		open(f"{folder}/kept", "w")
		wait_for("release")
		assert len(os.read(pipe[0], $PAGE)) == $PAGE
		wait_for("write")
		memory[0] = 1
	END
	KEEPER=$!
	wait_for test -e "$TMP/kept"
}

# ext4 is no holder, and a page is in a pipe.
not_told() {
	local unbinder

	ext4_on "$NS" && fill $MNT/file 16 && cp $MNT/file "$TMP/file" && keep $MNT/file || return
	log_mark "$LOG_MARK: removal"
	ns_unbind "$NS" &
	unbinder=$!
	wait_for log_says "removal of frames .* waits" "$LOG_MARK: removal" >/dev/null &&
		kill -0 $unbinder && touch "$TMP/release" && wait $unbinder && kill -0 "$KEEPER" && touch "$TMP/write" || return
	wait "$KEEPER" 2>/dev/null
	is echo $? $((128 + 7)) && unmount && ns_bind "$NS" &&
		mount -o dax=always "/dev/$(ns_disk "$NS")" $MNT && cmp "$TMP/file" $MNT/file && unmount
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_labels
require label $((128 << 20)) $((16 << 20))
on_exit unlabel
require make_fsdax "$NS" pmem
check "fsdax" \
	clean with_dax
check "fsdax, whose pages ext4 and a pipe have" \
	clean not_told
require make_sector "$NS"
check "sector" \
	clean without_dax
require unlabel
require label $(((128 << 20) - PAGE)) $PAGE
check "raw, not aligned" \
	clean without_dax
finish
