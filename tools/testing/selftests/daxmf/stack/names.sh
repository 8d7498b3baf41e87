#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is attached follows the device, not its name.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# volume_to_remove -- on A; sets DM.
volume_to_remove() {
	on_exit removed one
	dmsetup create one --table "$(linear 0 100 "$A" 16)" && dm_name one
}

removed() {
	[ ! -e "/dev/mapper/$1" ] || unmap "$1"
}

attach_dm() {
	daxmf stack attach "$DM" && on_exit daxmf stack detach --all
}

# told_once -- the holder of the device DM, of a page of A.
told_once() {
	hold "$DM" && on_exit release && poison $((START + (100 << 20))) && is notified 1
}

is_state() {
	is cat "$STACK/$A/$DM/state" "$1"
}

# A volume goes, and another one gets its name.
volume_anew() {
	local before

	volume_to_remove && attach_dm && is_state attached && dmsetup remove one && is_state stale &&
		settle && before=$DM && map two <<<"$(linear 0 200 "$A" 16)" || return
	[ "$DM" = "$before" ] || fail "$DM is not $before" || return
	is_state stale && daxmf stack list | grep -q "$DM (stale)" && attach_dm && is_state attached &&
		told_once
}

# The same by hand: it is seen that the folder is not that of the new one.
volume_anew_by_hand() {
	volume_to_remove && attach "$A" "$DM" && dmsetup remove one && settle &&
		map two <<<"$(linear 0 200 "$A" 16)" || return
	fails_with "File exists" mkdir "$STACK/$A/$DM" && is_state stale &&
		rmdir "$STACK/$A/$DM" && mkdir "$STACK/$A/$DM" && is_state attached && told_once
}

bind_anew() {
	ns_unbind "$NS" && echo "$NS" >"$ND/drivers/$DRIVER/bind" && settle &&
		is ns_disk "$NS" "$A"
}

# A disk goes and comes, while the volume that was on it stays.
disk_anew() {
	map old <<<"$(linear 0 100 "$A" 16)" && attach_dm && bind_anew && is_state stale &&
		map new <<<"$(linear 0 200 "$A" 16)" && attach_dm && is_state attached && told_once
}

# The volume itself gets the new disk, after it has let go of the old one of that name.
disk_anew_below() {
	map old <<<"$(linear 0 100 "$A" 16)" && attach_dm && bind_anew &&
		reload old <<<"0 $((100 * 2048)) error" && reload old <<<"$(linear 0 100 "$A" 16)" &&
		is_state stale && attach_dm && is_state attached && told_once
}

# A file, and a node of a device by another's name.
by_path() {
	map one <<<"$(linear 0 100 "$A" 16)" && touch "$TMP/$DM" &&
		fails_with "not a block device" daxmf stack attach "$TMP/$DM" &&
		[ ! -e "$STACK/$A" ] || return
	rm "$TMP/$DM" && cp -a "/dev/$DM" "$TMP/$B" && daxmf stack attach "$TMP/$B" &&
		on_exit daxmf stack detach --all && is_state attached
}

# What is left of a disk when its driver's module is gone.
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

# other_in_place NAME OTHER COMMAND... -- in a mount namespace where NAME is the node of OTHER.
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

check "another volume has the name of the one that was attached" \
	clean volume_anew
check "the same, attached by hand" \
	clean volume_anew_by_hand
check "a disk that goes and comes below one volume can have another" \
	clean disk_anew
check "a volume that gets the disk anew" \
	clean disk_anew_below
check "a path is what it leads to" \
	clean by_path
check "what is not there is not attached or detached" \
	clean not_there
check "a name is not that of another device in the caller's namespace" \
	clean other_namespace
check "what is attached can be detached when the driver of its disk is gone" \
	clean driver_is_removed
finish
