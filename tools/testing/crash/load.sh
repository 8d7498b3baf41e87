#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: load.sh IMAGES BASE [SEED...] -- [SEED...]
#
# Run in the guest by crash.sh. See that what the runs with the seeds before the -- have left on the
# first NVDIMM, which is at BASE, is as they were told it was, and so on the others, the IMAGES. Do
# runs with the other seeds until the machine is stopped. If there are none, remove all.
#
# Where a seed ends with an f, memory fails under the run. What fails is listed in the file failed, by
# its address on the first NVDIMM, and fails in the next guest, too.

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

# model SEED -- the options of its run; every other run has small files.
model() {
	local number=${1%f} failures

	[ "$1" = "$number" ] || failures=--failures
	echo --seed "$number" --pages $((number % 2 ? 40 : 640)) ${failures-}
}

# run SEED -- in a directory of its own.
run() {
	local -a model

	read -ra model <<<"$(model "$1")"
	mkdir "$MNT/$1" && fsmodel run "${model[@]}" "${OPTIONS[@]}" --failed "$FAILED" \
		--progress "/host/now/$1" "$MNT/$1"
}

# as_told FOLDER SEED... -- what runs have left is what they said.
as_told() {
	local folder=$1 seed
	local -a model

	shift
	for seed; do
		# It was stopped before the first operation.
		[ -e "$folder/$seed" ] || continue
		read -ra model <<<"$(model "$seed")"
		fsmodel check "${model[@]}" --progress "$folder/$seed" "$MNT/$seed" || return
	done
}

# fsck_clean DISK -- memory that has failed is damage, but with it nothing is lost.
fsck_clean() {
	if [ -s "$FAILED" ]; then
		fsck.mendfs -n --json "$1" | grep -q '"losses":0,'
	else
		fsck.mendfs -n "$1"
	fi
}

# fail_again START -- what has failed before, on an NVDIMM that is there. The device has no holder yet:
# the driver lists the page as bad, and the kernel says that it is busy.
fail_again() {
	local address

	[ -s "$FAILED" ] || return 0
	while read -r address; do
		fails_with busy poison $((address - base + $1)) || return
	done <"$FAILED"
}

# fail_metadata -- block after block fails, but of no two copies of the same, however often the machine stops.
fail_metadata() {
	local number slot block

	geometry || return
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

# nvdimm N -- the namespace of the one with this number: QEMU has them in this order in memory.
nvdimm() {
	local dir

	for dir in "$ND"/devices/namespace*; do
		[ "$(ns_kind "${dir##*/}")" != nvdimm ] ||
			echo "$(($(<"$dir/resource"))) ${dir##*/}"
	done | sort -n | sed -n "$(($1 + 1))s/.* //p"
}

# check_image N
check_image() {
	local -a seeds

	echo "image $1"
	read -ra seeds </host/"$1"/seeds
	FAILED=/host/$1/failed
	NS=$(nvdimm "$1") && ns_bind "$NS" && DISK=$(ns_disk "$NS") && fail_again "$(ns_start "$NS")" &&
		mount_mendfs "/dev/$DISK" && as_told "/host/$1" "${seeds[@]}" && unmount &&
		fsck_clean "/dev/$DISK" && ns_unbind "$NS"
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && work_again &&
		wait_for is stat -f -c %f "$MNT" "$(stat -f -c %b "$MNT")" && again
}

# work_again -- memory that has failed is good for a driver that begins anew, and mended then.
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
mount_mendfs "/dev/$DISK" && as_told /host/now "${kept[@]}" && again &&
	as_told /host/now "${kept[@]}" || exit
touch /host/now/checked
if [ $# = 0 ]; then
	nothing_left
	exit
fi
# Removing is load, too.
old=("$MNT"/*)
rm -rf "${old[@]}" &
[[ $* != *f* ]] || fail_metadata &
for seed; do
	run "$seed" &
	runs+=($!)
done
# None of them ends unless something is wrong.
wait -n "${runs[@]}"
exit 1
