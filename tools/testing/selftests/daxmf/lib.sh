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
# What daxmf_pmem does with a simulated failure: list rehearses a real one, tell is its default.
SIMULATED=${SIMULATED:-list}
KIND=${KIND:-nvdimm}
ND=/sys/bus/nd
MNT=/mnt/daxmf
PAGE=4096
# Seconds until what is waited for must have come; the debug kernel has as many more as a test has.
DEADLINE=60
[ "${KERNEL:-stock}" = stock ] || DEADLINE=$((DEADLINE * 3))
# Modules that a test may have loaded, users before what they use.
MODULES=(daxmf_nospec daxmf_keep rust_dax_source mendfs daxmf_stack rust_dax_holder rust_dax_provider)
MODULES+=(daxmf_pmem nd_pmem daxmf hwpoison_inject)

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

# check_ours NAME COMMAND... -- a case that holds for our driver only.
check_ours() {
	if [ "$DRIVER" = daxmf_pmem ]; then
		check "$@"
	else
		ktap_test_skip "$1"
	fi
}

# require COMMAND... -- a step without which the test is pointless.
require() {
	"$@" >"$TMP/out" 2>&1 </dev/null && return
	sed 's/^/# /' "$TMP/out"
	ktap_exit_fail_msg "$*"
}

# require_ns KIND [N] -- skip the test if there is no such namespace; sets NS.
require_ns() {
	NS=$(ns_find "$@") || skip_all "no namespace of kind $1 here"
}

# require_disk KIND -- a disk that such a namespace has become; sets NS, DISK and START, its physical
# address.
# shellcheck disable=SC2034 # for the tests
require_disk() {
	require_ns "$1"
	require ns_bind "$NS"
	DISK=$(ns_disk "$NS")
	START=$(ns_start "$NS")
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

# json_is COMMAND -- standard input is what "daxmf COMMAND --json" prints by its schema.
json_is() {
	python3 "$SELFTESTS/json_is.py" "$1"
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

# clean COMMAND... -- undo what it set up when it ends.
clean() {
	local status=0 undo=("${UNDO[@]}")

	UNDO=()
	"$@" || status=1
	undo_all
	UNDO=("${undo[@]}")
	return $status
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

# each COMMAND ARG... -- run it with each of them at the same time; all must succeed.
each() {
	local command=$1 arg job status=0
	local -a jobs

	shift
	for arg; do
		"$command" "$arg" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || status=1
	done
	return $status
}

# --- The kernel's log ---

# log_mark MARK -- write a line to find the place by.
log_mark() {
	echo "$1" >/dev/kmsg
}

# log_since [MARK] -- what the kernel has said since.
log_since() {
	dmesg --notime | sed "1,\\%^${1:-$LOG_MARK}%d"
}

# log_says PATTERN [MARK] -- a line since the mark matches.
log_says() {
	log_since "${2:-}" | grep -qE "$1" || fail "the kernel's log does not say '$1'"
}

COMPLAINTS='WARNING: |BUG: |kernel BUG at|Oops|KASAN|KCSAN|UBSAN|general protection'
COMPLAINTS+='|suspicious RCU|possible (circular|recursive) locking|INFO: task .* blocked'
COMPLAINTS+='|rust_kernel: panicked|kmemleak: [0-9]+ new'

# log_complaints -- WARN, BUG, sanitizer and lockdep reports since the start of the test.
#
# One is known: that of stock fs/dax.c when two files of XFS share a page.
log_complaints() {
	local known='^$'

	! module_loaded xfs || known='WARNING: .* at dax_disassociate_entry'
	log_since | grep -E "$COMPLAINTS" | grep -v "$known"
}

log_clean() {
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

# settle -- wait until udev has seen all events. Now and then it closes the connection first, with
# "Broken pipe".
settle() {
	udevadm settle || udevadm settle
}

# unload NAME -- udev may still be looking at what the driver had.
unload() {
	settle && rmmod "$1"
}

unload_modules() {
	local module status=0

	for module in "${MODULES[@]}"; do
		module_loaded "$module" || continue
		unload "$module" || status=1
	done
	return $status
}

# --- Namespaces ---

# dimm_has_labels NMEM -- it has an area for labels, written or not.
dimm_has_labels() {
	cat "$ND/devices/$1/available_slots" >/dev/null 2>&1
}

# ns_kind NS -- nvdimm, labelled, virtio or memmap; fails for a seed, and for the space of an NVDIMM
# whose labels have not been written.
ns_kind() {
	local dir=$ND/devices/$1 dimm

	[ "$(cat "$dir/size")" != 0 ] || return
	case $(readlink -f "$dir") in
	*/virtio*) echo virtio ;;
	*/e820_pmem/*) echo memmap ;;
	*)
		case $(cat "$dir/devtype") in
		nd_namespace_pmem) echo labelled ;;
		*)
			IFS=, read -r dimm _ <"$dir/../mapping0"
			! dimm_has_labels "$dimm" && echo nvdimm
			;;
		esac
		;;
	esac
}

# find_labels -- the NVDIMM that has an area for labels, and its region; sets DIMM and REGION.
find_labels() {
	local dir

	for dir in "$ND"/devices/nmem*; do
		! dimm_has_labels "${dir##*/}" || DIMM=${dir##*/}
	done
	[ -n "$DIMM" ] || return
	for dir in "$ND"/devices/region*; do
		! grep -qs "^$DIMM," "$dir/mapping0" || REGION=${dir##*/}
	done
	[ -n "$REGION" ]
}

# with_labels COMMAND -- write or erase labels while the region is off.
with_labels() {
	ndctl disable-region "$REGION" && ndctl "$@" "$DIMM" && ndctl enable-region "$REGION"
}

# require_labels -- an NVDIMM with labels, of which there are none in the end; sets DIMM and REGION.
require_labels() {
	find_labels || skip_all "no NVDIMM with labels here"
	require with_labels init-labels -f
	on_exit with_labels zero-labels
}

# label SIZE ALIGN -- a namespace in the region; sets NS. With the smallest alignment, of a page, it may have
# any size.
label() {
	local dir

	NS=$(cat "$ND/devices/$REGION/namespace_seed")
	dir=$ND/devices/$NS
	echo "$2" >"$ND/devices/$REGION/align" && cat /proc/sys/kernel/random/uuid >"$dir/uuid" &&
		echo "$1" >"$dir/size"
}

# unlabel -- it is no more.
unlabel() {
	disclaim "$NS"
	echo 0 >"$ND/devices/$NS/size"
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
	return 1
}

# ns_get NS ATTRIBUTE
ns_get() {
	cat "$ND/devices/$1/$2"
}

# ns_device NS -- what a driver is bound to: the namespace itself, or what its info block has made.
ns_device() {
	local holder

	holder=$(cat "$ND/devices/$1/holder" 2>/dev/null)
	echo "${holder:-$1}"
}

# ns_driver NS -- the driver it is bound to, or nothing.
ns_driver() {
	basename "$(readlink "$ND/devices/$(ns_device "$1")/driver")"
}

# ns_disk NS -- the disk it became.
ns_disk() {
	local dir

	for dir in "$ND/devices/$(ns_device "$1")"/block/*; do
		[ -e "$dir" ] && basename "$dir" && return
	done
	fail "$1 has no disk"
}

# ns_start NS -- the physical address of the first byte of its disk.
ns_start() {
	echo $(($(ns_get "$(ns_device "$1")" resource)))
}

ns_unbind() {
	local device

	device=$(ns_device "$1")
	[ -e "$ND/devices/$device/driver" ] || return 0
	echo "$device" >"$ND/devices/$device/driver/unbind"
}

# ns_bind NS [DRIVER] -- taking it from the other driver if need be.
ns_bind() {
	local driver=${2:-$DRIVER}

	load_driver "$driver" || return
	[ "$(ns_driver "$1")" = "$driver" ] && return
	ns_unbind "$1"
	ns_device "$1" >"$ND/drivers/$driver/bind" || return
	on_exit ns_unbind "$1"
	# udev has the node open for a moment, which mkfs would call "in use".
	settle
	simulated "$1" "$SIMULATED"
}

# disclaim NS -- take it from what its info block has made.
disclaim() {
	local claim

	claim=$(ns_device "$1")
	ns_unbind "$1"
	[ "$claim" = "$1" ] || echo >"$ND/devices/$claim/namespace"
}

# as_raw NS COMMAND... -- with all of its memory as DISK, whatever its info block says. nd_pmem makes no
# page map for it.
as_raw() {
	local ns=$1 status=0

	shift
	disclaim "$ns"
	echo 1 >"$ND/devices/$ns/force_raw" && ns_bind "$ns" nd_pmem || return
	DISK=$(ns_disk "$ns")
	"$@" || status=1
	ns_unbind "$ns" && echo 0 >"$ND/devices/$ns/force_raw" && return $status
}

# make_raw NS -- without an info block, with zeroes where that and a page map may be, and bound to no driver.
make_raw() {
	as_raw "$1" write_zeroes
}

write_zeroes() {
	dd if=/dev/zero of="/dev/$DISK" bs=1M count=16 oflag=direct conv=notrunc status=none
}

# make_fsdax NS ram|pmem [ALIGN] -- its page map there, and its data so. ndctl takes a raw one of the kinds
# memmap and virtio for fsdax as it is, and gives it no info block.
make_fsdax() {
	make_raw "$1" && claim_by pfn "$1" "mode=$2" "align=${3:-$((2 << 20))}"
}

make_sector() {
	make_raw "$1" && claim_by btt "$1" sector_size=$PAGE
}

# claim_by pfn|btt NS ATTRIBUTE=VALUE... -- and bind that, which has the driver write the info block.
claim_by() {
	local region seed set

	region=$(readlink -f "$ND/devices/$2/..")
	seed=$region/$(cat "$region/$1_seed") || return
	for set in "${@:3}"; do
		echo "${set#*=}" >"$seed/${set%%=*}" || return
	done
	cat /proc/sys/kernel/random/uuid >"$seed/uuid" && echo "$2" >"$seed/namespace" && ns_bind "$2"
}

# same COMMAND... -- it prints the same with both drivers, and what one writes the other one reads; DISK
# is the disk of NS.
same() {
	local driver before=

	rm -f "$TMP/nd_pmem" "$TMP/daxmf_pmem"
	for driver in daxmf_pmem nd_pmem daxmf_pmem; do
		ns_bind "$NS" $driver && DISK=$(ns_disk "$NS") || return
		[ -z "$before" ] || has_marks $before || fail "$driver does not read it" || return
		# It has had its turn.
		[ ! -e "$TMP/$driver" ] || break
		"$@" >"$TMP/$driver" && put_marks $driver || return
		before=$driver
	done
	cat "$TMP/nd_pmem"
	diff "$TMP/nd_pmem" "$TMP/daxmf_pmem"
}

# alike COMMAND... -- it prints the same with either driver as DRIVER.
alike() {
	local driver

	for driver in nd_pmem daxmf_pmem; do
		DRIVER=$driver "$@" >"$TMP/$driver" 2>"$TMP/errors" || {
			cat "$TMP/$driver" "$TMP/errors"
			return 1
		}
	done
	cat "$TMP/nd_pmem"
	diff "$TMP/nd_pmem" "$TMP/daxmf_pmem"
}

# put_marks WORD -- in the first and the last page of DISK.
put_marks() {
	local page

	for page in 0 "$(last_page)"; do
		echo "$1 $page" | dd of="/dev/$DISK" bs=$PAGE seek="$page" oflag=direct \
			conv=sync,notrunc status=none || return
	done
}

has_marks() {
	local page

	for page in 0 "$(last_page)"; do
		dd if="/dev/$DISK" bs=$PAGE skip="$page" count=1 iflag=direct status=none |
			grep -aqx "$1 $page" || return
	done
}

last_page() {
	echo $(($(cat "/sys/block/$DISK/size") * 512 / PAGE - 1))
}

# What tools ask of a disk, but for dax/write_cache, which nd_pmem has where there is no DAX, too; and
# whether it is read-only when its region is.
attributes() {
	local only

	(cd "/sys/block/$DISK" && grep -s . size ro removable range ext_range \
		queue/{dax,write_cache,fua,rotational,add_random,iostats,nomerges,stable_writes} \
		queue/{logical_block_size,physical_block_size,minimum_io_size,optimal_io_size} \
		queue/{max_hw_sectors_kb,discard_max_bytes,write_zeroes_max_bytes,dma_alignment} \
		queue/{zoned,nr_zones})
	for only in 1 0; do
		echo $only >"$ND/devices/$NS/../read_only"
		echo "region read-only $only, disk $(cat "/sys/block/$DISK/ro")"
	done
}

# simulated NS tell|list -- what becomes of memory whose failure is only simulated.
simulated() {
	local disk

	disk=$(ns_disk "$1") && [ -b "/dev/$disk" ] || return
	! has_counters "$disk" || echo "$2" >"/sys/block/$disk/memory_failure/simulated"
}

# bind_fails WHY NS -- our driver must refuse it in one line, and leave it as it was. The kernel
# may have a word of its own.
bind_fails() {
	local mark="bind $2 $RANDOM" lines

	load_driver daxmf_pmem || return
	log_mark "$mark"
	echo "$2" >"$ND/drivers/daxmf_pmem/bind" && fail "$2 was bound" && return 1
	log_since "$mark" | grep "^daxmf_pmem $2: " |
		grep -vE "probe with driver|could not reserve region" >"$TMP/lines"
	cat "$TMP/lines"
	lines=$(wc -l <"$TMP/lines")
	[ "$lines" = 1 ] || fail "$lines lines in the log" || return
	grep -qE "$1" "$TMP/lines" || fail "the line does not say '$1'" || return
	[ ! -e "$ND/devices/$2/driver" ] || fail "$2 has a driver" || return
	fails_with "has no disk" ns_disk "$2"
}

# --- The sample holder ---

# hold DISK [PARAMETER...] -- have rust_dax_holder claim it.
hold() {
	local disk=$1

	shift
	modprobe rust_dax_holder "device=/dev/$disk" "$@"
}

# hold_fails ERRNO PATH -- it must be refused, with one line in the log that says why.
#
# The kernel's line tells more than modprobe, which takes ENOENT for an unknown symbol.
#
# A kernel without CONFIG_SYMBOLIC_ERRNAME prints the number.
hold_fails() {
	local mark="hold $2 $RANDOM" number

	number=$(python3 -c "import errno; print(errno.$1)") || return
	log_mark "$mark"
	modprobe rust_dax_holder "device=$2" && fail "$2 can be held" && return 1
	log_says "rust_dax_holder: device=\"$2\" cannot be held: ($1|Error\\($number\\))\$" "$mark"
}

release() {
	rmmod rust_dax_holder
}

# notified -- how many failures the holder was told of.
notified() {
	cat /sys/kernel/debug/rust_dax_holder/notified
}

# is COMMAND... VALUE -- the command prints this.
is() {
	local want=${*: -1} got

	got=$("${@:1:$#-1}") || return
	[ "$got" = "$want" ] || fail "'${*:1:$#-1}' is $got, not $want"
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

# unmount -- if there is something. It may be shut down, and not even be looked at any more.
unmount() {
	! grep -q " $MNT " /proc/mounts || umount $MNT
}

# mount_dax DEVICE -- and see that DAX is on: XFS only warns if it cannot have it.
mount_dax() {
	mkdir -p $MNT
	mount -o dax=always "$1" $MNT || return
	on_exit unmount
	findmnt -no OPTIONS $MNT | grep -q dax=always || fail "$1 has no DAX"
}

# xfs_on NS [OPTION...] -- bind it, make XFS on it and mount that; sets DISK.
xfs_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	shift
	make_xfs "$@" "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# ext4_on NS -- the same with ext4.
ext4_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	make_ext4 "/dev/$DISK" && mount_dax "/dev/$DISK"
}

# mount_mendfs DEVICE [OPTION...]
mount_mendfs() {
	local device=$1

	shift
	mkdir -p $MNT
	modprobe mendfs && mount -t mendfs "$@" "$device" $MNT || return
	on_exit unmount
}

# mendfs_on NS [OPTION...] -- bind it, make mendfs on it and mount that; sets DISK.
mendfs_on() {
	ns_bind "$1" || return
	DISK=$(ns_disk "$1")
	shift
	mkfs.mendfs -q -f "$@" "/dev/$DISK" && mount_mendfs "/dev/$DISK"
}

# fsck_clean DEVICE -- fsck finds nothing on it.
fsck_clean() {
	fsck.mendfs -n "$1"
}

# again -- unmount, check and mount what is on the disk.
again() {
	unmount && fsck_clean "/dev/$DISK" && mount -t mendfs "/dev/$DISK" $MNT
}

# pattern [PAGE] -- data that differs from page to page, from this page on; up to 64 MiB.
pattern() {
	seq $((1000000 + ${1:-0} * PAGE / 8)) 9999999 2>/dev/null
}

# fill FILE PAGES -- with the pattern, on media.
fill() {
	pattern | head -c $(($2 * PAGE)) >"$1" && sync "$1"
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

# make_many FILE COUNT -- with so many blocks, which are all the same one.
make_many() {
	python3 - "$@" <<-'END'
		import fcntl, os, struct, sys
		FICLONERANGE = 0x4020940d
		file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
		os.pwrite(file, b"many" * 1024, 0)
		os.fsync(file)
		count, wanted = 1, int(sys.argv[2])
		while count < wanted:
		    more = min(count, wanted - count)
		    fcntl.ioctl(file, FICLONERANGE, struct.pack("qQQQ", file, 0, more * 4096, count * 4096))
		    count += more
	END
}

# --- Mapped devices ---

STACK=/sys/kernel/config/daxmf_stack

# require_disks -- two disks on which poison is cleared by writing: sets A, of 512 MiB, and B; and
# START, the physical address of A.
# shellcheck disable=SC2034 # for the tests
require_disks() {
	require_disk virtio
	B=$DISK
	require_disk memmap
	A=$DISK
}

# map NAME [TABLE...] -- a mapped device with a table, or with the lines on standard input; sets
# DM to its name in the kernel.
map() {
	local name=$1

	shift
	if [ $# -gt 0 ]; then
		dmsetup create "$name" --table "$*"
	else
		dmsetup create "$name"
	fi || return
	on_exit unmap "$name"
	dm_name "$name"
}

# reload NAME -- another table, on standard input.
reload() {
	dmsetup reload "$1" && dmsetup suspend "$1" && dmsetup resume "$1" && settle
}

# linear START COUNT DISK FROM -- a line of a table, in MiB.
linear() {
	echo $(($1 * 2048)) $(($2 * 2048)) linear "/dev/$3" $(($4 * 2048))
}

# swap_halves -- of the disk on a mapped device, see map().
swap_halves() {
	HALF=$(($(blockdev --getsz "/dev/$DISK") / 2))
	map swapped <<-END
		0 $HALF linear /dev/$DISK $HALF
		$HALF $HALF linear /dev/$DISK 0
	END
}

# in_swapped SECTOR -- where it is on the disk.
in_swapped() {
	echo $((($1 + HALF) % (2 * HALF)))
}

# make_partition -- on the disk, until the end; sets FROM, its first sector.
# shellcheck disable=SC2034 # for the tests
make_partition() {
	printf 'label: gpt\nstart=2M\n' | sfdisk -q --wipe always "/dev/$DISK" &&
		on_exit sfdisk -q --delete "/dev/$DISK" && udevadm settle &&
		FROM=$(cat "/sys/class/block/${DISK}p1/start")
}

# unmap NAME -- udev may still be looking at it.
unmap() {
	settle && dmsetup remove "$1"
}

dm_name() {
	settle
	DM=$(basename "$(readlink -f "/dev/mapper/$1")")
}

# lvm_quietly COMMAND... -- a guest has no lvmdbusd and no event daemon.
lvm_quietly() {
	"$@" -qq --yes --config 'activation/monitoring=0 global/notify_dbus=0'
}

# volume_group DISK... -- the group vg, until the end.
volume_group() {
	lvm_quietly pvcreate "$@" && lvm_quietly vgcreate vg "$@" && on_exit remove_group "$@"
}

remove_group() {
	settle
	lvm_quietly vgremove vg && lvm_quietly pvremove "$@"
}

# volume NAME OPTION... -- sets DM.
volume() {
	local name=$1

	shift
	lvm_quietly lvcreate -n "$name" -Wn -Zn "$@" vg && dm_name "vg-$name"
}

# attach LOWER UPPER -- by their names in the kernel.
attach() {
	modprobe daxmf_stack && mkdir -p "$STACK/$1/$2" || return
	on_exit detach "$1" "$2"
}

detach() {
	[ ! -d "$STACK/$1/$2" ] || rmdir "$STACK/$1/$2" || return
	[ ! -d "$STACK/$1" ] || rmdir --ignore-fail-on-non-empty "$STACK/$1"
}

# told_on_dm SOURCE -- every owner of a shared page is told, at both ends of the mapped device.
told_on_dm() {
	local source=$1 status=0

	make_xfs "/dev/$DM" && mount_dax "/dev/$DM" && cd $MNT || return
	fill first 16 && share first clone &&
		fallocate -l $(($(blockdev --getsize64 "/dev/$DM") * 3 / 4)) gap &&
		fill last 16 && share last copy &&
		told "$source" first,offset=8K clone,offset=8K last,offset=8K,quiet &&
		told "$source" last,offset=60K copy,offset=60K first,offset=60K,quiet || status=1
	cd / && unmount
	return $status
}

# stack_counters LOWER[/UPPER] -- received, delivered, declined and failed.
stack_counters() {
	counters_in "/sys/kernel/debug/daxmf_stack/$1"
}

# --- Failures ---

# poison ADDRESS -- report the page frame there as failed, whoever uses it or not.
#
# The write ends when the kernel is done with it, and returns what memory_failure() did.
poison() {
	module_loaded hwpoison_inject || modprobe hwpoison-inject || return
	printf '%#x' $(($1 / PAGE)) >/sys/kernel/debug/hwpoison/corrupt-pfn
}

# told SOURCE OWNER... -- every owner is told of a failure in the first one's page.
told() {
	[ "$1" != corrupt-pfn ] || modprobe hwpoison-inject || return
	mfchain run --source "$@"
}

# kernel_words ADDRESS|SYMBOL... -- 64 bits of the kernel's memory at each, read by a probe event.
kernel_words() {
	local tracing=/sys/kernel/tracing

	echo "p:daxmf/peek __x64_sys_getppid $(printf '@%s:x64 ' "$@")" >$tracing/kprobe_events || return
	echo >$tracing/trace
	echo 1 >$tracing/events/daxmf/peek/enable
	sh -c : # a shell asks for its parent's number
	echo 0 >$tracing/events/daxmf/peek/enable
	sed -n 's/.*sys_getppid[^)]*) //; s/arg[0-9]*=//gp' $tracing/trace | head -n 1
	echo >$tracing/kprobe_events
}

# frame_flags ADDRESS... -- of their struct pages; sets FLAGS. /proc/kpageflags does not know device memory.
frame_flags() {
	local address page_struct=64 pages=()

	VMEMMAP=${VMEMMAP:-$(kernel_words vmemmap_base)}
	for address; do
		pages+=("$(printf '%#x' $((VMEMMAP + address / (PAGE / page_struct))))")
	done
	read -ra FLAGS <<<"$(kernel_words "${pages[@]}")"
	[ ${#FLAGS[@]} = $# ]
}

# mend DISK -- write over what is bad.
mend() {
	local start count

	while read -r start count && [ -n "$start" ]; do
		dd if=/dev/zero "of=/dev/$1" seek="$start" count="$count" oflag=direct status=none ||
			return
	done <<<"$(cat "/sys/block/$1/badblocks")"
}

# frame_flagged FAILED GOOD -- the frame of the failed address has one flag more than that of the
# good one. Neither has been used by anybody, so the flag is PG_hwpoison.
frame_flagged() {
	local failed good extra

	frame_flags "$1" "$2" || return
	failed=${FLAGS[0]} good=${FLAGS[1]}
	extra=$((failed ^ good))
	if [ $((failed & extra)) = 0 ] || [ $((extra & (extra - 1))) != 0 ]; then
		fail "flags of the failed frame: $failed, of the good one: $good"
	fi
}

# forget_poison -- take the NVDIMMs away and back: only that clears what nfit knows as bad.
forget_poison() {
	unload_modules
	rebind_nfit true
}

# rebind_nfit MEANWHILE -- take the NVDIMMs away and back; before they are back, the command must succeed.
rebind_nfit() {
	local device=ACPI0012:00 driver

	driver=$(readlink -f /sys/bus/platform/devices/$device/driver) || return
	echo $device >"$driver/unbind" && "$1" && echo $device >"$driver/bind" && settle
}

# counters DISK -- received, delivered, declined and failed.
counters() {
	counters_in "/sys/block/$1/memory_failure"
}

counters_in() {
	local name count counts=()

	for name in received delivered declined failed; do
		read -r count <"$1/$name" && counts+=("$count") || return
	done
	echo "${counts[*]}"
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

# file_sector FILE PAGE -- where on the disk it is.
file_sector() {
	xfs_io -r -c "fiemap $(($2 * PAGE)) $PAGE" "$1" | sed -n 's/.*: \([0-9]*\)\.\..*/\1/p'
}

# dax_read FILE PAGE -- one page, straight from media.
dax_read() {
	dd if="$1" of=/dev/null bs=$PAGE skip="$2" count=1 iflag=direct status=none
}

# bad_range DISK OFFSET LENGTH -- all of it is in the list of bad blocks.
bad_range() {
	local start count first=$(($2 / 512)) end=$((($2 + $3) / 512))

	while read -r start count; do
		[ "$start" -le $first ] && [ $((start + count)) -ge $end ] && return
	done <"/sys/block/$1/badblocks"
	fail "badblocks of $1 lacks sectors $first..$end: $(paste -sd, "/sys/block/$1/badblocks")"
}

# --- A bus that scrubs ---

# require_scrubs -- a namespace on such a bus, with no scrub under way and no error; sets NS and BUS.
require_scrubs() {
	require_ns nvdimm
	BUS=$(readlink -f "$ND/devices/$NS/../..")
	[ -e "$BUS/nfit/scrub" ] || skip_all "needs a bus that scrubs, PMEM=ars"
	require scrub_ends
	on_exit uninject
}

# inject BLOCK COUNT [OPTION] -- errors in a namespace. The firmware reports them at once, which makes
# the kernel scrub, but not with --no-notify.
inject() {
	ndctl inject-error "$NS" --block="$1" --count="$2" "${@:3}" >/dev/null
}

# uninject -- whatever the firmware has, in all of the namespace.
uninject() {
	in_firmware 8 0 "$(($(ns_get "$NS" resource)))" "$(ns_get "$NS" size)"
}

# injected -- what the firmware has of the namespace.
injected() {
	ndctl inject-error --status "$NS" | tr -d '[:space:]'
}

# in_firmware FUNCTION OPTIONS ADDRESS LENGTH [COUNT STRIDE] -- 7 injects errors, 8 removes them: ACPI's
# functions, through an ioctl. ndctl does as much for a block, and takes a hundred times as long.
in_firmware() {
	python3 - "/dev/ndctl${BUS##*ndbus}" "$@" <<-END
		import fcntl, os, struct, sys
		bus = os.open(sys.argv[1], os.O_RDWR)
		function, options, address, length, count, stride = (list(map(int, sys.argv[2:])) + [1, 0])[:6]
		for i in range(count):
		    argument = struct.pack("<QQB7x", address + i * stride, length, options)
		    head = struct.pack("<QQII40x", 0, function, len(argument), 4)
		    call = bytearray(head + argument + bytes(4))
		    fcntl.ioctl(bus, 3 << 30 | len(head) << 16 | ord("N") << 8 | 10, call)
		    assert call[-4:] == bytes(4), "the firmware refuses"
	END
}

# To look at the scrub makes the kernel ask the firmware a second later, in place of ever more seldom.
scrubs() {
	[[ $(cat "$BUS/nfit/scrub") == *+ ]]
}

scrub_starts() {
	ndctl start-scrub "${BUS##*/}" >/dev/null && scrubs
}

# As long as somebody asks, the kernel asks the firmware each second; else less and less often.
scrub_ends() {
	while ! timeout 10 ndctl wait-scrub "${BUS##*/}" >/dev/null && scrubs; do :; done
	! scrubs
}

# bad_blocks -- of the disk, or nothing.
bad_blocks() {
	paste -sd, "/sys/block/$DISK/badblocks"
}

# --- Bad pages in mendfs ---

# address FILE PAGE -- its physical address.
address() {
	echo $((START + $(file_sector "$1" "$2") * 512))
}

# spoil FILE PAGE -- it fails; nobody has it mapped.
spoil() {
	poison "$(address "$1" "$2")"
}

cannot_read() {
	fails_with "Input/output error" dax_read "$1" "$2"
}

is_touched() {
	mfchain touch "$1,offset=$(($2 * PAGE))${3+,$3}"
}

cannot_touch() {
	fails_with "BUS_MCEERR_AR" is_touched "$@"
}

# page_data -- what write_page() and has_page() know.
page_data() {
	pattern 10000 | head -c $PAGE >"$TMP/page"
}

# write_page FILE PAGE [OPERAND...] -- of dd; whole, with data that is known.
write_page() {
	dd if="$TMP/page" of="$1" bs=$PAGE seek="$2" count=1 conv=notrunc status=none "${@:3}"
}

# has_page FILE PAGE [OPERAND...]
has_page() {
	dd if="$1" bs=$PAGE skip="$2" count=1 status=none "${@:3}" | cmp - "$TMP/page"
}

# same_but FILE PAGE -- all other pages are as fill() has written them; -1 is no page.
same_but() {
	local after=$(($2 + 1)) size

	size=$(stat -c %s "$1") || return
	{ [ "$2" -le 0 ] || pattern | cmp -n $(($2 * PAGE)) - "$1"; } &&
		pattern $after | cmp -n $((size - after * PAGE)) -i 0:$((after * PAGE)) - "$1"
}

mended() {
	wait_for is cat "/sys/block/$DISK/badblocks" ''
}

# geometry -- sets BLOCKS, METADATA and JOURNAL, the sizes in Documentation/mendfs-format.rst.
geometry() {
	read -r BLOCKS METADATA JOURNAL <<<"$(od -A n -t u8 -j 48 -N 24 -w24 "/dev/$DISK")"
	[ "$BLOCKS" = $(($(blockdev --getsize64 "/dev/$DISK") / PAGE)) ]
}

# superblock COPY, journal COPY BLOCK, metadata COPY BLOCK -- its block on the device.
superblock() {
	echo $(($1 * (BLOCKS - 1)))
}

journal() {
	echo $(($1 == 0 ? 1 + $2 : BLOCKS - 1 - JOURNAL + $2))
}

metadata() {
	echo $(($1 == 0 ? 1 + JOURNAL + $2 : BLOCKS - 1 - JOURNAL - METADATA + $2))
}

# machine_check ADDRESS -- and wait until the kernel is done with it: it is not in the kernel's linear
# map any more.
machine_check() {
	log_mark "machine check at $1" && host-mce "$(printf %#x "$1")" &&
		wait_for log_says "Memory failure: $(printf %#x $(($1 / PAGE))): recovery action" \
			"machine check at $1"
}

# use_mendfs NS [DRIVER] -- bind it, make mendfs on it, and go there; sets NS, DISK and START.
use_mendfs() {
	cd / && unmount && ns_unbind "$1" && ns_bind "$1" "${2:-$DRIVER}" || return
	NS=$1
	DISK=$(ns_disk "$NS")
	START=$(ns_start "$NS")
	page_data
	mkfs.mendfs -q -f "/dev/$DISK" && mount_mendfs "/dev/$DISK" && cd $MNT && on_exit cd /
}

# remount -- what is there, and go on in it.
remount() {
	cd / && again && cd $MNT || return
}

# piece_count FILE -- how many extents it has.
piece_count() {
	xfs_io -r -c fiemap "$1" | grep -c '\.\.[0-9]*$'
}

free_pages() {
	stat -f -c %f $MNT
}

stays_bad() {
	fill stays 16 && spoil stays 5 && remount && cannot_read stays 5 && cannot_touch stays 5 &&
		cannot_touch stays 5 write && same_but stays 5
}

written_whole() {
	fill whole 16 && spoil whole 5 && cannot_read whole 5 && write_page whole 5 &&
		has_page whole 5 && same_but whole 5 && is_touched whole 5 && mended &&
		has_page whole 5
}

# A page that no file has fails: nobody gets it. An unmount waits until what failed before is mended.
free_fails() {
	local before

	remount && before=$(free_pages) && fill free 1 && FREE=$(address free 0) && rm free &&
		wait_for is free_pages "$before" && poison "$FREE" && is free_pages $((before - 1)) &&
		wait_for is free_pages "$before" && mended
}

# A page was written to through a mapping, and fails before it is written back.
dirty_fails() {
	fill dirty 16 && xfs_io -c 'mmap 0 64k' -c 'mwrite -S 5 8k 12k' dirty &&
		machine_check "$(address dirty 3)" &&
		xfs_io -c fsync dirty && cannot_read dirty 3 && write_page dirty 3 &&
		has_page dirty 3 && xfs_io -c fsync dirty &&
		is sh -c "dd if=dirty bs=$PAGE skip=2 count=1 status=none | tr -d '\\5' | wc -c" 0
}

# --- Tests that several sources share ---

# source_cases SOURCE -- what must come of a failure, whatever its source. Eight cases.
source_cases() {
	local source=$1 before file

	require_ns "$KIND"
	[ "$source" != mce ] || on_exit forget_poison
	require xfs_on "$NS"
	cd $MNT || exit
	on_exit cd /
	for file in alone shared late; do
		require fill $file 16
	done
	require share shared clone
	require cp --reflink=never shared stranger
	before=$(has_counters "$DISK" && counters "$DISK")

	check "an owner of an unshared page is told" \
		told "$source" alone,offset=8K stranger,offset=8K,quiet
	check "every owner of a shared page is told" \
		told "$source" shared,offset=12K clone,offset=12K stranger,offset=12K,quiet
	check "a private mapping is told" \
		told "$source" alone,offset=20K,private
	check_ours "a process that wants no early signal is told when it touches the page" \
		told "$source" late,offset=4K late,offset=4K,late
	check_ours "the counters add up" \
		counters_moved "$DISK" "$before" 4 0 0
	check_ours "the failed page is recorded as bad" \
		file_page_bad alone 2
	check_ours "a read of the failed page fails" \
		fails_with "Input/output error" dax_read alone 2
	check "a read of its neighbour does not" \
		dax_read alone 3
}

# file_page_bad FILE PAGE -- it is in the disk's list of bad blocks.
file_page_bad() {
	bad_range "$DISK" $(($(file_sector "$1" "$2") * 512)) $PAGE
}
