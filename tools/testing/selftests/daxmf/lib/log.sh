# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The kernel's log: marks, patterns, and warnings.

# log_mark MARK -- write a line to the kernel's log, which log_since() finds.
log_mark() {
	echo "$1" >/dev/kmsg
}

# log_since [MARK] -- print the log after the mark; without MARK, after the start of the test.
log_since() {
	dmesg --notime | sed "1,\\%^${1:-$LOG_MARK}%d"
}

# log_says PATTERN [MARK] -- check that a line after the mark matches.
log_says() {
	log_since "${2:-}" | grep -qE "$1" || fail "no line of the kernel's log matches '$1'"
}

COMPLAINTS='WARNING: |BUG: |kernel BUG at|Oops|KASAN|KCSAN|UBSAN|general protection'
COMPLAINTS+='|suspicious RCU|possible (circular|recursive) locking|INFO: task .* blocked'
COMPLAINTS+='|rust_kernel: panicked|kmemleak: [0-9]+ new'

# log_complaints -- print the WARN, BUG, sanitizer and lockdep reports since the start of the test.
#
# While xfs is loaded, one warning is ignored: stock fs/dax.c warns when two files of XFS share a
# page.
log_complaints() {
	local known='^$'

	! module_loaded xfs || known='WARNING: .* at dax_disassociate_entry'
	log_since | grep -E "$COMPLAINTS" | grep -v "$known"
}

log_clean() {
	! log_complaints
}
