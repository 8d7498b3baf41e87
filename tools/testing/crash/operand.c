// SPDX-License-Identifier: GPL-2.0
/* Registers of the guest, and operands of its instructions in memory. */

#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "plugin.h"

/* The index is the number of the register in an instruction. */
static const char *const register_names[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

static struct qemu_plugin_register *registers[16];

void find_registers(void)
{
	struct g_array *all = qemu_plugin_get_registers();
	struct qemu_plugin_reg_descriptor *reg = (void *)all->data;
	unsigned int i, j;

	for (i = 0; i < all->len; i++)
		for (j = 0; j < 16; j++)
			if (!strcmp(reg[i].name, register_names[j]))
				registers[j] = reg[i].handle;
	for (j = 0; j < 16; j++)
		if (!registers[j])
			die("no such register", register_names[j]);
}

uint64_t read_register(unsigned int which)
{
	static __thread struct g_array *bytes;
	uint64_t value = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	g_byte_array_set_size(bytes, 0);
	if (qemu_plugin_read_register(registers[which], bytes) != sizeof(value))
		die("cannot be read", register_names[which]);
	memcpy(&value, bytes->data, sizeof(value));
	return value;
}

uint64_t address_of(const struct operand *op)
{
	uint8_t mod = op->bytes[0] >> 6, rm = op->bytes[0] & 7;
	const uint8_t *displacement = op->bytes + 1;
	uint64_t address;

	if (mod == 0 && rm == 5)
		die("unknown mode", "address relative to the instruction");
	if (rm == 4) {
		uint8_t sib = op->bytes[1], index = (sib >> 3 & 7) | (op->rex & 2) << 2;

		displacement++;
		if (mod == 0 && (sib & 7) == 5)
			die("unknown mode", "address without a base");
		address = read_register((sib & 7) | (op->rex & 1) << 3);
		if (index != 4)
			address += read_register(index) << (sib >> 6);
	} else {
		address = read_register(rm | (op->rex & 1) << 3);
	}
	if (mod == 1) {
		address += (int8_t)*displacement;
	} else if (mod == 2) {
		int32_t offset;

		memcpy(&offset, displacement, sizeof(offset));
		address += offset;
	}
	return address;
}
