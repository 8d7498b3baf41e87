# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Undoes what a test has set up.

UNDO=()

# on_exit COMMAND... -- run the command at the end of the test. Commands run in reverse order.
on_exit() {
	UNDO=("$(printf '%q ' "$@")" "${UNDO[@]}")
}

# with_undo COMMAND... -- run the command, then the on_exit commands that it registered.
with_undo() {
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

# end_process PID -- end a process that this shell has started, if it still runs.
end_process() {
	! kill "$1" 2>/dev/null || ! wait "$1"
}
