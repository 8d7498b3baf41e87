#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Superblock, journal and metadata in failed memory: mendfs repairs them, uses the good copy, or
# shuts down.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# fails BLOCK... -- make the blocks fail.
fails() {
	local block

	for block; do
		poison $((START + block * PAGE)) || return
	done
}

# works -- check that files can be read and changed.
works() {
	COUNT=$((${COUNT:-0} + 1))
	mkdir dir.$COUNT && echo text >dir.$COUNT/file && ln dir.$COUNT/file link.$COUNT &&
		is cat link.$COUNT text && has_all
}

# has_all -- check that all files of works() are there.
has_all() {
	local file text count=0

	for file in dir.*/file link.*; do
		read -r text <"$file" && [ "$text" = text ] || fail "$file: '$text'" || return
		count=$((count + 1))
	done
	[ $count = $((2 * COUNT)) ] || fail "$count of $((2 * COUNT)) are there"
}

# has_grown -- make so many files that the metadata grows, and check that it has a third chunk.
has_grown() {
	mkdir many && python3 - <<-END && is sh -c 'ls many | wc -l' 3000 && chunk 0 0 >/dev/null
		import os
		for n in range(3000):
		    os.mknod(f"many/{n}")
	END
}

# chunk COPY BLOCK -- print where a block of the third metadata chunk is on the device.
chunk() {
	local -a copies

	IFS=, read -ra copies <<<"$(fsck.mendfs --list "/dev/$DISK" |
		sed -n 's/.* chunk number=2 copies=//p')"
	[ ${#copies[@]} = 2 ] && echo $((copies[$1] + $2))
}

# is_good BLOCK... -- check that the blocks can be read.
is_good() {
	local block

	for block; do
		dd if="/dev/$DISK" of=/dev/null bs=$PAGE skip="$block" count=1 iflag=direct status=none ||
			return
	done
}

# repairs BLOCK... -- make the blocks fail, and check that mendfs repairs them.
repairs() {
	fails "$@" && works && wait_repaired && is_good "$@" && works && remount && has_all
}

# until_stopped COMMAND... -- repeat the command until the file stop exists.
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

# Both copies of some blocks of each kind fail, and a page of a file. Meanwhile this file grows, and
# other files are made and removed.
repairs_under_load() {
	local job page status=0

	fill lost 1 && page=$(address lost 0) || return
	in_parallel until_stopped comes_and_goes grows &
	job=$!
	both_copies_fail && poison "$page" && works && cannot_read lost 0 && write_page lost 0 &&
		wait_repaired && works || status=1
	touch "$TMP/stop"
	wait $job && rm "$TMP/stop" && [ $status = 0 ] && remount && has_all
}

repairs_machine_check() {
	local block

	for block; do
		raise_machine_check $((START + block * PAGE)) || return
	done
	works && wait_repaired && is_good "$@" && works && remount && has_all
}

# nd_pmem does not list the bad memory, so the list of bad blocks does not show the repair. Each
# change by works() writes to the repaired blocks.
repairs_unknown() {
	local block end

	for block; do
		raise_machine_check $((START + block * PAGE)) || return
	done
	end=$((SECONDS + 5))
	while [ $SECONDS -lt $end ]; do
		works || return
	done
	remount && has_all
}

# --- Memory that cannot be repaired ---

# One good copy is enough, also for a mount.
uses_one_copy() {
	fails "$(metadata 0 0)" "$(journal 1 0)" "$(superblock 0)" && works &&
		wait_for log_says "mendfs: $DISK: .* cannot be repaired" && works &&
		cd / && unmount && mount_mendfs "/dev/$DISK" && cd $MNT && on_exit cd / && has_all &&
		works
}

# Some blocks have one bad copy, beside a good copy of another block. If fsck used the kernel's
# readahead, the reads of good copies would fail on this small device, too.
side_by_side() {
	local below=$DISK DISK block found

	cd / && unmount && map small 0 $((192 << 11)) linear "/dev/$below" 0 && DISK=$DM &&
		mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && cd $MNT && on_exit cd / &&
		COUNT=0 && works && read_geometry && cd / && unmount || return
	for block in "$(superblock 1)" "$(metadata 0 2)" "$(metadata 0 6)" "$(metadata 0 20)" \
		"$(metadata 1 5)" "$(metadata 1 7)" "$(metadata 1 9)" "$(metadata 1 15)"; do
		echo "$((block * PAGE / 512)) 8" >"/sys/block/$below/badblocks" || return
	done
	# fsck finds damage, and no loss.
	found=$(fsck.mendfs -n --json "/dev/$DISK")
	echo "$found"
	[[ $found == *'"errors":8,'*'"losses":0,'* ]] && mount_mendfs "/dev/$DISK" && cd $MNT && has_all
}

# is_over -- check that files can be neither read nor changed.
is_over() {
	fails_with "Input/output error" ls . && fails_with "Input/output error" cat open &&
		fails_with "Input/output error" touch open &&
		fails_with "Input/output error" mkdir other &&
		fails_with "Input/output error" sync open && fails_with "BUS" can_touch open 0
}

# ends BLOCK... -- make the blocks fail, and check that the filesystem shuts down with one line in
# the log.
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

# start_on KIND [DRIVER] -- make a filesystem on a namespace of this kind.
start_on() {
	require_ns "$1"
	require use_mendfs "$NS" "${2:-daxmf_pmem}"
	require read_geometry
	COUNT=0
	require works
}

begin 19
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
on_exit reset_nfit

start_on virtio
for copy in 0 1; do
	check "superblock, copy $copy" repairs "$(superblock $copy)"
	check "journal, copy $copy" repairs "$(journal $copy 0)" "$(journal $copy $((JOURNAL / 2)))" \
		"$(journal $copy $((JOURNAL - 1)))"
	check "metadata, copy $copy" repairs "$(metadata $copy 0)" "$(metadata $copy $((METADATA - 1)))"
done
require has_grown
for copy in 0 1; do
	check "metadata that has grown, copy $copy" repairs "$(chunk $copy 0)" "$(chunk $copy 9)" \
		"$(chunk $copy 15)"
done
check "metadata that has grown, both copies" repairs \
	"$(chunk 0 0)" "$(chunk 1 0)" "$(chunk 0 5)" "$(chunk 1 5)" "$(chunk 0 15)" "$(chunk 1 15)"
check "both copies of superblock, journal and metadata" repairs \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 0 5)" \
	"$(superblock 1)" "$(journal 1 0)" "$(metadata 1 0)" "$(metadata 1 5)"
check "both copies of superblock, journal and metadata, under load" repairs_under_load
check "machine checks" repairs_machine_check \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 1 0)"
start_on memmap nd_pmem
check "machine checks that the driver does not record" repairs_unknown \
	"$(superblock 0)" "$(journal 0 0)" "$(metadata 0 0)" "$(metadata 1 0)"

start_on nvdimm
check "the filesystem works with one copy of blocks that cannot be repaired" uses_one_copy
check "the filesystem shuts down when both copies cannot be repaired" ends "$(metadata 0 0)" "$(metadata 1 0)"
check "the filesystem cannot be mounted when both copies are bad" cannot_mount "metadata block 0: both copies are bad"
require cd /
require reset_nfit
start_on nvdimm
check "the filesystem shuts down when both copies of the journal are bad" ends "$(journal 0 1)" "$(journal 1 1)"
require cd /
require reset_nfit
start_on nvdimm
require has_grown
check "the filesystem shuts down when both copies of metadata that has grown are bad" ends "$(chunk 0 3)" "$(chunk 1 3)"
require cd /
require reset_nfit
start_on nvdimm
check "fsck keeps good copies that lie beside bad ones" with_undo side_by_side
finish
