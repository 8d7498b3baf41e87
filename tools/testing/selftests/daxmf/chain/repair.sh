#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Without DAX, "daxmf repair" writes cached pages back over bad blocks, and lists the pages that are
# not cached. The cases are: XFS on a partition, ext4 on a mapped device, and XFS with DAX on the
# disk.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# --- Bad pages ---

in_disk() { # sector
	echo "$1"
}

in_partition() { # sector
	echo $(($1 + FROM))
}

# Overwrite the page on the device first, so that only the page cache has its data.
add_bad() { # file, page
	local sector

	sector=$("$IN_DISK" "$(file_sector "$1" "$2")") &&
		disk_page if=/dev/urandom of="/dev/$DISK" seek="$sector" oflag=direct &&
		echo "$sector 8" >"/sys/block/$DISK/badblocks"
}

all_is_good() {
	is bad_blocks ''
}

# new FILE PAGES -- make a file, on the device and in the page cache.
new() {
	fill "$1" "$2" && cat "$1" >/dev/null
}

# drop_cache FILE -- drop the pages of the file from the page cache.
drop_cache() {
	sync "$1" && dd if="$1" iflag=nocache count=0 status=none
}

# on_device FILE -- check that the device has the data of fill().
on_device() {
	drop_cache "$1" && same_except "$1" -1
}

# --- The output ---

# repair STATUS [LINE...] -- check that "daxmf repair" exits with this status, and that its table
# has these lines, with one space between columns.
repair() {
	local wanted=$1 status=0

	shift
	daxmf repair ${OPTION:+"$OPTION"} $MNT >"$TMP/report" 2>"$TMP/errors" || status=$?
	cat "$TMP/report" "$TMP/errors"
	[ $status = "$wanted" ] || fail "the status is $status" || return
	printf '%s\n' "$@" | sed '/^$/d' >"$TMP/wanted"
	sed '1{/^STATE/d};$d' "$TMP/report" | tr -s ' ' | diff "$TMP/wanted" -
}

# in_json EXPRESSION -- check that the expression is true for the JSON report, r.
in_json() {
	daxmf repair --json $MNT >"$TMP/json"
	cat "$TMP/json" && json_is repair <"$TMP/json" || return
	python3 -c "import json; r = json.load(open('$TMP/json')); assert $1, r"
}

# --- Cases ---

nothing_is_bad() {
	repair 0 && grep -qF ": no bad ranges" "$TMP/report"
}

cached() {
	local before

	new cached 16 && add_bad cached 5 && add_bad cached 6 && before=$(stat -c %Y.%Z cached) &&
		OPTION=--dry-run repair 0 "repairable 0x5000 0x2000 $MNT/cached" &&
		! all_is_good >/dev/null &&
		repair 0 "repaired 0x5000 0x2000 $MNT/cached" && all_is_good && on_device cached &&
		if [ "$FS" = xfs ]; then is stat -c %Y.%Z cached "$before"; fi
}

# Two pages of the file are cached, but not the bad ones.
not_cached() {
	new lost 16 && drop_cache lost && add_bad lost 5 && add_bad lost 9 &&
		dd if=lost of=/dev/null bs=$PAGE count=2 status=none &&
		repair 3 "lost 0x5000 0x1000 $MNT/lost (not in the page cache)" \
			"lost 0x9000 0x1000 $MNT/lost (not in the page cache)" &&
		! all_is_good >/dev/null &&
		in_json "r['bytes']['lost'] == 8192 and r['ranges'][0]['offset'] == 0x5000" &&
		fill other 16 && dd if=other of=lost bs=$PAGE conv=notrunc,fsync status=none &&
		all_is_good
}

# The file does not grow, and its holes stay holes, although one folio contains holes and data.
sparse() {
	local before

	fill piece 4 && dd if=piece of=sparse bs=$PAGE seek=20 status=none &&
		truncate -s $((23 * PAGE + 100)) sparse && drop_cache sparse && sha1sum sparse >"$TMP/sum" &&
		before=$(stat -c '%b %s' sparse) && add_bad sparse 21 && add_bad sparse 23 &&
		repair 0 "repaired 0x15000 0x1000 $MNT/sparse" \
			"repaired 0x17000 0x1000 $MNT/sparse" && all_is_good && drop_cache sparse &&
		is stat -c '%b %s' sparse "$before" && sha1sum -c --quiet "$TMP/sum"
}

# The file has no name any more, but is open.
deleted() {
	local status=0 inode

	new deleted 16 && inode=$(stat -c %i deleted) && add_bad deleted 3 && exec 3<deleted &&
		rm deleted || return
	repair 0 "repaired 0x3000 0x1000 inode $inode" && all_is_good && on_device /proc/self/fd/3 ||
		status=1
	exec 3<&-
	return $status
}

# The name has a newline, and a byte that is not UTF-8.
hostile_name() {
	local name=$'a\nb\xff'

	new "$name" 4 && add_bad "$name" 1 &&
		in_json "bytes(r['ranges'][0]['path']) == b'$MNT/a\nb\xff'" && all_is_good &&
		add_bad "$name" 1 && repair 0 "repaired 0x1000 0x1000 $MNT/a\\nb\\xff" &&
		on_device "$name" && rm "$name"
}

# The repair of one file fails with a reason, and other files are repaired.
cannot_write() {
	new fixed 4 && new other 4 && add_bad fixed 1 && add_bad other 1 && chattr +i fixed &&
		repair 1 "failed 0x1000 0x1000 $MNT/fixed" "repaired 0x1000 0x1000 $MNT/other" &&
		grep -qF "daxmf: $MNT/fixed: the file is immutable" "$TMP/errors" &&
		chattr -i fixed && repair 0 "repaired 0x1000 0x1000 $MNT/fixed" && on_device fixed
}

executed() {
	local status=0

	cp /bin/sleep sleep && sync && { ./sleep 1000 & } && wait_for grep -q sleep /proc/$!/comm &&
		add_bad sleep 0 &&
		repair 1 "failed 0x0 0x1000 $MNT/sleep" &&
		grep -qF "daxmf: $MNT/sleep: the file is executed" "$TMP/errors" || status=1
	kill $! && wait $!
	repair 0 "repaired 0x0 0x1000 $MNT/sleep" && drop_cache sleep && cmp sleep /bin/sleep && return $status
}

# Only a search of all files finds the owner, and a file with a lease cannot be searched. The other
# files are repaired.
leased() {
	new leased 4 && new fixed 4 && add_bad leased 1 && add_bad fixed 1 && hold_lease leased || return
	fails_with "daxmf: $MNT/leased: not searched: a process has a lease" \
		timeout $DEADLINE daxmf repair $MNT && on_device fixed && end_process "$LEASE" &&
		repair 0 "repaired 0x1000 0x1000 $MNT/leased" && all_is_good && on_device leased
}

# Two files share the bad block. The repair writes the page of each file to a new block of this
# file.
reflink() {
	new shared 16 && share shared clone && cat clone >/dev/null && add_bad shared 5 &&
		repair 0 "repaired 0x5000 0x1000 $MNT/clone" "repaired 0x5000 0x1000 $MNT/shared" &&
		all_is_good && on_device shared && on_device clone
}

# others NOTE -- check that metadata in the first page is listed with NOTE and not repaired, and
# that free space is listed as free.
others() {
	local sector

	sector=$("$IN_DISK" 0)
	disk_page if="/dev/$DISK" of="$TMP/first" skip="$sector" iflag=direct &&
		echo "$sector 8" >"/sys/block/$DISK/badblocks" &&
		repair 3 "metadata 0x0 0x1000 $SOURCE ($1)" &&
		disk_page if="$TMP/first" of="/dev/$DISK" seek="$sector" oflag=direct &&
		all_is_good &&
		new free 16 && add_bad free 2 && rm free && sync &&
		wait_for in_json "{x['state'] for x in r['ranges']} == {'free'}" &&
		daxmf repair $MNT && clear_bad_blocks "$DISK" && all_is_good
}

disk_page() { # operand of dd...
	dd bs=512 count=8 conv=notrunc status=none "$@"
}

not_root() {
	fails_with "needs root" setpriv --reuid 65534 --clear-groups daxmf repair $MNT
}

# The argument is the device of the filesystem, or a bind mount of a folder.
other_names() {
	mkdir -p "$TMP/bind" part && new part/file 4 && add_bad part/file 1 &&
		daxmf repair --dry-run "$SOURCE" | grep -F "$MNT/part/file" &&
		mount --bind -o ro part "$TMP/bind" && on_exit umount "$TMP/bind" &&
		daxmf repair "$TMP/bind" | grep -F "$MNT/part/file" && all_is_good &&
		fails_with "neither a mount point nor" daxmf repair $MNT/part && hidden_mount
}

# The path is a mount point in mountinfo, but now a folder of another filesystem.
hidden_mount() {
	mkdir -p "$TMP/top/below" && mount --bind part "$TMP/top/below" &&
		on_exit umount "$TMP/top/below" && mount -t tmpfs none "$TMP/top" &&
		on_exit umount "$TMP/top" && mkdir "$TMP/top/below" &&
		fails_with "another mount hides it" daxmf repair "$TMP/top/below"
}

# mount_plain DEVICE -- mount without DAX, and change to MNT; sets SOURCE.
mount_plain() {
	mkdir -p $MNT && mount "$1" $MNT && on_exit unmount && cd $MNT && on_exit cd / &&
		SOURCE=$(findmnt -no SOURCE $MNT)
}

each_filesystem() {
	check "$FS: nothing is bad" nothing_is_bad
	check "$FS: cached pages are written back" cached
	check "$FS: pages that are not cached are listed as lost" not_cached
	check "$FS: holes and the file size stay" sparse
	check "$FS: an open file without a name" deleted
	check "$FS: a hostile name" hostile_name
	check "$FS: a file that must not be changed" cannot_write
	check "$FS: a running program" executed
	check "$FS: metadata and free space" others superblock
	check "$FS: the device, and a bind mount" other_names
}

xfs_on_partition() {
	FS=xfs IN_DISK=in_partition
	require make_partition
	require make_xfs "/dev/${DISK}p1"
	require mount_plain "/dev/${DISK}p1"
	each_filesystem
	check "xfs: all owners of a shared page" reflink
	check "xfs: an ordinary user is refused" not_root
}

ext4_on_mapped() {
	FS=ext4 IN_DISK=in_swapped
	require swap_halves
	require make_ext4 "/dev/$DM"
	require mount_plain "/dev/$DM"
	each_filesystem
	check "ext4: a file with a lease" with_undo leased
}

with_dax() {
	IN_DISK=in_disk
	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK" && cd $MNT && on_exit cd / && fill dax 16 &&
		add_bad dax 5 &&
		repair 3 "lost 0x5000 0x1000 $MNT/dax (a file with DAX is not in the page cache)" &&
		clear_bad_blocks "$DISK"
}

begin 24
require_disk "$KIND"
with_undo xfs_on_partition
with_undo ext4_on_mapped
check "xfs: a file with DAX" with_undo with_dax
finish
