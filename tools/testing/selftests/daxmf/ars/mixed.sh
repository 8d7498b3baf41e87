#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# At the same time on an fsdax namespace: fio verifies its writes, processes store with O_DIRECT and
# through a mapping, memory fails, scrubs find errors, and the driver is unbound. After the driver
# is bound again, every acknowledged store is there, except in pages that failed later.
#
#   SEED=N RUNTIME=SECONDS	seed of the random numbers, and the shortest duration [1, 1]

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-1}
RUNTIME=${RUNTIME:-1}
PAGES=64

# store HOW FILE -- store to random pages until the round ends. Every word of a page is the number
# of the store. The log gets a line when a store begins, and another line when the store is durable.
store() {
	python3 - "$@" "$TMP/log.$1" "$TMP/ended" $((SEED + ROUND)) <<-END
		import mmap, os, random, sys, time
		how, name, log, ended, seed = sys.argv[1:]
		file = os.open(name, os.O_RDWR | (os.O_DIRECT | os.O_DSYNC if how == "direct" else 0))
		memory = mmap.mmap(file, $PAGES * $PAGE) if how == "mapped" else mmap.mmap(-1, $PAGE)
		log = open(log, "w", buffering=1)
		random.seed(seed)
		store = $ROUND << 32
		while not os.path.exists(ended):
		    page = random.randrange($PAGES)
		    store += 1
		    data = store.to_bytes(8, "little") * ($PAGE // 8)
		    log.write(f"begun {page} {store}\n")
		    try:
		        if how == "mapped":
		            memory[page * $PAGE : (page + 1) * $PAGE] = data
		            memory.flush(page * $PAGE, $PAGE)
		        else:
		            memory[:] = data
		            assert os.pwritev(file, [memory], page * $PAGE) == $PAGE
		    except OSError:
		        time.sleep(0.1)
		    else:
		        log.write(f"durable {page} {store}\n")
	END
}

# stored HOW FILE -- check that each page has its last durable store, or the store that began after
# that. Pages that fail_pages() has made fail can be bad.
stored() {
	python3 - "$@" "$TMP/log.$1" "$TMP/failed" <<-END
		import os, sys
		how, name, log, failed = sys.argv[1:]
		failed = {int(line) for line in open(failed)} if how == "direct" else set()
		file = os.open(name, os.O_RDONLY)
		durable, begun, bad, wrong = {}, {}, 0, 0
		for line in open(log):
		    what, page, store = line.split()
		    (begun if what == "begun" else durable)[int(page)] = int(store)
		for page, store in begun.items():
		    try:
		        data = os.pread(file, $PAGE, page * $PAGE)
		    except OSError as error:
		        if page not in failed:
		            print(f"{name}: page {page} was never made to fail: {error}")
		            wrong += 1
		        bad += 1
		        continue
		    words = {int.from_bytes(data[i : i + 8], "little") for i in range(0, $PAGE, 8)}
		    if page in durable and not words <= {durable[page], store}:
		        print(f"{name}: page {page} has {words}, not {durable[page]} or {store}")
		        wrong += 1
		print(f"{name}: {len(durable)} of {len(begun)} pages are durable, {bad} are bad")
		sys.exit(wrong > 0 or not durable)
	END
}

# Pages of one file fail, one after the other: the firmware reports an error, a scrub finds an
# error, or hwpoison-inject calls memory_failure().
fail_pages() {
	local page address

	until [ -e "$TMP/ended" ]; do
		page=$((RANDOM % PAGES))
		echo $page >>"$TMP/failed"
		address=$((ADDRESS + page * PAGE))
		case $((RANDOM % 3)) in
		0) call_firmware 7 1 $address $PAGE ;;
		1) call_firmware 7 0 $address $PAGE ;;
		2) poison $address 2>/dev/null ;;
		esac
	done
}

scrub() {
	until [ -e "$TMP/ended" ]; do
		start_scrub
		wait_scrub
	done
}

verified() {
	fio --name=verify --filename=$MNT/fio --size=2M --bs=4k-64k --rw=randrw --verify=crc32c \
		--verify_fatal=1 --randseed=$((SEED + ROUND)) --output="$TMP/fio" "$@"
}

# Each file has one extent, so that the failing pages belong to one file.
make_files() {
	local file

	for file in direct mapped; do
		fallocate -l $((PAGES * PAGE)) $MNT/$file && fill $MNT/$file $PAGES || return
	done
	START=$(ns_start "$NS")
	ADDRESS=$(address $MNT/direct 0)
	is address $MNT/direct $((PAGES - 1)) $((ADDRESS + (PAGES - 1) * PAGE))
}

# mount_again -- unmount, bind the driver again, and mount.
mount_again() {
	timeout $DEADLINE umount $MNT && ns_bind "$NS" && mount -o dax=always "/dev/$(ns_disk "$NS")" $MNT
}

round() {
	local -a jobs
	local status=0 job

	rm -f "$TMP/ended"
	for job in "store direct $MNT/direct" "store mapped $MNT/mapped" fail_pages scrub; do
		$job &
		jobs+=($!)
	done
	verified --ioengine=mmap --fsync=16 && verified --ioengine=psync --direct=1 ||
		fail "$(tail -n 20 "$TMP/fio")" || status=1
	verified --ioengine=psync --direct=1 >/dev/null 2>&1 &
	jobs+=($!)
	ns_unbind "$NS" || status=1
	touch "$TMP/ended"
	# The process with the mapping ends by SIGBUS.
	wait "${jobs[@]}" 2>/dev/null
	mount_again && stored direct $MNT/direct && stored mapped $MNT/mapped && return $status
}

rounds() {
	local end=$((SECONDS + RUNTIME))

	for ((ROUND = 1; ROUND == 1 || SECONDS < end; ROUND++)); do
		round || return
	done
	echo "$((ROUND - 1)) rounds, $(wc -l <"$TMP/failed") failures"
}

# Scrub first, because the firmware can have errors that no scrub has found yet.
all_is_written() {
	wait_scrub && start_scrub && wait_scrub &&
		dd if=/dev/zero of=$MNT/direct bs=$PAGE count=$PAGES conv=notrunc,fsync status=none &&
		DISK=$(ns_disk "$NS") && is bad_blocks "" && is firmware_errors "" &&
		cmp -n $((PAGES * PAGE)) /dev/zero $MNT/direct
}

whole() {
	unmount && xfs_repair -n -o force_geometry "/dev/$(ns_disk "$NS")"
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_scrubs
RANDOM=$SEED
require make_fsdax "$NS" pmem
on_exit make_raw "$NS"
# One allocation group, as in chain/remove.
require xfs_on "$NS" --unsupported -d agcount=1
require make_files
check "acknowledged stores are there" rounds
check "failed pages are good after a write" all_is_written
check "the filesystem has no damage" whole
finish
