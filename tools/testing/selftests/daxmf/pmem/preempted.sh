#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A namespace is removed while a page fault is preempted. The fault has its page frame, but has not
# yet entered the frame into the file's mapping. If the removal does not wait, the fault enters a
# frame that is gone, and the kernel crashes.
#
#   RUNTIME=SECONDS	how long to repeat the removal [4 rounds]

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# Not every round removes the namespace at the right moment, so there are several rounds.
ROUNDS=${RUNTIME:+1000000}
ROUNDS=${ROUNDS:-4}
# How long a fault is held, in seconds.
HELD=2
TRACING=/sys/kernel/tracing

# A kprobe event that fires when a fault has its frame. A process can poll it.
make_event() {
	echo 'r:daxmf_frame dax_read_unlock' >$TRACING/kprobe_events && on_exit remove_event
}

remove_event() {
	echo >$TRACING/kprobe_events
}

# hold_fault FILE -- hold a page fault of the file. A child with the lowest priority touches the
# pages. The kprobe in its first page fault wakes the parent, which runs on the same processor. The
# parent spins for HELD seconds, so that the fault does not continue. The file "held" exists
# meanwhile. The parent kills the child at the end.
hold_fault() {
	python3 - "$1" "$TMP" "$(cat $TRACING/events/kprobes/daxmf_frame/id)" $HELD <<-END
		import ctypes, mmap, os, select, signal, struct, sys, time
		name, folder, event, held = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
		libc = ctypes.CDLL(None, use_errno=True)
		os.sched_setaffinity(0, {0})
		ready, go = os.pipe()
		toucher = os.fork()
		if toucher == 0:
		    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
		    file = os.open(name, os.O_RDONLY)
		    memory = mmap.mmap(file, 0, prot=mmap.PROT_READ)
		    os.read(ready, 1)
		    while True:
		        for page in range(0, len(memory), $PAGE):
		            memory[page]
		        memory.madvise(mmap.MADV_DONTNEED)
		# perf_event_attr: the tracepoint, with a sample and a wakeup for each event.
		attr = struct.pack("IIQQQQQI", 2, 112, event, 1, 1, 0, 0, 1).ljust(112, b"\0")
		counter = libc.syscall(298, attr, toucher, -1, -1, 0)
		assert counter >= 0, os.strerror(ctypes.get_errno())
		ring = mmap.mmap(counter, 2 * $PAGE)
		os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
		poll = select.poll()
		poll.register(counter, select.POLLIN)
		os.write(go, b"g")
		assert poll.poll(30000), "no page fault"
		os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
		os.nice(-20)
		open(f"{folder}/held", "w")
		end = time.monotonic() + held
		while time.monotonic() < end:
		    pass
		os.unlink(f"{folder}/held")
		os.nice(20)
		time.sleep(0.2)
		os.kill(toucher, signal.SIGKILL)
		status = os.waitpid(toucher, 0)[1]
		print("the process ended by signal", os.WTERMSIG(status))
	END
}

round() {
	local holder

	ns_bind "$NS" && ext4_on "$NS" && fill $MNT/file 64 && unmount &&
		mount -o dax=always "/dev/$(ns_disk "$NS")" $MNT && on_exit unmount || return
	rm -f "$TMP/held"
	hold_fault $MNT/file &
	holder=$!
	wait_for test -e "$TMP/held" && taskset 2 bash -c "echo $NS >$ND/drivers/$DRIVER/unbind" || return
	# If the file is gone, the removal has waited for the fault.
	[ -e "$TMP/held" ] || WAITED=$((WAITED + 1))
	wait $holder && unmount
}

rounds() {
	local i

	WAITED=0
	for ((i = 0; i < ROUNDS && SECONDS < ${RUNTIME:-1000}; i++)); do
		round || return
	done
	echo "$WAITED of $i removals waited for a page fault"
	[ $WAITED -gt 0 ]
}

begin 1
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
[ -e $TRACING/kprobe_events ] || skip_all "needs CONFIG_KPROBE_EVENTS"
[ "$(nproc)" -gt 1 ] || skip_all "needs two processors"
require_ns memmap
require make_event

check "a removal waits for a preempted page fault" \
	with_undo rounds
finish
