#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run kdave/xfstests on mendfs in a guest: 'make fstests XFSTESTS=FOLDER T="-g quick"'. FOLDER has
# the sources of the suite, and a copy of it is built. T has the arguments of the suite's 'check'.

top=$(cd "$(dirname "$0")/../../.." && pwd -P)
here=$top/tools/testing/fstests
export PACKAGES=$here/packages
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

work=$top/build/fstests
suite=$work/suite
host=$work/host

[ -e "${XFSTESTS-}/common/rc" ] ||
	die "XFSTESTS=${XFSTESTS-}: name the folder of kdave/xfstests, as 'git clone https://git.kernel.org/pub/scm/fs/xfs/xfstests-dev.git' makes it"

# Build the suite with its own makefiles, in the toolchain root.
build()
{
	rm -rf "$suite"
	mkdir -p "$suite"
	cp -rT "$XFSTESTS" "$suite"
	[ -x "$suite/src/godown" ] || in_root make -C "$suite" || return
	cp "$here/common-mendfs" "$suite/common/mendfs"
	echo '. ./common/mendfs' >>"$suite/common/rc"
	# A time-out, so that a hanging test does not stop the next ones. The guest expands the
	# variable.
	# shellcheck disable=SC2016
	sed -i 's|; exec \./\$seq"|; exec timeout -k 9 $TEST_TIMEOUT ./$seq"|' "$suite/check"
	grep -q TEST_TIMEOUT "$suite/check" || return
	tar -C "$suite" -cf "$host/suite.tar" --exclude=.git .
}

"$top/scripts/root"
mkdir -p "$host"
key=$({ realpath "$XFSTESTS"; stat -c %Y "$XFSTESTS"; cat "$here/common-mendfs" "$0"; } | hash_of)
if [ "$(cat "$work/key" 2>/dev/null)" != "$key" ]; then
	step "building the suite" build
	echo "$key" >"$work/key"
fi

# mawk, Debian's awk, buffers its input, except with -W interactive.
awk_at_once()
{
	if command -v mawk >/dev/null; then
		mawk -W interactive -f "$@"
	else
		awk -f "$@"
	fi
}

rm -rf "$host/results"
# Arguments are passed in a file, because the kernel's command line is short.
echo "${T:--g generic/quick}" >"$host/arguments"
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
{
	start=$(milliseconds) status=0
	echo "#:test fstests"
	SCRIPT=$here/guest.sh FILES=$host PMEM=nvdimm,virtio \
		NVDIMM_SIZE=${NVDIMM_SIZE:-2G} \
		APPEND="bdev_allow_write_mounted=1 TEST_TIMEOUT=${TEST_TIMEOUT:-1800}" \
		TIMEOUT=${TIMEOUT:-36000} CONSOLE=$work/console.log \
		"$top/scripts/vm" | awk_at_once "$here/ktap.awk" "$here/skips" "$here/failures" || status=$?
	echo "#:exit fstests $status $(($(milliseconds) - start))"
} | awk_at_once "$top/scripts/ktap" "$counts" fstests
read -r good bad skipped <"$counts"
echo "$good passed, $bad failed, $skipped skipped; the output of the tests is in $host/results"
[ "$bad" = 0 ]
