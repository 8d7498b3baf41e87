#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# FS_IOC_SHUTDOWN: files can be neither read nor changed afterwards, and durable data is there after
# the next mount.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# shutdown FLAGS [COMMAND...] -- shut the filesystem down with these flags. COMMAND runs the
# program, for example as another user.
shutdown() {
	"${@:2}" python3 - "$1" $MNT <<-'END'
		import fcntl, os, struct, sys
		SHUTDOWN = 0x8004587d
		directory = os.open(sys.argv[2], os.O_RDONLY)
		fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", int(sys.argv[1])))
	END
}

# all_fail -- check that each line of standard input, a command, fails with EIO.
all_fail() {
	local line

	while read -r line; do
		fails_with "Input/output error" sh -c "$line" || return
	done
}

# Every operation that calls the filesystem fails, and so does an access through a mapping.
nothing_works() {
	all_fail <<-'END' && fails_with BUS_ADRERR can_touch open 1 &&
		ls .
		cat open
		cat other
		dd if=/dev/zero of=open bs=1 count=1 conv=notrunc
		mkdir new
		ln open new
		ln -s open new
		mv open new
		rm open
		chmod 600 open
		truncate -s 0 open
		fallocate -p -o 0 -l 4096 open
		setfattr -n user.a -v b open
		sync open
		stat open
	END
		fails_with BUS_ADRERR can_touch open 1 write
}

shut_down() {
	mendfs_on "$NS" && cd $MNT && on_exit cd / && fill open 16 && fill other 16 && exec 9<open || return
	log_mark "shutdown $1" && shutdown "$1" && log_says "mendfs: .*shutting down" "shutdown $1" &&
		nothing_works && shutdown "$1"
	local status=$?

	exec 9<&-
	[ $status = 0 ] && cd / && unmount && fsck_clean "/dev/$DISK" && mount_mendfs "/dev/$DISK" && cd $MNT &&
		same_except open -1 && same_except other -1 && is sh -c 'echo *' "open other" && cd / && unmount
}

refused() {
	mendfs_on "$NS" && fails_with "Invalid argument" shutdown 3 &&
		fails_with "Operation not permitted" shutdown 2 setpriv --reuid 1000 --clear-groups &&
		touch $MNT/works && unmount
}

# After a shutdown under load, synced data is there, and the filesystem has no damage.
under_load() {
	local how=$1 seed job status=0
	local -a jobs=()

	mendfs_on "$NS" && fill $MNT/synced 100 || return
	for seed in 1 2 3; do
		fsmodel stress --seed $seed --seconds 60 $MNT >"$TMP/stress.$seed" 2>&1 &
		jobs+=($!)
	done
	wait_for has_worked && shutdown "$how" || status=1
	# The processes end with errors.
	for job in "${jobs[@]}"; do
		! wait "$job" || status=1
	done
	[ $status = 0 ] && unmount && fsck_clean "/dev/$DISK" && mount_mendfs "/dev/$DISK" &&
		cd $MNT && same_except synced -1 && touch new
	status=$?
	cd / && unmount && return $status
}

has_worked() {
	[ "$(find $MNT | wc -l)" -gt 20 ]
}

# thaw -- thaw the filesystem. fsfreeze cannot, because it first calls stat() on the directory,
# which fails.
thaw() {
	python3 -c 'import fcntl, os, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0xc0045878)' $MNT
}

# A frozen filesystem that was shut down can be thawed.
frozen() {
	mendfs_on "$NS" && fsfreeze --freeze $MNT && shutdown 0 && thaw &&
		fails_with "Input/output error" touch $MNT/new && unmount && fsck_clean "/dev/$DISK"
}

begin 7
require_ns "$KIND"
check "shutdown makes all writes durable" with_undo shut_down 0
check "shutdown makes all metadata changes durable" with_undo shut_down 1
check "shutdown makes nothing durable" with_undo shut_down 2
check "other flags and ordinary users are refused" with_undo refused
check "shutdown under load, with all made durable" with_undo under_load 0
check "shutdown under load, with nothing made durable" with_undo under_load 2
check "shutdown of a frozen filesystem" with_undo frozen
finish
