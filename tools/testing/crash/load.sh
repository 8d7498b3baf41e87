#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: load.sh [SEED...] -- [SEED...]
#
# Run in the guest by crash.sh. Mount mendfs on the NVDIMM, or make it if there are no seeds before
# the --. See that what the runs with those seeds have left is as they were told it was, and do runs
# with the other seeds until the machine is stopped. If there are none, remove all.

# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

kept=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	kept+=("$1")
	shift
done
shift

# run SEED -- in a directory of its own; every other run has small files.
run() {
	mkdir "$MNT/$1" && fsmodel run --seed "$1" --pages "$(pages "$1")" "${OPTIONS[@]}" \
		--progress "/host/$1" "$MNT/$1"
}

pages() {
	[ $(($1 % 2)) = 0 ] && echo 640 || echo 40
}

# as_told -- what the last runs have left is what they said.
as_told() {
	local seed

	for seed in "${kept[@]}"; do
		# It was stopped before the first operation.
		[ -e "/host/$seed" ] || continue
		fsmodel check --seed "$seed" --pages "$(pages "$seed")" --progress "/host/$seed" \
			"$MNT/$seed" || return
	done
}

nothing_left() {
	rm -rf "${MNT:?}"/* && sync && is stat -f -c %f "$MNT" "$(stat -f -c %b "$MNT")" && again
}

touch /host/up
NS=$(ns_find nvdimm) && ns_bind "$NS" || exit
DISK=$(ns_disk "$NS")
ns_get "$NS" resource >/host/resource
read -ra OPTIONS <<<"$RUN_OPTIONS"
if [ ${#kept[@]} = 0 ]; then
	mkfs.mendfs -q -f "/dev/$DISK" || exit
fi
mount_mendfs "/dev/$DISK" && as_told && again && as_told || exit
touch /host/checked
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
