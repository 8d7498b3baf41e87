#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Show the chain: XFS on an NVDIMM, then on a volume of LVM on an NVDIMM. Processes map one page
# through files and reflinked copies, and a machine check hits that page.
#
# The last line is "N processes, N signalled, 0 missed". The exit status is 0 only if every process got
# the right signal and the driver's counters add up.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

TMP=$(mktemp -d)
trap 'undo_all; unload_modules; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM

# step WHAT COMMAND... -- run the command. Print WHAT it does and how long it took.
step() {
	local what=$1 start=${EPOCHREALTIME/./} took

	shift
	printf '%-60s ' "$what"
	if ! "$@" >"$TMP/out" 2>&1; then
		echo "failed"
		cat "$TMP/out"
		exit 1
	fi
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	printf '%d.%03d s\n' $((took / 1000)) $((took % 1000))
}

# Make a file, two reflinked copies, a file that shares one page of the first file at two other
# offsets, and a plain copy that shares no block.
make_files() {
	cd "$MNT" || return
	on_exit cd /
	fill original 64 &&
		share original clone &&
		share original sibling &&
		fill partial 64 &&
		share original partial $((3 * PAGE)) $((8 * PAGE)) "$PAGE" &&
		share original partial $((3 * PAGE)) $((32 * PAGE)) "$PAGE" &&
		cp --reflink=never original stranger
}

# scene DEVICE -- raise a machine check in a page of XFS on DEVICE. Add the numbers to processes,
# signalled and missed.
scene() {
	local before sum

	step "make XFS on $1 (rmapbt=1,reflink=1)" make_xfs "$1"
	step "mount it (dax=always)" mount_dax "$1"
	step "write a file and share it by reflink" make_files
	before=$(has_counters "$DISK" && counters "$DISK")

	printf '\nNow a machine check in a page that five processes own.\n\n'
	mfchain run --source mce \
		original,offset=$((3 * PAGE)) clone,offset=$((3 * PAGE)) \
		sibling,offset=$((3 * PAGE)) partial,offset=$((8 * PAGE)) \
		partial,offset=$((32 * PAGE)) stranger,offset=$((3 * PAGE)),quiet \
		>"$TMP/verdict" || status=1
	head -n -1 "$TMP/verdict"
	if has_counters "$DISK"; then
		print_counters "/dev/$DISK" "$(counters "$DISK")"
		counters_moved "$DISK" "$before" 1 0 0 || status=1
	fi
	read -ra sum <<<"$(tail -n 1 "$TMP/verdict" | tr -d ,)"
	processes=$((processes + sum[0])) signalled=$((signalled + sum[2])) missed=$((missed + sum[4]))
}

print_counters() {
	local -a count

	read -ra count <<<"$2"
	echo "$1: ${count[0]} received, ${count[1]} delivered," \
		"${count[2]} declined, ${count[3]} failed"
}

# show COMMAND... -- print a command line of an administrator, and run it.
show() {
	printf '\n# %s\n' "$*"
	"$@" || status=1
}

# use N -- bind the Nth namespace; sets DISK.
use() {
	NS=$(ns_find "$KIND" "$1") || exit 1
	step "bind $NS to $DRIVER" ns_bind "$NS"
	DISK=$(ns_disk "$NS")
}

make_volume() {
	volume_group "/dev/$DISK" && volume lv -l 100%FREE
}

attach_volume() {
	modprobe daxmf_stack && daxmf stack attach /dev/vg/lv && on_exit daxmf stack detach --all
}

[ "$(id -u)" = 0 ] || { echo "run.sh: needs root"; exit 1; }
processes=0 signalled=0 missed=0 status=0
on_exit reset_nfit

printf '%s\n\n' "--- XFS on persistent memory ---"
use 1
scene "/dev/$DISK"

printf '\n%s\n\n' "--- XFS on a volume of LVM on persistent memory ---"
cd / && unmount
use 2
step "make a volume on it" make_volume
step "attach it with daxmf_stack" attach_volume
scene /dev/vg/lv
print_counters "daxmf_stack, $DISK to $DM" "$(stack_counters "$DISK/$DM")"
show daxmf status
show daxmf events "$DISK"
show daxmf owners "$DISK"

printf '\n%s\n' "$processes processes, $signalled signalled, $missed missed"
exit $status
