/* SPDX-License-Identifier: GPL-2.0 */
/* Declarations that the files of the plugin share. */

#include <stdbool.h>
#include <stdint.h>

/* The size of a line of the cache, in bytes. */
#define LINE		64

/* Prints a message and ends QEMU. */
_Noreturn void die(const char *what, const char *of);

/* operand.c: registers, and operands in memory. */

/*
 * The operand in memory of an instruction: the bytes from the ModRM byte on, and
 * the bits of the REX prefix.
 */
struct operand {
	uint8_t rex;
	uint8_t bytes[6];
};

/* Finds the registers of a new processor. */
void find_registers(void);
uint64_t read_register(unsigned int which);
uint64_t address_of(const struct operand *op);

/* record.c: the record of stores, write-backs, fences and marks. */

/* The entries of a record. Only the first two are followed by bytes, len of them. */
enum kind {
	/* A store to the cache, and one that bypasses it. */
	STORE, STREAM,
	/* A write-back of a line. The place is the start of the line. */
	WRITE_BACK,
	FENCE,
	/* A mark of a program. The place is its number. */
	MARK,
};

/* Creates the record in a file, which end_record() completes. */
void begin_record(const char *path);
void end_record(void);
/* Records an event without bytes. A fence of the kernel is left out if it has no effect. */
void record_event(enum kind kind, uint64_t place, bool is_program);
/* Records a store within a line. Stores to adjacent bytes become one entry. */
void record_store(uint64_t at, const uint8_t *bytes, uint64_t len, bool bypasses, bool is_program);
