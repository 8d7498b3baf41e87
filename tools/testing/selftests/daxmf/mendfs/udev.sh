#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# With the udev rule, a filesystem can be mounted by its UUID and by its label, also after a change
# of UUID and label.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

RULE=/run/udev/rules.d/61-mendfs.rules
FIRST=12345678-0000-4000-8000-000000000001
SECOND=12345678-0000-4000-8000-000000000002

install_rule() {
	mkdir -p /run/udev/rules.d && ln -sf "$(command -v mendfs)" /usr/sbin/mendfs &&
		cp /daxmf/tools/mendfs/61-mendfs.rules $RULE && udevadm control --reload &&
		on_exit remove_rule
}

remove_rule() {
	rm -f $RULE && udevadm control --reload
}

make() {
	mkfs.mendfs -q -f -U $FIRST -L 'my data' "/dev/$DISK" && settle
}

# mounts TAG -- mount by a tag, and check the device. udev notices a write to the device only some
# time later, so "udevadm settle" alone can return too early. Wait for the link that udev makes.
mounts() {
	local link

	link=/dev/disk/$(sed 's/^UUID=/by-uuid\//; s/^LABEL=/by-label\//; s/ /\\x20/g' <<<"$1")
	udevadm wait --timeout=60 --settle "$link" &&
		mkdir -p $MNT && modprobe mendfs && mount -t mendfs "$1" $MNT &&
		is findmnt -n -o SOURCE $MNT "/dev/$DISK" && unmount
}

found() {
	make && mounts UUID=$FIRST && mounts 'LABEL=my data'
}

renamed() {
	make && mendfs uuid "/dev/$DISK" $SECOND && mendfs label "/dev/$DISK" other &&
		mounts UUID=$SECOND && mounts LABEL=other &&
		udevadm wait --timeout=60 --removed /dev/disk/by-uuid/$FIRST '/dev/disk/by-label/my\x20data' &&
		is mendfs uuid "/dev/$DISK" $SECOND && is mendfs label "/dev/$DISK" other &&
		fsck_clean "/dev/$DISK"
}

# The machine crashes between the writes of the two superblocks: the first superblock is valid, and
# the next mount writes the second. Trigger udev, because udev can miss a write while it handles an
# earlier write.
interrupted() {
	make && dd if="/dev/$DISK" of="$TMP/first" bs=$PAGE count=1 iflag=direct status=none &&
		mendfs uuid "/dev/$DISK" $SECOND && mendfs label "/dev/$DISK" '' &&
		dd if="$TMP/first" of="/dev/$DISK" bs=$PAGE count=1 oflag=direct conv=notrunc \
			status=none && is mendfs uuid "/dev/$DISK" $FIRST &&
		fsck.mendfs -n "/dev/$DISK" && udevadm trigger --action=change --settle "/dev/$DISK" &&
		mounts UUID=$FIRST &&
		is same_copies 0 && fsck_clean "/dev/$DISK"
}

# Compare the two superblocks, and print the status of cmp. The differences go to standard error.
same_copies() {
	local last=$(($(blockdev --getsize64 "/dev/$DISK") / PAGE - 1))

	cmp -n $PAGE -i "0:$((last * PAGE))" "/dev/$DISK" "/dev/$DISK" >&2
	echo $?
}

# A label cannot add properties to udev's database.
hostile() {
	mkfs.mendfs -q -f -U $FIRST -L $'x\nID_FS_TYPE=ext4\n../y' "/dev/$DISK" &&
		udevadm wait --timeout=60 --settle '/dev/disk/by-label/x\x0aID_FS_TYPE=ext4\x0a..\x2fy' &&
		udevadm info --query=property "/dev/$DISK" >"$TMP/properties" &&
		grep -qx ID_FS_TYPE=mendfs "$TMP/properties" &&
		grep -qxF 'ID_FS_LABEL_ENC=x\x0aID_FS_TYPE=ext4\x0a..\x2fy' "$TMP/properties"
}

in_use() {
	make && mount_mendfs "/dev/$DISK" &&
		fails_with "in use" mendfs uuid "/dev/$DISK" $SECOND &&
		fails_with "in use" mendfs label "/dev/$DISK" other &&
		mendfs label $MNT other && is mendfs label $MNT other && unmount &&
		is mendfs label "/dev/$DISK" other && fsck_clean "/dev/$DISK"
}

nothing_there() {
	dd if=/dev/zero of="/dev/$DISK" bs=1M oflag=direct conv=notrunc status=none 2>/dev/null
	fails_with "no superblock" mendfs show "/dev/$DISK" &&
		fails_with "no superblock" mendfs label "/dev/$DISK" other &&
		! mendfs show --udev "/dev/$DISK" >"$TMP/said" 2>&1 && [ ! -s "$TMP/said" ]
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
require install_rule

check "a filesystem is mounted by UUID and label" \
	found
check "a new UUID and label are found at once" \
	renamed
check "the first superblock is valid after an interrupted change" \
	interrupted
check "a hostile label is escaped" \
	hostile
check "only the label of a mounted filesystem can be set" \
	in_use
check "a device without a filesystem is refused" \
	nothing_there
finish
