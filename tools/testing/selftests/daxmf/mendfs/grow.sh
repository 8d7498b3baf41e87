#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The metadata grows: when it is full, it takes blocks from the data. It frees these blocks when
# they are empty. The time of a mount depends on the size of the metadata, not of the device.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The longest time of a mount of an empty device, in milliseconds.
SOON=2000

# go DEVICE [OPTION...] -- make and mount a filesystem, and change to MNT; sets EMPTY.
go() {
	mkfs.mendfs -q -f "${@:2}" "/dev/$1" && mount_mendfs "/dev/$1" && cd $MNT && on_exit cd / &&
		EMPTY=$(room)
}

# room -- print the numbers of free blocks and inodes.
room() {
	stat -f -c '%f %d' $MNT
}

# files make|check [COUNT] -- make files of a block until ENOSPC, at most COUNT, and print their
# number; or check the contents of COUNT files.
files() {
	python3 - "$@" <<-'END'
		import errno, os, sys
		what, most = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10**9
		def contents(n):
		    return b"%09d\n" % n * 409
		def path(n):
		    return f"dir.{n // 1000}/file.{n}"
		def make(n):
		    os.makedirs(f"dir.{n // 1000}", exist_ok=True)
		    file = os.open(path(n), os.O_CREAT | os.O_WRONLY)
		    try:
		        assert os.write(file, contents(n)) == 4090
		    finally:
		        os.close(file)
		count = 0
		if what == "make":
		    try:
		        while count < most:
		            make(count)
		            count += 1
		    except OSError as error:
		        assert error.errno == errno.ENOSPC, error
		        if os.path.exists(path(count)):
		            os.unlink(path(count))
		    os.sync()
		    print(count)
		else:
		    for n in range(most):
		        with open(path(n), "rb") as file:
		            assert file.read() == contents(n), n
	END
}

# checked -- check that fsck finds no damage, and that the free space is the same after a mount.
checked() {
	local before DISK=$DM

	before=$(room) && cd / && check_and_mount && cd $MNT && is room "$before"
}

# chunks -- print the number and the copies of each chunk except the first.
chunks() {
	fsck.mendfs --list "/dev/$DM" | sed -n 's/.* chunk number=\([0-9]*\) copies=\(.*\),/\1 \2 /p'
}

# apart -- check that the two copies of each chunk are in different halves of the device.
apart() {
	local n first second half

	half=$(($(blockdev --getsize64 "/dev/$DM") / PAGE / 2))
	while read -r n first second; do
		[ "$first" -lt $half ] && [ "$second" -ge $half ] ||
			fail "chunk $n is at $first and $second" || return
	done <<<"$(chunks)"
}

# Small files use at least 95 % of the device. Then files can still be removed, truncated and
# overwritten.
fills_up() {
	local count blocks free

	go "$DM" && count=$(files make) && read -r blocks free <<<"$(stat -f -c '%b %f' .)" || return
	echo "$count files: $free of $blocks blocks are free"
	[ $((20 * free)) -le "$blocks" ] || fail "less than 95 % is in use" || return
	[ $((10 * count)) -ge $((8 * blocks)) ] || fail "too few files" || return
	apart && files check "$count" && checked && files check "$count" || return
	truncate -s 0 dir.0/file.7 && echo new >dir.0/file.7 && rm dir.1/file.1500 &&
		echo text >other && mv other dir.0 && checked && rm -rf ./* && sync -f . &&
		is room "$EMPTY" && checked
}

# First, of each 1024 files all but the first 128 are removed, so that some chunks become empty.
# Then all other files are removed.
gives_back() {
	local count=4000 free n

	go "$DM" && is files make $count $count && free=$(stat -f -c %f .) || return
	for ((n = 0; n < count; n++)); do
		[ $((n % 1024 / 128)) = 0 ] || echo "dir.$((n / 1000))/file.$n"
	done | xargs rm && [ $(($(stat -f -c %f .) - free)) -gt $((count * 7 / 8)) ] ||
		fail "only the blocks of the files are free" || return
	checked && mkdir new && cd new && is files make 1000 1000 && cd .. && checked &&
		cat dir.*/* | wc -c && rm -rf ./* && sync -f . && is room "$EMPTY" && checked
}

# overwrite BLOCK COUNT -- destroy these blocks.
overwrite() {
	tr '\0' x </dev/zero | dd of="/dev/$DM" bs=$PAGE seek="$1" count="$2" iflag=fullblock \
		oflag=direct conv=notrunc status=none
}

# A mount and fsck repair a damaged copy of a chunk from the other copy.
damaged_copies() {
	local count=3000 n first second

	go "$DM" && is files make $count $count && cd / && unmount && chunks >"$TMP/chunks" || return
	[ "$(wc -l <"$TMP/chunks")" -ge $((count * 4 / 1007 - 4)) ] || fail "the metadata has not grown" || return
	while read -r n first second; do
		if [ $((n % 2)) = 0 ]; then
			overwrite "$first" 16
		else
			overwrite "$second" 16
		fi || return
	done <"$TMP/chunks"
	! fsck_clean "/dev/$DM" || fail "fsck finds nothing" || return
	mount_mendfs "/dev/$DM" && cd $MNT && files check $count && checked && files check $count &&
		cd / && unmount || return
	read -r n first second <"$TMP/chunks"
	overwrite "$first" 15 && fails_with "not a structure" fsck.mendfs -p "/dev/$DM" &&
		fsck_clean "/dev/$DM" || return
	# This block has the records of all other chunks.
	overwrite $((first + 15)) 1 && overwrite $((second + 15)) 1 &&
		fails_with "Structure needs cleaning" mount -t mendfs "/dev/$DM" $MNT &&
		fails_with "metadata chunk 2 is found" fsck.mendfs -y "/dev/$DM" &&
		fsck_clean "/dev/$DM" && mount_mendfs "/dev/$DM" && cd $MNT && on_exit cd / &&
		files check 200 && [ "$(find . -type f | wc -l)" -gt $((count - 64)) ]
}

# Print the table of a mapped device of 1 TiB. Only its ends have their own memory. The rest maps
# the same 256 MiB many times.
tebibyte() {
	local at

	linear 0 128 "$DISK" 0
	for ((at = 128; at < (1 << 20) - 128; at += 256)); do
		linear $at 256 "$DISK" 128
	done
	linear $at 128 "$DISK" 384
}

mounts_soon() {
	local start end

	map tebibyte <<<"$(tebibyte)" && mkfs.mendfs -q -f "/dev/$DM" && mkdir -p $MNT || return
	start=$(date +%s%3N) && mount_mendfs "/dev/$DM" && end=$(date +%s%3N) || return
	echo "mounted in $((end - start)) ms"
	is stat -f -c %f $MNT "$(stat -f -c %b $MNT)" && echo text >$MNT/file &&
		is cat $MNT/file text || return
	[ $((end - start)) -lt $SOON ] || fail "the mount took $((end - start)) ms, the limit is $SOON ms"
}

begin 4
require_ns "$KIND"
require ns_bind "$NS"
DISK=$(ns_disk "$NS")

check "mount time of 1 TiB" with_undo mounts_soon
require map small 0 65536 linear "/dev/$DISK" 0
check "small files fill the device" with_undo fills_up
check "empty chunks are freed" with_undo gives_back
check "damaged copies" with_undo damaged_copies
finish
