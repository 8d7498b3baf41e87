#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Break an example of the crate in a copy of the source. This example must fail, and no other.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

copy=$work/copy

break_and_build()
{
	local modules

	mapfile -t modules < <(sed -n 's|^obj-m += \(tools/.*\)/.*|\1|p' "$top/Kbuild")
	mkdir "$copy"
	(cd "$top" && cp -r --parents Kbuild rust drivers fs samples scripts "${modules[@]}" "$copy")
	grep -q '^/// assert_eq.*0xe306_9283' "$copy/rust/crc32c.rs" &&
		sed -i '/^\/\/\/ assert_eq/s/0xe306_9283/0xe306_9284/' "$copy/rust/crc32c.rs" &&
		"$copy/scripts/modules" debug
}

# Two results are "not ok": that of the suite, and that of the example.
fails()
{
	cat >"$copy/script" <<-'END'
		modprobe daxmf_examples
		cat /sys/kernel/debug/kunit/daxmf_examples/results
	END
	KERNEL=debug SCRIPT=$copy/script LABELS=0 APPEND=kunit.enable=1 "$copy/scripts/vm" \
		</dev/null >"$copy/results" 2>&1
	cat "$copy/results"
	[ "$(grep -c '^ *not ok' "$copy/results")" = 2 ] &&
		grep -qE '^ +not ok [0-9]+ crc32c_rs' "$copy/results" &&
		[ "$(grep -cE '^ +ok ' "$copy/results")" -gt 10 ]
}

ktap_print_header
ktap_set_plan 2
check "a copy with a wrong example is built" break_and_build
check "this example fails, and no other" fails
ktap_finished
