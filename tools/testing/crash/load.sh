#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: load.sh IMAGES BASE [SEED...] -- [SEED...]
#
# Run in the guest by crash.sh. See that what the runs with the seeds before the -- have left on the
# first NVDIMM, which is at BASE, is as they were told it was, and so on the others, the IMAGES. Do
# runs with the other seeds until the machine is stopped. If there are none, remove all.

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

# run SEED -- in a directory of its own; every other run has small files.
run() {
	mkdir "$MNT/$1" && fsmodel run --seed "$1" --pages "$(pages "$1")" "${OPTIONS[@]}" \
		--progress "/host/now/$1" "$MNT/$1"
}

pages() {
	[ $(($1 % 2)) = 0 ] && echo 640 || echo 40
}

# as_told FOLDER SEED... -- what runs have left is what they said.
as_told() {
	local folder=$1 seed

	shift
	for seed; do
		# It was stopped before the first operation.
		[ -e "$folder/$seed" ] || continue
		fsmodel check --seed "$seed" --pages "$(pages "$seed")" --progress "$folder/$seed" \
			"$MNT/$seed" || return
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
	NS=$(nvdimm "$1") && ns_bind "$NS" && DISK=$(ns_disk "$NS") &&
		mount_mendfs "/dev/$DISK" && as_told "/host/$1" "${seeds[@]}" && unmount &&
		mend_clean "/dev/$DISK" && ns_unbind "$NS"
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f "$MNT" "$(stat -f -c %b "$MNT")" && again
}

touch /host/now/up
for ((i = 1; i <= images; i++)); do
	check_image $i || exit
done
NS=$(nvdimm 0) && ns_bind "$NS" || exit
DISK=$(ns_disk "$NS")
[ "$(($(ns_get "$NS" resource)))" = $((base)) ] || exit
read -ra OPTIONS <<<"$RUN_OPTIONS"
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
for seed; do
	run "$seed" &
	runs+=($!)
done
# None of them ends unless something is wrong.
wait -n "${runs[@]}"
exit 1
