#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What programs ask of a filesystem: its label.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# label [NEW] -- what it is, or set it.
label() {
	python3 - $MNT "$@" <<-'END'
		import fcntl, os, sys
		GET, SET = 0x81009431, 0x41009432
		directory = os.open(sys.argv[1], os.O_RDONLY)
		if len(sys.argv) > 2:
		    fcntl.ioctl(directory, SET, os.fsencode(sys.argv[2]).ljust(256, b"\0"))
		else:
		    print(fcntl.ioctl(directory, GET, bytes(256)).rstrip(b"\0").decode())
	END
}

# label_on_media LABEL
label_on_media() {
	fsck.mendfs -n --json "/dev/$DISK" | grep -q "\"label\":\"$1\""
}

labels() {
	local longest=0123456789abcdef0123456789abcdef

	mendfs_on "$NS" -L first && is label first && label second && is label second &&
		remount && is label second && label $longest && is label $longest &&
		fails_with "Invalid argument" label ${longest}0 && is label $longest && label "" && is label "" &&
		label last && fails_with "Operation not permitted" as_user label none &&
		is as_user label last && mount -o remount,ro $MNT &&
		fails_with "Read-only file system" label none && cd / && unmount &&
		mend_clean "/dev/$DISK" && label_on_media last
}

# as_user COMMAND... -- as an ordinary one; a function, too.
as_user() {
	# shellcheck disable=SC2163 # it has the name
	export -f "$1"
	MNT=$MNT setpriv --reuid 1000 --regid 1000 --clear-groups bash -c '"$@"' bash "$@"
}

# save_superblock COPY FILE, restore_superblock COPY FILE
save_superblock() {
	dd if="/dev/$DISK" of="$2" bs=$PAGE skip="$(superblock "$1")" count=1 iflag=direct status=none
}

restore_superblock() {
	dd if="$2" of="/dev/$DISK" bs=$PAGE seek="$(superblock "$1")" count=1 oflag=direct conv=notrunc \
		status=none
}

# The machine stops when the first copy has the new label and the second the old one.
label_interrupted() {
	mendfs_on "$NS" -L old && geometry && save_superblock 1 "$TMP/old" && label new && unmount &&
		restore_superblock 1 "$TMP/old" && mend_clean "/dev/$DISK" && label_on_media new &&
		mount_mendfs "/dev/$DISK" && is label new && unmount &&
		save_superblock 0 "$TMP/first" && save_superblock 1 "$TMP/second" &&
		cmp "$TMP/first" "$TMP/second" || return
	# fsck does the same.
	restore_superblock 1 "$TMP/old" && fsck.mendfs -y "/dev/$DISK"
	save_superblock 1 "$TMP/second" && cmp "$TMP/first" "$TMP/second"
}

begin 2
require_ns "$KIND"
check "labels" clean labels
check "a label that was set halfway" clean label_interrupted
finish
