#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Superblock, journal and metadata in memory that has failed: mended from memory, or done without,
# or the end of it.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# fails BLOCK...
fails() {
	local block

	for block; do
		poison $((START + block * PAGE)) || return
	done
}

# goes_on -- what there is can be read, and changed.
goes_on() {
	COUNT=$((${COUNT:-0} + 1))
	mkdir dir.$COUNT && echo text >dir.$COUNT/file && ln dir.$COUNT/file link.$COUNT &&
		is cat link.$COUNT text && has_all
}

# has_all -- all that goes_on() has made.
has_all() {
	local file text count=0

	for file in dir.*/file link.*; do
		read -r text <"$file" && [ "$text" = text ] || fail "$file: '$text'" || return
		count=$((count + 1))
	done
	[ $count = $((2 * COUNT)) ] || fail "$count of $((2 * COUNT)) are there"
}

# has_grown -- there is more metadata, from the data.
has_grown() {
	mkdir many && python3 - <<-END && is sh -c 'ls many | wc -l' 3000 && chunk 0 0 >/dev/null
		import os
		for n in range(3000):
		    os.mknod(f"many/{n}")
	END
}

# chunk COPY BLOCK -- of the third chunk of the metadata, its block on the device.
chunk() {
	local -a copies

	IFS=, read -ra copies <<<"$(fsck.mendfs --list "/dev/$DISK" |
		sed -n 's/.* chunk number=2 copies=//p')"
	[ ${#copies[@]} = 2 ] && echo $((copies[$1] + $2))
}

# is_good BLOCK... -- it can be read, and written.
is_good() {
	local block

	for block; do
		dd if="/dev/$DISK" of=/dev/null bs=$PAGE skip="$block" count=1 iflag=direct status=none ||
			return
	done
}

# mends BLOCK... -- all of them fail at once.
mends() {
	fails "$@" && goes_on && mended && is_good "$@" && goes_on && remount && has_all
}

# until_stopped COMMAND... -- again and again.
until_stopped() {
	while [ ! -e "$TMP/stop" ]; do
		"$@" || return
	done
}

comes_and_goes() {
	echo text >load.new && ln load.new load && rm load.new load
}

grows() {
	cat "$TMP/page" >>lost
}

both_copies_fail() {
	local copy
	local -a blocks

	for copy in 0 1; do
		blocks+=("$(superblock $copy)" "$(journal $copy 0)" "$(journal $copy $((JOURNAL / 2)))"
			"$(metadata $copy 0)" "$(metadata $copy 1)" "$(chunk $copy 0)" "$(chunk $copy 15)")
	done
	fails "${blocks[@]}"
}

# Both copies of a bit of everything fail, and a page of a file, while that file grows and others
# come and go.
mends_under_load() {
	local job page status=0

	fill lost 1 && page=$(address lost 0) || return
	each until_stopped comes_and_goes grows &
	job=$!
	both_copies_fail && poison "$page" && goes_on && cannot_read lost 0 && write_page lost 0 &&
		mended && goes_on || status=1
	touch "$TMP/stop"
	wait $job && rm "$TMP/stop" && [ $status = 0 ] && remount && has_all
}

mends_machine_check() {
	local block

	for block; do
		machine_check $((START + block * PAGE)) || return
	done
	goes_on && mended && is_good "$@" && goes_on && remount && has_all
}

# The driver does not know of it, so the list of bad blocks says nothing. What was mended is written
# with each change.
mends_unknown() {
	local block end

	for block; do
		machine_check $((START + block * PAGE)) || return
	done
	end=$((SECONDS + 5))
	while [ $SECONDS -lt $end ]; do
		goes_on || return
	done
	remount && has_all
}

# --- Memory that cannot be repaired ---

# One copy is enough, also for a mount.
does_without() {
	fails "$(metadata 0 0)" "$(journal 1 0)" "$(superblock 0)" && goes_on &&
		wait_for log_says "mendfs: $DISK: .* cannot be repaired" && goes_on &&
		cd / && unmount && mount_mendfs "/dev/$DISK" && cd $MNT && on_exit cd / && has_all &&
		goes_on
}

# Of some blocks one copy is bad, and lies beside the good copy of another. The device is so small that
# the kernel, if it is asked to, reads ahead over all of that.
side_by_side() {
	local below=$DISK DISK block found

	cd / && unmount && map small 0 $((192 << 11)) linear "/dev/$below" 0 && DISK=$DM &&
		mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && cd $MNT && on_exit cd / &&
		COUNT=0 && goes_on && geometry && cd / && unmount || return
	for block in "$(superblock 1)" "$(metadata 0 2)" "$(metadata 0 6)" "$(metadata 0 20)" \
		"$(metadata 1 5)" "$(metadata 1 7)" "$(metadata 1 9)" "$(metadata 1 15)"; do
		echo "$((block * PAGE / 512)) 8" >"/sys/block/$below/badblocks" || return
	done
	# There is something to be repaired.
	found=$(fsck.mendfs -n --json "/dev/$DISK")
	echo "$found"
	[[ $found == *'"errors":8,'*'"losses":0,'* ]] && mount_mendfs "/dev/$DISK" && cd $MNT && has_all
}

# is_over -- nothing can be read or changed any more.
is_over() {
	fails_with "Input/output error" ls . && fails_with "Input/output error" cat open &&
		fails_with "Input/output error" touch open &&
		fails_with "Input/output error" mkdir other &&
		fails_with "Input/output error" sync open && fails_with "BUS" is_touched open 0
}

# ends BLOCK... -- and the log has one line.
ends() {
	echo text >open && log_mark "ends $*" && fails "$@" &&
		wait_for log_says "mendfs: $DISK: .* its other copy, shutting down" "ends $*" &&
		is_over && cd / && unmount || return
	is sh -c "dmesg --notime | sed '1,/^ends $*/d' | grep -c 'shutting down'" 1
}

cannot_mount() {
	fails_with "Structure needs cleaning" mount -t mendfs "/dev/$DISK" $MNT &&
		log_says "mendfs: $DISK: $1" "ends"
}

# afresh KIND -- a filesystem on memory that is good.
afresh() {
	require_ns "$1"
	require use_mendfs "$NS" "${2:-daxmf_pmem}"
	require geometry
	COUNT=0
	require goes_on
}

begin 19
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
on_exit forget_poison

afresh virtio
for copy in 0 1; do
	check "superblock, copy $copy" mends "$(superblock $copy)"
	check "journal, copy $copy" mends "$(journal $copy 0)" "$(journal $copy $((JOURNAL / 2)))" \
		"$(journal $copy $((JOURNAL - 1)))"
	check "metadata, copy $copy" mends "$(metadata $copy 0)" "$(metadata $copy $((METADATA - 1)))"
done
require has_grown
for copy in 0 1; do
	check "metadata that has grown, copy $copy" mends "$(chunk $copy 0)" "$(chunk $copy 9)" \
		"$(chunk $copy 15)"
done
check "metadata that has grown, both copies" mends \
	"$(chunk 0 0)" "$(chunk 1 0)" "$(chunk 0 5)" "$(chunk 1 5)" "$(chunk 0 15)" "$(chunk 1 15)"
check "both copies of all three" mends \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 0 5)" \
	"$(superblock 1)" "$(journal 1 0)" "$(metadata 1 0)" "$(metadata 1 5)"
check "both copies of all three, under load" mends_under_load
check "machine checks" mends_machine_check \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 1 0)"
afresh memmap nd_pmem
check "machine checks that the driver does not know of" mends_unknown \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 1 0)"

afresh nvdimm
check "one copy that cannot be repaired is done without" does_without
check "both copies that cannot be repaired are the end" ends "$(metadata 0 0)" "$(metadata 1 0)"
check "what is lost cannot be mounted" cannot_mount "metadata block 0: both copies are bad"
require cd /
require forget_poison
afresh nvdimm
check "so are those of the journal" ends "$(journal 0 1)" "$(journal 1 1)"
require cd /
require forget_poison
afresh nvdimm
require has_grown
check "so are those of metadata that has grown" ends "$(chunk 0 3)" "$(chunk 1 3)"
require cd /
require forget_poison
afresh nvdimm
check "fsck loses nothing that lies beside what is bad" clean side_by_side
finish
