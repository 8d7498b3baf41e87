// SPDX-License-Identifier: GPL-2.0

#include "../events/trace.h"

bool rust_helper_trace_daxmf_event_enabled(void)
{
	return trace_daxmf_event_enabled();
}

/* kernel::tracepoint supports only tracepoints in the kernel's own bindings. */
void rust_helper_trace_daxmf_event(const char *event, const char *disk,
				   u64 offset, u64 length, const char *source,
				   int flags, const char *outcome,
				   const char *reason, int error)
{
	trace_daxmf_event(event, disk, offset, length, source, flags, outcome,
			  reason, error);
}
