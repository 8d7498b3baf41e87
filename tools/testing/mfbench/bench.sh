#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: bench.sh drivers|fsdax|filesystems|stripes NAME...
#
# Run benchmarks in a guest whose clock counts instructions. 'stripes' needs three large NVDIMMs,
# the other parts need a namespace of kind memmap. The script prints lines "ours|peer NAME COUNT".
# The file 'bounds' explains the names.

SIMULATED=tell
# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. "${SELFTESTS:-/daxmf/selftests}/lib.sh"

PART=$1
shift
WANTED=" $* "
TMP=$(mktemp -d)
trap 'undo_all; unload_modules; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM
# Print no messages on the console, because a message takes more instructions than the operation
# that logs it. Fill the log before all counts, because a message takes more instructions in a full
# log.
dmesg -n 1
sysctl -q kernel.printk_devkmsg=on
for ((i = 0; i < 5000; i++)); do
	echo "bench" >/dev/kmsg
done

wanted() {
	[[ $WANTED == *" $1 "* ]]
}

# measure SIDE NAME ARGUMENT... -- if NAME is wanted, run mfbench and print its count.
measure() {
	local side=$1 name=$2 count

	shift 2
	wanted "$name" || return 0
	count=$(mfbench "$@") && echo "$side $name $count"
}

fresh_xfs() { # device
	make_xfs "$1" && mount_dax "$1"
}

no_udev_workers() {
	! grep -qs udev-worker /proc/[0-9]*/comm
}

# quietly COMMAND... -- run the command without udev workers. The workers read disks into the page
# cache, which slows down direct writes. Each process makes the handling of a failure longer.
quietly() {
	local status=0

	settle && udevadm control --reload && wait_for no_udev_workers &&
		udevadm control --stop-exec-queue || return
	"$@" || status=1
	udevadm control --start-exec-queue
	return $status
}

transfers() { # side, device, prefix
	local operation

	for operation in read write fua sequential-read sequential-write; do
		measure "$1" "$3$operation" transfer $operation "$2" || return
	done
}

faults() { # side, device, prefix
	local size

	# These options align large files to huge pages.
	make_xfs -d agcount=4,su=2m,sw=1 -l size=64m "$2" && mount_dax "$2" || return
	for size in pte pmd; do
		measure "$1" "$3$size-fault" fault $size "$MNT/file" &&
			measure "$1" "$3$size-write-fault" fault --write $size "$MNT/file" || return
	done
}

# Count failures, by the number of sharers.
notify() { # side, group, device
	local sharers

	for sharers in 1 10 100 1000; do
		! wanted "$2-$sharers" || with_undo notify_one "$@" $sharers || return
	done
}

notify_one() { # side, group, device, sharers
	fresh_xfs "$3" && measure "$1" "$2-$4" notify --sharers "$4" "$MNT"
}

# Run the benchmarks of a driver. The names of the benchmarks get the prefix.
driver() { # side, driver, prefix
	ns_bind "$NS" "$2" && quietly on_disk "$1" "/dev/$(ns_disk "$NS")" "$3"
}

on_disk() { # side, device, prefix
	transfers "$@" && with_undo faults "$@" && notify "$1" "$3notify" "$2"
}

# Compare a volume of one segment with the disk itself.
linear_volume() {
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && quietly notify peer linear "/dev/$DISK" &&
		map one "$(linear 0 512 "$DISK" 0)" && attach "$DISK" "$DM" &&
		quietly notify ours linear "/dev/$DM"
}

# Print the table of a volume of 128 MiB with this number of segments, in reverse order of the disk.
shuffled() { # segments
	local sectors=$((128 * 2048 / $1)) i

	for ((i = 0; i < $1; i++)); do
		echo $((i * sectors)) $sectors linear "/dev/$DISK" $((($1 - 1 - i) * sectors))
	done
}

# Count a failure in one volume, while another volume on the disk has this number of segments.
walk() { # segments
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && shuffled "$1" >"$TMP/table" &&
		map many <"$TMP/table" && attach "$DISK" "$DM" &&
		map one "$(linear 0 384 "$DISK" 128)" && attach "$DISK" "$DM" &&
		fresh_xfs "/dev/$DM" && quietly mfbench notify "$MNT" >"$TMP/count"
}

walks() {
	local segments one

	for segments in 1 4 16 64 256 1024; do
		wanted "walk-$segments" || [ $segments = 1 ] || continue
		with_undo walk $segments || return
		one=${one:-$(cat "$TMP/count")}
		! wanted "walk-$segments" || printf '%s %s %s\n' \
			ours "walk-$segments" "$(cat "$TMP/count")" peer "walk-$segments" "$one"
	done
}

any_wanted() { # group
	[[ $WANTED == *" $1-"* ]]
}

filesystem() { # name
	ns_bind "$NS" && DISK=$(ns_disk "$NS") && fresh "$1" "/dev/$DISK" &&
		quietly on_filesystem "$1" "/dev/$DISK"
}

fresh() { # file system, device
	case $1 in
	# These options align large files to huge pages.
	xfs) make_xfs -d agcount=4,su=2m,sw=1 -l size=64m "$2" && mount_dax "$2" ;;
	ext4) make_ext4 -E stride=512 "$2" && mount_dax "$2" ;;
	mendfs) mkfs.mendfs -q -f "$2" && mount_mendfs "$2" ;;
	esac
}

# compare FILESYSTEM NAME ARGUMENT... -- if NAME is wanted, run mfbench, and print its count for
# mendfs or for a peer of mendfs.
compare() {
	local filesystem=$1 name=$2 count

	shift 2
	case $filesystem in
	xfs) measure peer "mendfs-$name" "$@" ;;
	ext4) measure peer "mendfs-ext4-$name" "$@" ;;
	mendfs)
		wanted "mendfs-$name" || wanted "mendfs-ext4-$name" || return 0
		count=$(mfbench "$@") && printf "ours %s $count\n" "mendfs-$name" "mendfs-ext4-$name"
		;;
	esac
}

on_filesystem() { # file system, device
	local it

	for it in create unlink mkdir rename append append-1k append-16k read read-16k overwrite \
		truncate; do
		compare "$1" $it file $it "$MNT/$it" || return
	done
	for it in lookup create unlink; do
		compare "$1" large-$it file --names 100000 $it "$MNT/large" || return
	done
	for it in pte pmd; do
		compare "$1" $it-fault fault $it "$MNT/file" &&
			compare "$1" $it-write-fault fault --write $it "$MNT/file" || return
	done
	# ext4 does not become the holder of the device.
	[ "$1" != ext4 ] || return 0
	for it in 1 10 100 1000; do
		compare "$1" notify-$it holder --sharers $it "$MNT/notify-$it" || return
	done
}

# Compare the time of a mount of mendfs with a million extents: to 5 s, and to four times the time
# of a mount with a quarter of the extents.
mounts() {
	modprobe mendfs && mkdir -p "$MNT" && ns_bind "$NS" && DISK=$(ns_disk "$NS") &&
		quietly mount_times
}

mount_times() {
	local many few

	few=$(mfbench mount --extents 250000 "/dev/$DISK" "$MNT") &&
		many=$(mfbench mount --extents 1000000 "/dev/$DISK" "$MNT") || return
	printf '%s %s %s\n' ours mount-time "$many" peer mount-time 5000000000 \
		ours mount-growth "$many" peer mount-growth $((4 * few))
}

need_ns() {
	NS=$(ns_find memmap) || fail "there is no namespace of kind memmap"
}

drivers() {
	need_ns && with_undo driver peer nd_pmem '' && with_undo driver ours daxmf_pmem '' || return
	! any_wanted linear || with_undo linear_volume || return
	! any_wanted walk || walks
}

# Count on a namespace whose page map is on the device.
fsdax() {
	need_ns && ns_bind "$NS" nd_pmem && make_fsdax "$NS" pmem && ns_unbind "$NS" &&
		with_undo driver peer nd_pmem fsdax- && with_undo driver ours daxmf_pmem fsdax-
}

# Count filesystems on daxmf_pmem.
filesystems() {
	local name

	need_ns || return
	for name in xfs ext4 mendfs; do
		! any_wanted mendfs || with_undo filesystem $name || return
	done
	! any_wanted mount || with_undo mounts
}

# Compare two disks in stripes of 64 KiB with a third disk.
stripes() {
	local disks=() number sectors

	for number in 1 2 3; do
		NS=$(ns_find nvdimm $number) && ns_bind "$NS" && disks+=("/dev/$(ns_disk "$NS")") || return
	done
	sectors=$(blockdev --getsz "${disks[0]}") &&
		with_undo stripe peer "$sectors" linear "${disks[2]}" 0 &&
		with_undo stripe ours $((sectors * 2)) striped 2 128 "${disks[0]}" 0 "${disks[1]}" 0
}

stripe() { # side, sectors, target, its arguments
	local side=$1 word

	shift
	map volume 0 "$@" || return
	for word; do
		[[ $word != /dev/* ]] || attach "${word#/dev/}" "$DM" || return
	done
	fresh_xfs "/dev/$DM" && quietly measure "$side" stripe notify "$MNT"
}

"$PART" || exit 1
