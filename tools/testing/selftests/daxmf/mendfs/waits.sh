#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# While one process zeroes or copies blocks of a file, or changes the file, another process does not
# wait when it reads another file, stores to it, looks it up or gets its attributes. The tracepoints
# of lock contention give the time that this process waits for sleeping locks.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# hardly_waits WHAT -- one process repeats the Python function WHAT on its file, while another
# process uses other files. Check that the other process waits for less than a quarter of the time.
hardly_waits() {
	python3 - "$1" <<-END
		import fcntl, glob, mmap, os, re, signal, sys, time

		TRACING = "/sys/kernel/tracing/"
		EVENTS = TRACING + "events/lock/"
		LEN = 64 << 20
		FICLONE = 0x40049409

		def zeroed():
		    with open("busy", "wb", 0) as busy:
		        os.posix_fallocate(busy.fileno(), 0, LEN)

		def copied():
		    with open("source", "rb") as source, open("busy", "wb", 0) as busy:
		        fcntl.ioctl(busy.fileno(), FICLONE, source.fileno())
		        os.pwrite(busy.fileno(), bytes(LEN), 0)

		def appended():
		    with open("busy", "wb", 0) as busy:
		        for _ in range(200):
		            os.pwrite(busy.fileno(), bytes(4096), os.fstat(busy.fileno()).st_size)
		            os.fsync(busy.fileno())

		def named():
		    for number in range(100):
		        open(f"names/{number}", "w").close()
		        os.rename(f"names/{number}", f"names/new{number}")
		        os.unlink(f"names/new{number}")

		# A file of single blocks, so that there are many extents to change.
		def cut():
		    with open("pieces", "rb") as pieces, open("busy", "wb", 0) as busy:
		        fcntl.ioctl(busy.fileno(), FICLONE, pieces.fileno())
		        os.ftruncate(busy.fileno(), 0)

		def put(path, text):
		    with open(path, "w") as file:
		        file.write(text)

		def prepare():
		    for name in "source", "other":
		        with open(name, "wb", 0) as file:
		            file.write(bytes(LEN))
		    os.makedirs("names", exist_ok=True)
		    with open("pieces", "wb", 0) as pieces:
		        for number in range(2000):
		            os.pwrite(pieces.fileno(), bytes(4096), 8192 * number)

		def use(file, memory, number):
		    os.pread(file.fileno(), 4096, 4096 * (number % 1000))
		    # Another page is faulted in each time.
		    memory[4096 * (number % 8192)] = 1
		    os.stat("other")
		    os.path.exists(f"none{number}")

		# The seconds of waiting in the trace, which must be complete.
		def waited():
		    for path in glob.glob(TRACING + "per_cpu/cpu*/stats"):
		        with open(path) as stats:
		            if not re.search(r"^overrun: 0$", stats.read(), re.M):
		                sys.exit("the trace is not complete")
		    line = re.compile(r" (\d+\.\d+): contention_(begin|end): (\S+)")
		    total, since = 0, {}
		    with open(TRACING + "trace") as events:
		        for at, kind, lock in line.findall(events.read()):
		            if kind == "begin":
		                since.setdefault(lock, float(at))
		            elif lock in since:
		                total += float(at) - since.pop(lock)
		    return total

		# Trace mutexes, also while a task spins on them, and all other locks that sleep.
		# The event contention_end has no flags.
		def trace(is_on):
		    for event, kind in ("contention_begin", " && (flags & 32 || !(flags & 1))"), ("contention_end", ""):
		        own = f"common_pid == {os.getpid()}{kind}"
		        put(f"{EVENTS}{event}/filter", own if is_on else "0")
		        put(f"{EVENTS}{event}/enable", "1" if is_on else "0")

		what = globals()[sys.argv[1]]
		prepare()
		what()
		busy = os.fork()
		if busy == 0:
		    while True:
		        what()

		rounds, start = 0, time.monotonic()
		try:
		    put(TRACING + "trace", "")
		    trace(True)
		    with open("other", "r+b", 0) as file, mmap.mmap(file.fileno(), LEN) as memory:
		        while time.monotonic() < start + 5 or rounds < 100:
		            use(file, memory, rounds)
		            rounds += 1
		finally:
		    took = time.monotonic() - start
		    trace(False)
		    os.kill(busy, signal.SIGKILL)
		    os.waitpid(busy, 0)

		seconds = waited()
		print(f"{4 * rounds} operations in {took:.3f} s, of which it has waited {seconds:.3f} s")
		sys.exit(seconds > took / 4)
	END
}

# trace CLOCK KIBIBYTES -- set the clock of the trace, and the size of its buffer for each
# processor.
trace() {
	echo "$1" >/sys/kernel/tracing/trace_clock && echo "$2" >/sys/kernel/tracing/buffer_size_kb
}

begin 5
[ -e /sys/kernel/tracing/events/lock/contention_begin ] || skip_all "needs the tracepoint contention_begin"
# A process can wait on one processor and continue on another, so use one clock for all processors.
# At the end restore the defaults.
on_exit trace local 1408
trace mono 32768
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /

check "blocks of another file are zeroed" hardly_waits zeroed
check "blocks of another file are copied" hardly_waits copied
check "another file is appended to" hardly_waits appended
check "names change elsewhere" hardly_waits named
check "another file is cloned to and cut off" hardly_waits cut
finish
