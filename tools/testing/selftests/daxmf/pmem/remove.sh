#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces of several kinds are removed under a mounted filesystem, with mapped files and I/O in
# flight. After they are bound again, synced data is there.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# mounted [OPTION...] -- make and mount XFS, and write a file. XFS has one allocation group, see
# chain/remove.
mounted() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") || return
	make_xfs --unsupported -d agcount=1 "/dev/$DISK" && mkdir -p $MNT && mount "$@" "/dev/$DISK" $MNT &&
		on_exit unmount && fill $MNT/file 16 && cp $MNT/file "$TMP/file"
}

# busy -- start processes that write to the filesystem and read from the disk until an error; sets
# WRITER and READER.
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
		owners_signalled unbind $MNT/file,offset=8K $MNT/mapped,late && survives -o dax=always
}

without_dax() {
	mounted && busy && ns_unbind "$NS" && survives
}

# keep FILE -- start a process that maps the first page of the file, and keeps the second page in a
# pipe until the file "release" exists. The process writes to the first page at its start, and again
# when the file "write" exists. Sets KEEPER.
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

# ext4 is not a holder. The removal waits for the page in the pipe.
without_holder() {
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
require create_labelled $((128 << 20)) $((16 << 20))
on_exit delete_labelled
require make_fsdax "$NS" pmem
check "fsdax" \
	with_undo with_dax
check "fsdax, with pages in ext4 and in a pipe" \
	with_undo without_holder
require make_sector "$NS"
check "sector" \
	with_undo without_dax
require delete_labelled
require create_labelled $(((128 << 20) - PAGE)) $PAGE
check "raw, not aligned" \
	with_undo without_dax
finish
