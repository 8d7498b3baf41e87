#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The device is removed under a mounted filesystem: processes that map a file are signalled, files
# can be neither read nor changed, and the filesystem can be unmounted.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

HUGE=$((2 << 20))

make_files() {
	fill shared 16 && share shared clone && fill other 16 && fallocate -l $HUGE huge &&
		fill kept 64 && cp -r /usr/share/common-licenses docs && sha256sum docs/* >sums &&
		sync && xfs_io -c 'mmap 0 256k' -c 'mwrite -S 5 100k 50k' kept && sha256sum kept >>sums
}

is_over() {
	log_says "mendfs: $DISK: device is about to be removed, shutting down" &&
		fails_with "Input/output error" cat $MNT/sums &&
		fails_with "Input/output error" touch $MNT/new &&
		fails_with "Input/output error" ls $MNT
}

unmount_in_time() {
	timeout $DEADLINE umount $MNT
}

comes_back() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && fsck_clean "/dev/$DISK" &&
		mount_mendfs "/dev/$DISK" && (cd $MNT && sha256sum --quiet -c sums)
}

# work -- change and map files until an operation fails; print the number of rounds.
work() {
	local i

	for ((i = 0; ; i++)); do
		if ! { fill work.$i 300 && share work.$i copy.$i && mkdir dir.$i && mv copy.$i dir.$i &&
			rm work.$i && xfs_io -c 'mmap 0 1m' -c 'mwrite -S 5 0 1m' dir.$i/copy.$i; }; then
			break
		fi
	done 2>/dev/null
	echo $i
}

under_load() {
	local jobs=() i

	cd $MNT && rm -rf load.* || return
	for i in 1 2 3; do
		mkdir load.$i && (cd load.$i && work >"$TMP/done.$i") &
		jobs+=($!)
	done
	wait_for ls load.{1,2,3}/dir.1 && cd / && ns_unbind "$NS" && wait "${jobs[@]}" &&
		unmount_in_time && comes_back && cat "$TMP"/done.*
}

# hold_page -- start a process that keeps a page of a file in a pipe until the FIFO let-go is
# opened.
hold_page() {
	mkfifo "$TMP/let-go" && python3 - "$MNT/other" "$TMP/let-go" >"$TMP/held" <<-END &
		import ctypes, mmap, os, signal, sys
		signal.signal(signal.SIGBUS, signal.SIG_IGN)
		libc = ctypes.CDLL(None, use_errno=True)
		memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), $PAGE)
		memory[0] = 5
		class Iovec(ctypes.Structure):
		    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
		page = Iovec(ctypes.addressof(ctypes.c_char.from_buffer(memory)), $PAGE)
		ends = os.pipe()
		assert libc.vmsplice(ends[1], ctypes.byref(page), 1, 0) == $PAGE
		print("held", flush=True)
		open(sys.argv[2]).read()
		print("let go", flush=True)
		os.read(ends[0], $PAGE)
	END
	wait_for grep -q held "$TMP/held"
}

is_waiting() {
	grep -q . "/proc/$1/stack" && grep -qE 'revoke|fsleep|notify_failure' "/proc/$1/stack"
}

# The removal waits for memory that is in use.
waits_for_users() {
	local job

	hold_page || return
	ns_unbind "$NS" &
	job=$!
	wait_for is_waiting $job && ! grep "let go" "$TMP/held" && [ -e "/sys/block/$DISK" ] &&
		echo >"$TMP/let-go" && wait $job && grep -q "let go" "$TMP/held" && unmount_in_time &&
		comes_back
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
require make_files
require cd /

check "every process with a mapping is signalled" \
	owners_signalled unbind $MNT/shared,offset=8K $MNT/clone,offset=8K \
	$MNT/huge,write,length=$HUGE,lsb=21 $MNT/other,late
check "files can be neither read nor changed" is_over
check "the filesystem can be unmounted" unmount_in_time
check "the namespace has no driver and no disk" fails_with "has no disk" ns_disk "$NS"
check "the namespace is bound again, and all data is there, also unsynced data" comes_back
check "removal under load" under_load
check "removal waits for a page that is in use" waits_for_users
check "removal under load again" under_load
finish
