# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Address Range Scrub: functions that inject errors into the firmware, and wait for scrubs. They
# need PMEM=ars.

# require_scrubs -- find a namespace on a bus that scrubs, and wait for the end of its first scrub;
# sets NS and BUS. Injected errors are removed at the end of the test.
require_scrubs() {
	require_ns nvdimm
	BUS=$(readlink -f "$ND/devices/$NS/../..")
	[ -e "$BUS/nfit/scrub" ] || skip_all "needs a bus that scrubs, PMEM=ars"
	require wait_scrub
	on_exit remove_injected
}

# inject BLOCK COUNT [OPTION] -- inject errors in NS. The firmware notifies the kernel, which starts
# a scrub. With the option --no-notify, the firmware does not notify the kernel.
inject() {
	ndctl inject-error "$NS" --block="$1" --count="$2" "${@:3}" >/dev/null
}

# remove_injected -- remove all injected errors of NS.
remove_injected() {
	call_firmware 8 0 "$(($(ns_get "$NS" resource)))" "$(ns_get "$NS" size)"
}

# firmware_errors -- print the errors that the firmware has for NS.
firmware_errors() {
	ndctl inject-error --status "$NS" | tr -d '[:space:]'
}

# call_firmware FUNCTION OPTIONS ADDRESS LENGTH [COUNT STRIDE] -- call an ACPI function with
# ND_CMD_CALL: 7 injects errors, 8 removes them. With OPTIONS 1, the firmware notifies the kernel. A
# run of ndctl for each block would take a hundred times as long.
call_firmware() {
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

# scrub_runs -- check that a scrub is under way. A read of this attribute makes the kernel poll the
# firmware one second later; without a read, the delay grows from poll to poll.
scrub_runs() {
	[[ $(cat "$BUS/nfit/scrub") == *+ ]]
}

start_scrub() {
	ndctl start-scrub "${BUS##*/}" >/dev/null && scrub_runs
}

# wait_scrub -- wait until no scrub is under way. "ndctl wait-scrub" only waits for a change of the
# attribute, while the kernel polls the firmware less and less often. So end ndctl after 10 s, and
# read the attribute.
wait_scrub() {
	while ! timeout 10 ndctl wait-scrub "${BUS##*/}" >/dev/null && scrub_runs; do :; done
	! scrub_runs
}
