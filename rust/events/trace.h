/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoint daxmf:daxmf_event. It fires for each event that the crate adds
 * to the log of memory failures.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM daxmf

#if !defined(_DAXMF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DAXMF_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(daxmf_event,
	TP_PROTO(const char *event, const char *disk, u64 offset, u64 length,
		 const char *source, int flags, const char *outcome,
		 const char *reason, int error),

	TP_ARGS(event, disk, offset, length, source, flags, outcome, reason,
		error),

	TP_STRUCT__entry(
		__string(event, event)
		__string(disk, disk)
		__field(u64, offset)
		__field(u64, length)
		__string(source, source)
		__field(int, flags)
		__string(outcome, outcome)
		__string(reason, reason)
		__field(int, error)
	),

	TP_fast_assign(
		__assign_str(event);
		__assign_str(disk);
		__entry->offset = offset;
		__entry->length = length;
		__assign_str(source);
		__entry->flags = flags;
		__assign_str(outcome);
		__assign_str(reason);
		__entry->error = error;
	),

	TP_printk("event=%s disk=%s offset=%llu length=%llu source=%s flags=%#x outcome=%s reason=%s error=%d",
		  __get_str(event), __get_str(disk), __entry->offset,
		  __entry->length, __get_str(source), __entry->flags,
		  __get_str(outcome), __get_str(reason), __entry->error)
);

#endif /* _DAXMF_TRACE_H */

/* This part must be outside the guard. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
