// SPDX-License-Identifier: GPL-2.0
/* The record of stores, write-backs, fences and marks. "fsmodel states" reads it. */

#include <stdio.h>
#include <string.h>

#include "lines.h"

struct entry {
	uint64_t place;
	uint16_t kind, is_program, len, zero;
};

static FILE *to;
static const char *file;
/* The last entry and its bytes, while more bytes can follow. If run.len is 0, there is no entry. */
static struct entry run;
static uint8_t run_bytes[LINE];
/* The last entry is a fence of the kernel, or there is none. */
static bool is_fenced = true;

void begin_record(const char *path)
{
	file = path;
	to = fopen(file, "w");
	if (!to)
		die("cannot be written", file);
}

static void write_entry(const struct entry *entry, const uint8_t *bytes)
{
	if (fwrite(entry, sizeof(*entry), 1, to) != 1 ||
	    fwrite(bytes, 1, entry->len, to) != entry->len)
		die("cannot be written", file);
}

void record_event(enum kind kind, uint64_t place, bool is_program)
{
	struct entry entry = { .place = place, .kind = kind, .is_program = is_program };

	if (kind == FENCE && is_fenced)
		return;
	if (run.len)
		write_entry(&run, run_bytes);
	run.len = 0;
	write_entry(&entry, run_bytes);
	if (kind == WRITE_BACK)
		is_fenced = false;
	else if (kind == FENCE && !is_program)
		is_fenced = true;
}

void record_store(uint64_t at, const uint8_t *bytes, uint64_t len, bool bypasses, bool is_program)
{
	struct entry entry = {
		.place = at,
		.kind = bypasses ? STREAM : STORE,
		.is_program = is_program,
	};

	bool is_adjacent = run.len && run.place + run.len == at && at % LINE &&
		       run.kind == entry.kind && run.is_program == is_program;

	if (run.len && !is_adjacent) {
		write_entry(&run, run_bytes);
		run.len = 0;
	}
	if (!run.len)
		run = entry;
	memcpy(run_bytes + run.len, bytes, len);
	run.len += len;
	is_fenced = false;
}

void end_record(void)
{
	if (run.len)
		write_entry(&run, run_bytes);
	if (fclose(to))
		die("cannot be written", file);
}
