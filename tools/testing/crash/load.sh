#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: load.sh IMAGES BASE [SEED...] -- [SEED...]
#
# crash.sh runs this in the guest. It checks the files on the IMAGES other NVDIMMs. Then it checks
# the files on the first NVDIMM, at physical address BASE, which are of the runs with the seeds
# before the "--". The progress that each run recorded says what its files must be. Then it starts
# runs with the seeds after the "--", until the machine is stopped. Without such seeds, it removes
# all files.
#
# If a seed ends with an f, memory fails during the run. The file "failed" lists the addresses of
# the failed pages, as on the first NVDIMM. They fail in the next guest, too.

# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

images=$1 base=$2
shift 2
kept=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	kept+=("$1")
	shift
done
shift

# model SEED -- print the options of its run. Every second run has small files.
model() {
	local number=${1%f} failures

	[ "$1" = "$number" ] || failures=--failures
	echo --seed "$number" --pages $((number % 2 ? 40 : 640)) ${failures-}
}

# run SEED -- start the run in its own directory.
run() {
	local -a model

	read -ra model <<<"$(model "$1")"
	mkdir "$MNT/$1" && fsmodel run "${model[@]}" "${OPTIONS[@]}" --failed "$FAILED" \
		--progress "/host/now/$1" "$MNT/$1"
}

# as_recorded FOLDER SEED... -- the files of the runs are as the progress in the folder says.
as_recorded() {
	local folder=$1 seed
	local -a model

	shift
	for seed; do
		# The run was stopped before its first operation.
		[ -e "$folder/$seed" ] || continue
		read -ra model <<<"$(model "$seed")"
		fsmodel check "${model[@]}" --progress "$folder/$seed" "$MNT/$seed" || return
	done
}

# fsck_finds_no_loss DISK -- fsck finds nothing, or damage without loss if memory has failed.
fsck_finds_no_loss() {
	if [ -s "$FAILED" ]; then
		fsck.mendfs -n --json "$1" | grep -q '"losses":0,'
	else
		fsck.mendfs -n "$1"
	fi
}

# fail_again START -- make the pages that failed before fail again, on the NVDIMM at address START.
# The device has no holder yet, so the driver lists the page as bad, and the kernel returns EBUSY.
fail_again() {
	local address

	[ -s "$FAILED" ] || return 0
	while read -r address; do
		fails_with busy poison $((address - base + $1)) || return
	done <"$FAILED"
}

# fail_metadata -- make one block of metadata after the other fail, but never both copies of one.
# The choice of the copy depends on the block only, so this holds for later guests, too.
fail_metadata() {
	local number slot block

	read_geometry || return
	while sleep 0.3; do
		slot=$((RANDOM % 2)) number=$((RANDOM % 4 ? RANDOM % 24 : RANDOM % METADATA))
		case $((RANDOM % 8)) in
		0) block=$(superblock 1) ;;
		1) block=$(journal $slot $((slot * JOURNAL / 2 + RANDOM % 4))) ;;
		*) block=$(metadata $((number % 2)) $number) ;;
		esac
		poison $((base + block * PAGE)) && echo $((base + block * PAGE)) >>"$FAILED" || return
	done
}

# nvdimm N -- print the namespace of NVDIMM N. QEMU places the NVDIMMs in memory in this order.
nvdimm() {
	local dir

	for dir in "$ND"/devices/namespace*; do
		[ "$(ns_kind "${dir##*/}")" != nvdimm ] ||
			echo "$(($(<"$dir/resource"))) ${dir##*/}"
	done | sort -n | sed -n "$(($1 + 1))s/.* //p"
}

# check_image N -- check the files on NVDIMM N.
check_image() {
	local -a seeds

	echo "image $1"
	read -ra seeds </host/"$1"/seeds
	FAILED=/host/$1/failed
	NS=$(nvdimm "$1") && ns_bind "$NS" && DISK=$(ns_disk "$NS") && fail_again "$(ns_start "$NS")" &&
		mount_mendfs "/dev/$DISK" && as_recorded "/host/$1" "${seeds[@]}" && unmount &&
		fsck_finds_no_loss "/dev/$DISK" && ns_unbind "$NS"
}

# remove_all -- remove all files. The filesystem is empty then, also after it is mounted again.
remove_all() {
	rm -rf "${MNT:?}"/* && sync && work_again &&
		wait_for is stat -f -c %f "$MNT" "$(stat -f -c %b "$MNT")" && check_and_mount
}

# work_again -- bind the driver again, for which the failed memory is good, and wait for the
# repairs.
work_again() {
	[ -s "$FAILED" ] || return 0
	unmount && ns_unbind "$NS" && ns_bind "$NS" && DISK=$(ns_disk "$NS") && mount_mendfs "/dev/$DISK" &&
		wait_for has_no_damage && rm "$FAILED"
}

# shellcheck disable=SC2317 # wait_for calls it
has_no_damage() {
	sync && fsck.mendfs -n "/dev/$DISK" >/dev/null
}

touch /host/now/up
for ((i = 1; i <= images; i++)); do
	check_image $i || exit
done
FAILED=/host/now/failed
NS=$(nvdimm 0) && ns_bind "$NS" || exit
DISK=$(ns_disk "$NS")
[ "$(($(ns_get "$NS" resource)))" = $((base)) ] || exit
read -ra OPTIONS <<<"$RUN_OPTIONS"
fail_again $((base)) || exit
mount_mendfs "/dev/$DISK" && as_recorded /host/now "${kept[@]}" && check_and_mount &&
	as_recorded /host/now "${kept[@]}" || exit
touch /host/now/checked
if [ $# = 0 ]; then
	remove_all
	exit
fi
# The removal of the old files is a part of the load.
old=("$MNT"/*)
rm -rf "${old[@]}" &
[[ $* != *f* ]] || fail_metadata &
for seed; do
	run "$seed" &
	runs+=($!)
done
# A run ends only if something is wrong.
wait -n "${runs[@]}"
exit 1
