#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The chain before your eyes: XFS on an NVDIMM, processes that share one page of it through files
# and reflinked copies, and a machine check in that page.
#
# The last line is "N owners, N notified, 0 missed"; the exit status is 0 only if every owner got
# the right signal and the driver's counters add up.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

TMP=$(mktemp -d)
trap 'undo_all; unload_modules; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM

# step WHAT COMMAND... -- do it, saying what is being done and how long it took.
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

# A file, two reflinked copies, one that shares a single page of it at two other offsets, and a
# plain copy that shares nothing.
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

[ "$(id -u)" = 0 ] || { echo "run.sh: needs root"; exit 1; }
NS=$(ns_find "$KIND") || exit 1
on_exit forget_poison
step "bind $NS to $DRIVER" ns_bind "$NS"
DISK=$(ns_disk "$NS")
step "make XFS on /dev/$DISK (rmapbt=1,reflink=1)" make_xfs "/dev/$DISK"
step "mount it (dax=always)" mount_dax "/dev/$DISK"
step "write a file and share it by reflink" make_files
before=$(has_counters "$DISK" && counters "$DISK")

printf '\nNow a machine check in a page that five processes own.\n\n'
mfchain run --source mce \
	original,offset=$((3 * PAGE)) clone,offset=$((3 * PAGE)) sibling,offset=$((3 * PAGE)) \
	partial,offset=$((8 * PAGE)) partial,offset=$((32 * PAGE)) \
	stranger,offset=$((3 * PAGE)),quiet >"$TMP/verdict"
status=$?

head -n -1 "$TMP/verdict"
if has_counters "$DISK"; then
	read -r received delivered declined failed <<<"$(counters "$DISK")"
	echo "/dev/$DISK: $received received, $delivered delivered," \
		"$declined declined, $failed failed"
	counters_moved "$DISK" "$before" 1 0 0 || status=1
fi
tail -n 1 "$TMP/verdict"
exit $status
