#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A frozen filesystem writes nothing, and starts no repair or eviction by itself. After the thaw,
# the filesystem repairs and evicts.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SIZE=64

sum() {
	dd if="/dev/$DISK" bs=1M count=$SIZE iflag=direct status=none | sha256sum
}

# keep_open FILE -- make a file, start a process that has the file open, and remove the file; sets
# KEEPER.
keep_open() {
	fill "$1" 300 && exec 9<"$1" || return
	sleep 1000 &
	KEEPER=$!
	exec 9<&-
	rm "$1" && sync
}

# While the device is suspended, the process with the removed file ends, and waits in the eviction.
suspended() {
	local before

	map frozen <<<"$(linear 0 $SIZE "$DISK" 0)" && mkfs.mendfs -q -f "/dev/$DM" &&
		mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / && keep_open gone &&
		dmsetup suspend frozen && on_exit dmsetup resume frozen && before=$(sum) || return
	kill "$KEEPER"
	wait_for is_evicting "$KEEPER" && is sum "$before" && dmsetup resume frozen || return
	wait "$KEEPER"
	cd / && unmount && fsck_clean "/dev/$DM"
}

is_evicting() {
	grep -q evict_inode "/proc/$1/stack"
}

thaw() {
	fsfreeze --unfreeze $MNT 2>/dev/null || true
}

# The repair does not start after its usual delay of one second, because the filesystem is frozen.
fails_while_frozen() {
	local block

	mendfs_on "$NS" && cd $MNT && on_exit cd / && read_geometry && fsfreeze --freeze $MNT &&
		on_exit thaw && block=$(metadata 0 0) &&
		poison $((START + block * PAGE)) && is counters "$DISK" "1 1 0 0" && sleep 2 &&
		bad_range "$DISK" $((block * PAGE)) $PAGE && fsfreeze --unfreeze $MNT && wait_repaired &&
		touch after && cd / && unmount && fsck_clean "/dev/$DISK"
}

waits_to_write() {
	local writer

	mendfs_on "$NS" && fsfreeze --freeze $MNT && on_exit thaw || return
	touch $MNT/late &
	writer=$!
	wait_for is_waiting $writer && [ ! -e $MNT/late ] && fsfreeze --unfreeze $MNT &&
		wait $writer && [ -e $MNT/late ] && unmount
}

is_waiting() {
	grep -q percpu_rwsem "/proc/$1/stack"
}

# hold_removed FILE -- start a process that keeps a page of the file in a pipe, and removes the
# file. The first line on file descriptor 8 makes the process close the file. The second line makes
# it release the page.
hold_removed() {
	mkfifo "$TMP/orders" && python3 - "$1" "$TMP/orders" >"$TMP/held" <<-END &
		import ctypes, mmap, os, signal, sys
		signal.signal(signal.SIGBUS, signal.SIG_IGN)
		libc = ctypes.CDLL(None, use_errno=True)
		file = os.open(sys.argv[1], os.O_RDWR)
		memory = mmap.mmap(file, $PAGE)
		memory[0] = 5
		class Iovec(ctypes.Structure):
		    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
		first = ctypes.c_char.from_buffer(memory)
		page = Iovec(ctypes.addressof(first), $PAGE)
		del first
		ends = os.pipe()
		assert libc.vmsplice(ends[1], ctypes.byref(page), 1, 0) == $PAGE
		os.unlink(sys.argv[1])
		print("held", flush=True)
		orders = open(sys.argv[2])
		orders.readline()
		memory.close()
		os.close(file)
		print("closed", flush=True)
		orders.readline()
		os.read(ends[0], $PAGE)
	END
	wait_for grep -q held "$TMP/held" && exec 8>"$TMP/orders"
}

is_revoking() {
	grep -qE 'revoke|fsleep|notify_failure' "/proc/$1/stack"
}

# The removal of the device holds the last reference to a file. The eviction of this file waits
# until the filesystem is thawed.
removed_while_frozen() {
	local unbind

	mendfs_on "$NS" && fill $MNT/gone 16 && hold_removed $MNT/gone && sync &&
		fsfreeze --freeze $MNT && on_exit eval 'thaw_removed 2>/dev/null' || return
	ns_unbind "$NS" &
	unbind=$!
	wait_for is_revoking $unbind && echo >&8 && wait_for grep -q closed "$TMP/held" &&
		echo >&8 && exec 8>&- && wait_for has_ended $unbind && wait $unbind &&
		thaw_removed && unmount && ns_bind "$NS" && DISK=$(ns_disk "$NS") &&
		mount_mendfs "/dev/$DISK" && [ ! -e $MNT/gone ] && unmount && fsck_clean "/dev/$DISK"
}

# fsfreeze cannot thaw it, because fsfreeze first calls stat() on the mount point, which fails
# (EIO).
thaw_removed() {
	python3 -c "import fcntl, os; fcntl.ioctl(os.open('$MNT', os.O_RDONLY), 0xc0045878, 0)" # FITHAW
}

has_ended() {
	[ ! -e "/proc/$1" ]
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
START=$(($(ns_get "$NS" resource)))

check "a suspended mapped device is not written" \
	with_undo suspended
check "failed memory is repaired when the filesystem is thawed" \
	with_undo fails_while_frozen
check "a write waits until the filesystem is thawed" \
	with_undo waits_to_write
check "the device can be removed" \
	with_undo removed_while_frozen
finish
