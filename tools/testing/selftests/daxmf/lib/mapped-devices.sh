# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the tests read DM
#
# Device-mapper, LVM and partitions.

# map NAME [TABLE...] -- make a mapped device. The table is in the arguments, or on standard input.
# Sets DM to the kernel's name of the device.
map() {
	local name=$1

	shift
	if [ $# -gt 0 ]; then
		dmsetup create "$name" --table "$*"
	else
		dmsetup create "$name"
	fi || return
	on_exit unmap "$name"
	dm_name "$name"
}

# reload NAME -- replace the table of a mapped device by the table on standard input.
reload() {
	dmsetup reload "$1" && dmsetup suspend "$1" && dmsetup resume "$1" && settle
}

# linear START COUNT DISK FROM -- print a line of a table; the numbers are in MiB.
linear() {
	echo $(($1 * 2048)) $(($2 * 2048)) linear "/dev/$3" $(($4 * 2048))
}

# swap_halves -- map DISK with its halves swapped, by map().
swap_halves() {
	HALF=$(($(blockdev --getsz "/dev/$DISK") / 2))
	map swapped <<-END
		0 $HALF linear /dev/$DISK $HALF
		$HALF $HALF linear /dev/$DISK 0
	END
}

# in_swapped SECTOR -- print the disk's sector for a sector of the device of swap_halves().
in_swapped() {
	echo $((($1 + HALF) % (2 * HALF)))
}

# make_partition -- make one partition on DISK, and delete it at the end of the test; sets FROM, the
# first sector of the partition.
# shellcheck disable=SC2034 # for the tests
make_partition() {
	printf 'label: gpt\nstart=2M\n' | sfdisk -q --wipe always "/dev/$DISK" &&
		on_exit sfdisk -q --delete "/dev/$DISK" && udevadm settle &&
		FROM=$(cat "/sys/class/block/${DISK}p1/start")
}

# unmap NAME -- remove a mapped device. Settle first, because udev can still have the device open.
unmap() {
	settle && dmsetup remove "$1"
}

dm_name() {
	settle
	DM=$(basename "$(readlink -f "/dev/mapper/$1")")
}

# lvm_quietly COMMAND... -- run a command of LVM without lvmdbusd and dmeventd, which a guest does
# not have.
lvm_quietly() {
	"$@" -qq --yes --config 'activation/monitoring=0 global/notify_dbus=0'
}

# volume_group DISK... -- make the volume group vg, and remove it at the end of the test.
volume_group() {
	lvm_quietly pvcreate "$@" && lvm_quietly vgcreate vg "$@" && on_exit remove_group "$@"
}

remove_group() {
	settle
	lvm_quietly vgremove vg && lvm_quietly pvremove "$@"
}

# volume NAME OPTION... -- make a logical volume in vg; sets DM.
volume() {
	local name=$1

	shift
	lvm_quietly lvcreate -n "$name" -Wn -Zn "$@" vg && dm_name "vg-$name"
}
