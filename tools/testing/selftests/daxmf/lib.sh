# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the daxmf tests share: namespaces, filesystems, counters, and the frame of a test.
#
# A test sources this file, calls begin with its number of cases, runs each case by check, and
# ends with finish. Whatever a helper sets up, it also registers to be undone; finish undoes it,
# unloads the modules and looks for complaints in the kernel's log.
#
#   DRIVER=nd_pmem KIND=memmap  run a test on the stock driver, which has DAX on such a namespace

SELFTESTS=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for helpers in "$SELFTESTS/../kselftest" /daxmf/kselftest; do
	# shellcheck disable=SC1091
	[ -e "$helpers/ktap_helpers.sh" ] && . "$helpers/ktap_helpers.sh" && break
done

DRIVER=${DRIVER:-daxmf_pmem}
KIND=${KIND:-nvdimm}
ND=/sys/bus/nd
MNT=/mnt/daxmf
PAGE=4096
DEADLINE=60
# Modules that a test may have loaded, users before what they use.
MODULES=(rust_dax_holder rust_dax_provider daxmf_pmem nd_pmem daxmf hwpoison_inject)

UNDO=()

# --- The frame of a test ---

# begin N -- start a test of N cases, and one more: nothing is left behind.
begin() {
	ktap_print_header
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	TMP=$(mktemp -d)
	trap 'undo_all; rm -rf "$TMP"' EXIT
	trap 'exit 1' INT TERM
	LOG_MARK="daxmf selftest ${0##*/} $$"
	log_mark "$LOG_MARK"
	ktap_set_plan $(($1 + 1))
}

# check NAME COMMAND... -- one case, which passes if the command succeeds.
check() {
	local name=$1 status=0

	shift
	"$@" >"$TMP/out" 2>&1 </dev/null || status=$?
	sed 's/^/# /' "$TMP/out"
	if [ $status = 0 ]; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
	fi
}

# require COMMAND... -- a step without which the test is pointless.
require() {
	"$@" >"$TMP/out" 2>&1 </dev/null && return
	sed 's/^/# /' "$TMP/out"
	ktap_exit_fail_msg "$*"
}

# skip_all WHY -- end the test: it cannot work here.
skip_all() {
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# fail WHY... -- for use at the end of a condition inside a case.
fail() {
	echo "$*"
	return 1
}

# fails_with WORDS COMMAND... -- the command must fail and say these words.
fails_with() {
	local words=$1 output

	shift
	output=$(LC_ALL=C "$@" 2>&1) && fail "'$*' should have failed" && return 1
	case $output in
	*"$words"*) ;;
	*) fail "'$*' said '$output', not '$words'" ;;
	esac
}

# on_exit COMMAND... -- undo something at the end of the test, last thing first.
on_exit() {
	UNDO=("$(printf '%q ' "$@")" "${UNDO[@]}")
}

undo_all() {
	local command

	for command in "${UNDO[@]}"; do
		eval "$command"
	done
	UNDO=()
}

finish() {
	check "nothing is left behind" left_clean
	trap - EXIT
	rm -rf "$TMP"
	ktap_finished
}

left_clean() {
	local status=0

	undo_all
	unload_modules || status=1
	log_clean || status=1
	return $status
}

# wait_for COMMAND... -- until it succeeds.
wait_for() {
	local end=$((SECONDS + DEADLINE))

	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "'$*' did not come true in $DEADLINE s" || return 1
		sleep 0.05
	done
}

# --- The kernel's log ---

# log_mark MARK -- write a line to find the place by.
log_mark() {
	echo "$1" >/dev/kmsg
}

# log_since [MARK] -- what the kernel has said since.
log_since() {
	dmesg --notime | sed "1,/^${1:-$LOG_MARK}/d"
}

# log_says PATTERN [MARK] -- a line since the mark matches.
log_says() {
	log_since "${2:-}" | grep -qE "$1" || fail "the kernel's log does not say '$1'"
}

# log_complaints -- WARN, BUG, sanitizer and lockdep reports since the start of the test.
#
# One is known: stock fs/dax.c warns when a page that several files share changes hands.
log_complaints() {
	log_since | grep -E 'WARNING: |BUG: |kernel BUG at|Oops|KASAN|KCSAN|UBSAN|general protection|suspicious RCU|possible circular locking|possible recursive locking|INFO: task .* blocked|rust_kernel: panicked|kmemleak: [0-9]+ new' |
		grep -vE 'WARNING: .* at dax_disassociate_entry'
}

log_clean() {
	local known

	known=$(log_since | grep -cE 'WARNING: .* at dax_disassociate_entry')
	[ "$known" = 0 ] || echo "known stock warning in dax_disassociate_entry: $known"
	! log_complaints
}

# --- Modules and drivers ---

module_loaded() {
	[ -d "/sys/module/$1" ]
}

# load_driver NAME -- without letting it bind whatever it finds.
load_driver() {
	[ -d "$ND/drivers/$1" ] && return
	modprobe libnvdimm && echo 0 >$ND/drivers_autoprobe || return
	modprobe "$1"
	local status=$?
	echo 1 >$ND/drivers_autoprobe
	[ $status = 0 ] || fail "modprobe $1 failed"
}

unload_modules() {
	local module status=0

	for module in "${MODULES[@]}"; do
		module_loaded "$module" || continue
		rmmod "$module" || status=1
	done
	return $status
}

# --- Namespaces ---

# ns_kind NS -- nvdimm, labelled, virtio or memmap; fails for a seed.
ns_kind() {
	local dir=$ND/devices/$1

	[ "$(cat "$dir/size")" != 0 ] || return
	case $(readlink -f "$dir") in
	*/virtio*) echo virtio ;;
	*/e820_pmem/*) echo memmap ;;
	*)
		case $(cat "$dir/devtype") in
		nd_namespace_pmem) echo labelled ;;
		*) echo nvdimm ;;
		esac
		;;
	esac
}

# ns_find KIND [N] -- name of the Nth namespace of a kind.
ns_find() {
	local dir ns left=${2:-1}

	for dir in "$ND"/devices/namespace*; do
		ns=${dir##*/}
		[ "$(ns_kind "$ns")" = "$1" ] || continue
		left=$((left - 1))
		[ $left = 0 ] && echo "$ns" && return
	done
	fail "no namespace of kind $1 (number ${2:-1})" >&2
}

# ns_get NS ATTRIBUTE
ns_get() {
	cat "$ND/devices/$1/$2"
}

# ns_driver NS -- the driver it is bound to, or nothing.
ns_driver() {
	basename "$(readlink "$ND/devices/$1/driver")"
}

# ns_disk NS -- the disk it became.
ns_disk() {
	local dir

	for dir in "$ND/devices/$1"/block/*; do
		[ -e "$dir" ] && basename "$dir" && return
	done
	fail "$1 has no disk"
}

ns_unbind() {
	[ -e "$ND/devices/$1/driver" ] || return 0
	echo "$1" >"$ND/devices/$1/driver/unbind"
}

# ns_bind NS [DRIVER] -- taking it from the other driver if need be.
ns_bind() {
	local driver=${2:-$DRIVER}

	load_driver "$driver" || return
	[ "$(ns_driver "$1")" = "$driver" ] && return
	ns_unbind "$1"
	echo "$1" >"$ND/drivers/$driver/bind" || return
	on_exit ns_unbind "$1"
	# udev has the node open for a moment, which mkfs would call "in use".
	udevadm settle
	[ -b "/dev/$(ns_disk "$1")" ]
}

# --- Filesystems ---

# XFS as the chain needs it: it finds the owners by its reverse map.
make_xfs() {
	mkfs.xfs -q -f -m rmapbt=1,reflink=1 "$@"
}

# Blocks of 4 KiB, without which ext4 has no DAX.
make_ext4() {
	mkfs.ext4 -q -F -b $PAGE "$@"
}

unmount() {
	! mountpoint -q $MNT || umount $MNT
}

# mount_dax DEVICE -- and see that DAX is on: XFS only warns if it cannot have it.
mount_dax() {
	mkdir -p $MNT
	mount -o dax=always "$1" $MNT || return
	on_exit unmount
	findmnt -no OPTIONS $MNT | grep -q dax=always || fail "$1 has no DAX"
}

# xfs_on NS -- bind it, make XFS on it and mount that; sets DISK.
xfs_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	make_xfs "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# ext4_on NS -- the same with ext4.
ext4_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	make_ext4 "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# fill FILE PAGES -- with data that differs from page to page, on media.
fill() {
	seq -f 'daxmf %09.0f' 1000000 | head -c $(($2 * PAGE)) >"$1" && sync "$1"
}

# share SOURCE FILE [SOURCE_OFFSET FILE_OFFSET LENGTH] -- by reflink, whole or in part.
share() {
	if [ $# = 2 ]; then
		cp --reflink=always "$1" "$2"
	else
		xfs_io -f -c "reflink $1 $3 $4 $5" "$2"
	fi
	sync "$2"
}

# --- What a failure leaves behind ---

# counters DISK -- received, delivered, declined and failed.
counters() {
	local dir=/sys/block/$1/memory_failure

	cat "$dir/received" "$dir/delivered" "$dir/declined" "$dir/failed" | paste -sd' '
}

has_counters() {
	[ -d "/sys/block/$1/memory_failure" ]
}

# counters_moved DISK BEFORE DELIVERED DECLINED FAILED -- by exactly this much since.
counters_moved() {
	local -a was now
	local sum=$(($3 + $4 + $5)) want

	has_counters "$1" || return 0
	read -ra was <<<"$2"
	want="$((was[0] + sum)) $((was[1] + $3)) $((was[2] + $4)) $((was[3] + $5))"
	read -ra now <<<"$(counters "$1")"
	[ "${now[*]}" = "$want" ] ||
		fail "counters (received delivered declined failed): ${now[*]}, not $want"
}

# page_poisoned ADDRESS -- the frame has its HWPoison flag (bit 19 of kpageflags).
page_poisoned() {
	local flags

	flags=$(od -An -tu8 -j $(($1 / (PAGE / 8))) -N 8 /proc/kpageflags)
	[ $((flags >> 19 & 1)) = 1 ] || fail "page $1 is not flagged HWPoison"
}

# bad_range DISK OFFSET LENGTH -- all of it is in the list of bad blocks.
bad_range() {
	local start count first=$(($2 / 512)) end=$((($2 + $3) / 512))

	while read -r start count; do
		[ "$start" -le $first ] && [ $((start + count)) -ge $end ] && return
	done <"/sys/block/$1/badblocks"
	fail "badblocks of $1 lacks sectors $first..$end: $(paste -sd, "/sys/block/$1/badblocks")"
}
