#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An attachment belongs to a device, not to the device's name.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# volume_to_remove -- make a volume on A that the case can remove; sets DM.
volume_to_remove() {
	on_exit remove_if_there one
	dmsetup create one --table "$(linear 0 100 "$A" 16)" && dm_name one
}

remove_if_there() {
	[ ! -e "/dev/mapper/$1" ] || unmap "$1"
}

attach_dm() {
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all
}

# notified_once -- make a page of A fail, and check that the holder of DM is notified once.
notified_once() {
	hold "$DM" && on_exit release && poison $((START + (100 << 20))) && is notified 1
}

is_state() {
	is cat "$STACK/$A/$DM/state" "$1"
}

# A volume is removed, and another one gets its name.
new_volume() {
	local before

	volume_to_remove && attach_dm && is_state attached && dmsetup remove one && is_state stale &&
		settle && before=$DM && map two <<<"$(linear 0 200 "$A" 16)" || return
	[ "$DM" = "$before" ] || fail "$DM is not $before" || return
	is_state stale && daxmf stack list | grep -q "$DM (stale)" && attach_dm && is_state attached &&
		notified_once
}

# The same without "daxmf stack": the folder in configfs belongs to the old volume, and is stale.
new_volume_by_hand() {
	volume_to_remove && attach "$A" "$DM" && dmsetup remove one && settle &&
		map two <<<"$(linear 0 200 "$A" 16)" || return
	fails_with "File exists" mkdir "$STACK/$A/$DM" && is_state stale &&
		rmdir "$STACK/$A/$DM" && mkdir "$STACK/$A/$DM" && is_state attached && notified_once
}

bind_again() {
	ns_unbind "$NS" && echo "$NS" >"$ND/drivers/$DRIVER/bind" && settle &&
		is ns_disk "$NS" "$A"
}

# A disk is unbound and bound again, while the volume on the old disk stays.
new_disk() {
	map old <<<"$(linear 0 100 "$A" 16)" && attach_dm && bind_again && is_state stale &&
		map new <<<"$(linear 0 200 "$A" 16)" && attach_dm && is_state attached && notified_once
}

# A disk is unbound and bound again. The table of the volume on the old disk is replaced, first by a
# table without a disk, then by a table with the new disk, which has the same name.
new_disk_below() {
	map old <<<"$(linear 0 100 "$A" 16)" && attach_dm && bind_again &&
		reload old <<<"0 $((100 * 2048)) error" && reload old <<<"$(linear 0 100 "$A" 16)" &&
		is_state stale && attach_dm && is_state attached && notified_once
}

# A path names the device of its node: a file that has only the name of a device is refused, and a
# node with another name is accepted.
by_path() {
	map one <<<"$(linear 0 100 "$A" 16)" && touch "$TMP/$DM" &&
		fails_with "not a block device" daxmf stack attach "$TMP/$DM" &&
		[ ! -e "$STACK/$A" ] || return
	rm "$TMP/$DM" && cp -a "/dev/$DM" "$TMP/$B" && daxmf stack attach "$TMP/$B" &&
		on_exit daxmf stack detach --all && is_state attached
}

# The attachment is still there after the driver's module was unloaded, and can be detached.
driver_is_removed() {
	volume_to_remove && attach_dm && dmsetup remove one && unload daxmf_pmem && is_state stale &&
		daxmf stack detach "$DM" && is daxmf stack list --json '[]'
}

not_there() {
	map one <<<"$(linear 0 100 "$A" 16)" && attach_dm || return
	fails_with "typo: not attached" daxmf stack detach typo &&
		fails_with "/dev/typo: not attached" daxmf stack detach /dev/typo &&
		fails_with "..: not a block device" daxmf stack attach .. &&
		fails_with "typo: not a block device" daxmf stack attach typo &&
		fails_with "$A: not attached" daxmf stack detach "$A" && is_state attached &&
		daxmf stack detach "/dev/mapper/one" &&
		fails_with "/dev/mapper/one: not attached" daxmf stack detach /dev/mapper/one
}

# other_in_place NAME OTHER COMMAND... -- run the command in a mount namespace where /dev/NAME is
# the node of OTHER.
other_in_place() {
	# shellcheck disable=SC2016 # for the other shell
	unshare -m sh -c 'mount -c --bind "/dev/$2" "/dev/$1" && shift 2 && exec "$@"' sh "$@"
}

other_namespace() {
	map one <<<"$(linear 0 100 "$A" 16)" || return
	fails_with "No such file" other_in_place "$A" "$B" mkdir "$STACK/$A" &&
		mkdir "$STACK/$A" && on_exit rmdir "$STACK/$A" &&
		fails_with "No such file" other_in_place "$DM" "$A" mkdir "$STACK/$A/$DM" &&
		fails_with "No such file" other_in_place "$A" "$B" mkdir "$STACK/$A/$DM" &&
		ln -s "$A" /dev/alias && on_exit rm /dev/alias &&
		fails_with "No such file" mkdir "$STACK/alias"
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "another volume gets the name of an attached one" \
	with_undo new_volume
check "another volume gets the name of a volume that mkdir attached" \
	with_undo new_volume_by_hand
check "a disk that was bound again can have another volume" \
	with_undo new_disk
check "a volume gets the disk that was bound again" \
	with_undo new_disk_below
check "a path stands for the device of its node" \
	with_undo by_path
check "unknown names are not attached or detached" \
	with_undo not_there
check "a name must be the same device in the caller's mount namespace" \
	with_undo other_namespace
check "a volume can be detached after the disk's driver was unloaded" \
	with_undo driver_is_removed
finish
